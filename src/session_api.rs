//! What a session wants of AWS: signatures, a new token after a break, a data key, its end. All of it through [`Api`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};

use crate::aws::credentials::CredentialsError;
use crate::aws::{Api, ApiError};
use crate::communicator::StreamUrl;
use crate::datachannel::{
    ENCRYPTION_UNSUPPORTED, MakeKey, Resume, ResumeError, ResumeTry, Resumed, SessionKey, Sign,
};
use crate::encryption::Encrypter;
use crate::error::{Error, Failure, Meaning};
use crate::message::content::KmsEncryptionResult;
use crate::network::Limit;
use crate::settings::Settings;

/// How long looking for credentials may take before ResumeSession: a source may ask somebody.
const CREDENTIALS_TIME: Duration = Duration::from_secs(60);

/// Ends the remote session by the API, until the deadline.
pub(crate) type TerminateSession = dyn Fn(Instant) -> Result<(), Error> + Send + Sync;

/// AWS for one session. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SessionApi {
    api: Api,
    session_id: String,
    settings: Arc<Settings>,
}

impl SessionApi {
    /// For this session.
    pub(crate) fn new(api: Api, session_id: &str, settings: &Arc<Settings>) -> Self {
        Self {
            api,
            session_id: session_id.to_owned(),
            settings: Arc::clone(settings),
        }
    }

    /// Signs upgrades; where that is not possible they go on unsigned, and the service decides.
    pub(crate) fn sign(&self) -> Box<Sign> {
        let api = self.api.clone();
        Box::new(move |url, server_date, limit| {
            if server_date.is_some_and(|date| !api.correct_clock(date)) {
                return Ok(None);
            }
            let headers = api.sign_upgrade(url.uri(), limit).map_err(|error| {
                warn!("the connection is not signed: {error}");
                error.failure()
            })?;
            Ok(Some(headers))
        })
    }

    /// Asks for a new token, with credentials that are good.
    pub(crate) fn resume(&self) -> Box<Resume> {
        let service = self.clone();
        Box::new(move |ask| service.resume_once(ask))
    }

    fn resume_once(&self, ask: &ResumeTry<'_>) -> Result<Resumed, ResumeError> {
        if ask.was_denied {
            self.api.credentials_denied();
        }
        self.api
            .prepare_resume(&ask.limit.at_most(CREDENTIALS_TIME))
            .map_err(|error| ResumeError::NoCredentials(error.failure()))?;
        let answer = self
            .api
            .resume_session(&self.session_id, &ask.limit.at_most(ask.time))
            .map_err(|error| {
                info!("not resumed: {error}");
                match error {
                    ApiError::Credentials(error) => ResumeError::NoCredentials(error.failure()),
                    error => ResumeError::Failed(error.failure()),
                }
            })?;
        let Some(token) = answer.token else {
            return Err(ResumeError::TimedOut);
        };
        let parse = |url: String| StreamUrl::parse(&url, &self.settings);
        let stream_url = answer.stream_url.map(parse).transpose();
        Ok(Resumed {
            token,
            stream_url: stream_url.map_err(|error| {
                // Such a host will not become another one by waiting.
                ResumeError::Failed(Failure {
                    meaning: Meaning::Gone,
                    reason: error.to_string(),
                    is_answer: true,
                })
            })?,
        })
    }

    /// Has KMS make the key of an encrypted session. `is_legacy` says that the caller gave no profile, and expects to be told that it is
    /// too old where no key can be had.
    pub(crate) fn make_key(&self, is_legacy: bool) -> Arc<MakeKey> {
        let service = self.clone();
        Arc::new(move |parameters, limit| {
            let challenge = parameters.challenge.as_deref();
            let target = service.target(is_legacy, limit)?;
            let key = service
                .api
                .generate_data_key(
                    &parameters.kms_key_id,
                    &service.session_id,
                    &target,
                    challenge,
                    limit,
                )
                .map_err(|error| format!("{error} (the key is {})", parameters.kms_key_id))?;
            let encrypter = Encrypter::new(&key.plaintext).map_err(|error| error.to_string())?;
            Ok(SessionKey {
                result: KmsEncryptionResult {
                    kms_cipher_text_key: key.ciphertext,
                    kms_cipher_text_hash: None,
                    challenge_acknowledgement: challenge.map(|_| true),
                },
                encrypter,
            })
        })
    }

    /// The target, which is part of what KMS is asked for, and which not every caller tells (P106). An error is for the agent and the user.
    fn target(&self, is_legacy: bool, limit: &Limit) -> Result<String, String> {
        let missing = |why: &str| {
            format!(
                "the session is encrypted with KMS, and for that its target must be known, which the caller did not give (argument 5: \
                 {{\"Target\":\"…\"}}): {why}"
            )
        };
        match self.api.session_target(&self.session_id, limit) {
            Ok(Some(target)) => Ok(target),
            // Without credentials there is no way to KMS either.
            Ok(None) | Err(ApiError::Credentials(CredentialsError::NotFound)) if is_legacy => {
                Err(ENCRYPTION_UNSUPPORTED.to_owned())
            }
            Ok(None) => Err(missing("DescribeSessions does not know the session")),
            Err(error) => Err(missing(&error.to_string())),
        }
    }

    /// Ends the session over there.
    pub(crate) fn terminate(&self) -> Arc<TerminateSession> {
        let service = self.clone();
        Arc::new(move |deadline: Instant| {
            let limit = Limit::until(deadline);
            match service.api.terminate_session(&service.session_id, &limit) {
                // It has ended already.
                Err(error) if error.failure().meaning == Meaning::Gone => Ok(()),
                result => result.map_err(|error| Error::Lost(error.to_string())),
            }
        })
    }
}

/// Stands for KMS where it cannot be asked.
pub(crate) fn no_key(why: &'static str) -> Arc<MakeKey> {
    Arc::new(move |_, _| {
        Err(format!(
            "the session is encrypted with KMS, which cannot be asked: {why}"
        ))
    })
}
