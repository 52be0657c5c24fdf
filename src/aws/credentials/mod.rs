//! Credentials for AWS: where they are looked for, and how long they are kept.

mod chain;
mod config;
mod container;
mod environment;
mod instance;
mod kept;
mod login;
mod metadata;
mod process;
mod profile;
mod programs;
mod search;
mod sso;
mod sts;
#[cfg(test)]
mod tests;

use std::time::SystemTime;

use crate::error::{Failure, Meaning};
use crate::network::Stop;
use crate::redactor::Redactor;
use crate::secret::Secret;

pub(super) use chain::Chain;
pub(super) use config::{Profiles, Section, named_profile};
pub(crate) use programs::end_programs;

/// Why there are no credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// Nobody configured any.
    #[error(
        "no AWS credentials were found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws configure`"
    )]
    NotFound,
    /// Those that are configured cannot be had: something is wrong with them, or they are refused.
    #[error("no AWS credentials: {0}")]
    Failed(String),
    /// They cannot be had at the moment: their source is not reached, has trouble of its own or takes too long.
    #[error("no AWS credentials at the moment: {reason}")]
    Temporary {
        /// In words for the user.
        reason: String,
        /// Whether their source answered.
        is_answer: bool,
        /// Whether it may have asked its user, in a window or on a phone: that is not done at every try.
        may_ask: bool,
    },
    /// The caller gave up.
    #[error("looking for AWS credentials was given up")]
    Cancelled,
}

impl CredentialsError {
    fn stopped(stop: Stop, what: &str) -> Self {
        match stop {
            Stop::Cancelled => Self::Cancelled,
            Stop::TimedOut => Self::Temporary {
                reason: format!("{what} took too long"),
                is_answer: false,
                may_ask: true,
            },
        }
    }

    /// Of a failure, with whose credentials they were to be.
    fn of(failure: Failure, whose: &str) -> Self {
        let reason = format!("{whose}: {}", failure.reason);
        match failure.meaning {
            Meaning::Temporary => Self::Temporary {
                reason,
                is_answer: failure.is_answer,
                may_ask: false,
            },
            Meaning::Denied | Meaning::Gone => Self::Failed(reason),
        }
    }

    /// What it means, and what to tell. That there are no credentials says nothing about the session: the token at hand may still do.
    pub fn failure(&self) -> Failure {
        let (meaning, is_answer) = match self {
            Self::NotFound | Self::Failed(_) => (Meaning::Denied, true),
            Self::Temporary { is_answer, .. } => (Meaning::Temporary, *is_answer),
            Self::Cancelled => (Meaning::Temporary, false),
        };
        Failure {
            meaning,
            reason: self.to_string(),
            is_answer,
        }
    }
}

/// An access key, and how long it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The public part.
    pub access_key_id: String,
    /// The part that signs.
    pub secret_access_key: Secret,
    /// For temporary credentials.
    pub session_token: Option<Secret>,
    /// When they stop working; `None` if they last or nobody said.
    pub expires: Option<SystemTime>,
}

impl Credentials {
    /// Whether both are the same, however long they are said to last.
    fn is_same_key(&self, other: &Self) -> bool {
        self.access_key_id == other.access_key_id && self.session_token == other.session_token
    }

    /// Puts credentials together; `None` if a part is empty or cannot be part of a header.
    pub fn new(
        access_key_id: String,
        secret_access_key: Secret,
        session_token: Option<Secret>,
        expires: Option<SystemTime>,
    ) -> Option<Self> {
        let session_token = session_token.filter(|token| !token.expose().is_empty());
        let fits = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let token = session_token.as_ref().map_or("", Secret::expose);
        let usable = !access_key_id.is_empty()
            && !secret_access_key.expose().is_empty()
            && [&access_key_id, secret_access_key.expose(), token]
                .into_iter()
                .all(fits);
        usable.then_some(Self {
            access_key_id,
            secret_access_key,
            session_token,
            expires,
        })
    }

    /// Services repeat what a signature was made of.
    pub(in crate::aws) fn hide_in(&self, redactor: &Redactor) {
        redactor.add(self.secret_access_key.expose());
        if let Some(token) = &self.session_token {
            redactor.add(token.expose());
        }
    }
}
