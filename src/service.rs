//! What a session wants of AWS: signatures, a new token after a break, a data key, its end. All of it through [`Client`].

use std::sync::Arc;
use std::time::Instant;

use log::{info, warn};

use crate::aws::{ApiError, Client, Failure};
use crate::communicator::StreamUrl;
use crate::datachannel::{DataKey, MakeKey, Resume, ResumeError, Resumed, Sign};
use crate::encryption::Encrypter;
use crate::error::Error;
use crate::message::content::KmsEncryptionResult;
use crate::network::Limit;
use crate::session::TerminateSession;
use crate::settings::Settings;

/// AWS for one session. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    client: Client,
    session_id: String,
    settings: Arc<Settings>,
}

impl Service {
    /// For this session.
    pub fn new(client: Client, session_id: &str, settings: &Arc<Settings>) -> Self {
        Self {
            client,
            session_id: session_id.to_owned(),
            settings: Arc::clone(settings),
        }
    }

    /// Signs upgrades; where that is not possible they go on unsigned, and the service decides.
    pub fn sign(&self) -> Box<Sign> {
        let client = self.client.clone();
        Box::new(move |url, server_date, limit| {
            if server_date.is_some_and(|date| !client.correct_clock(date)) {
                return Ok(None);
            }
            let headers = client.sign_upgrade(url.uri(), limit).map_err(|error| {
                warn!("the connection is not signed: {error}");
                error.to_string()
            })?;
            Ok(Some(headers))
        })
    }

    /// Asks for a new token, with fresh credentials.
    pub fn resume(&self) -> Box<Resume> {
        let service = self.clone();
        Box::new(move |limit| {
            let answer = service.client.resume_session(&service.session_id, limit);
            let answer = answer.map_err(|error| {
                info!("not resumed: {error}");
                resume_error(&error)
            })?;
            let Some(token) = answer.token else {
                return Err(ResumeError::TimedOut);
            };
            let parse = |url: String| StreamUrl::parse(&url, &service.settings);
            let stream_url = answer.stream_url.map(parse).transpose();
            Ok(Resumed {
                token,
                // Such a host will not become another one by waiting.
                stream_url: stream_url.map_err(|error| ResumeError::Gone(error.to_string()))?,
            })
        })
    }

    /// Has KMS make the key of an encrypted session.
    pub fn make_key(&self) -> Arc<MakeKey> {
        let service = self.clone();
        Arc::new(move |parameters, limit| {
            let challenge = parameters.challenge.as_deref();
            let key = service
                .client
                .generate_data_key(
                    &parameters.kms_key_id,
                    &service.session_id,
                    challenge,
                    limit,
                )
                .map_err(|error| error.to_string())?;
            let encrypter = Encrypter::new(&key.plaintext).map_err(|error| error.to_string())?;
            Ok(DataKey {
                result: KmsEncryptionResult {
                    kms_cipher_text_key: key.ciphertext,
                    kms_cipher_text_hash: None,
                    challenge_acknowledgement: challenge.map(|_| true),
                },
                encrypter,
            })
        })
    }

    /// Ends the session over there.
    pub fn terminate(&self) -> Arc<TerminateSession> {
        let service = self.clone();
        Arc::new(move |deadline: Instant| {
            let limit = Limit::until(deadline);
            match service
                .client
                .terminate_session(&service.session_id, &limit)
            {
                // It has ended already.
                Err(error) if error.failure() == Failure::Gone => Ok(()),
                result => result.map_err(|error| Error::Lost(error.to_string())),
            }
        })
    }
}

/// What is to be done after a refusal (P20).
fn resume_error(error: &ApiError) -> ResumeError {
    let text = error.to_string();
    match error.failure() {
        Failure::Gone => ResumeError::Gone(text),
        // What will never work with the API may still work with the token at hand.
        Failure::Denied | Failure::Final => ResumeError::Denied(text),
        Failure::Temporary | Failure::Cancelled => ResumeError::Later(text),
    }
}
