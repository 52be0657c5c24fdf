//! Everything that can end the program early, in words that its user can act on, and the exit code each becomes.

/// Why the program ends without a session that ran to its end.
///
/// The text is for the user: it says what was wrong and what to do, and never holds a token, a key or the query of a stream URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The arguments cannot be understood.
    #[error("{0}")]
    Usage(String),
    /// The session could not be started.
    #[error("{0}")]
    Start(String),
    /// No target of that name is there.
    #[error("{0}")]
    NoTarget(String),
    /// There are no credentials, or they cannot be used.
    #[error("{0}")]
    Credentials(String),
    /// AWS refused a call.
    #[error("{text}")]
    Refused {
        /// The error's name, such as `AccessDeniedException`; may be empty.
        code: String,
        /// For the user.
        text: String,
    },
    /// AWS could not be reached.
    #[error("{0}")]
    Unreachable(String),
    /// The target's agent carries one connection at a time, and more was asked for.
    #[error("{0}")]
    OldAgent(String),
    /// Nobody says where to call AWS.
    #[error(
        "no region is known: set AWS_REGION, or region in the profile (in ~/.aws/config), or give --region"
    )]
    NoRegion,
    /// The session is another process's: it cannot be taken over, and must not be ended.
    #[error("{0}")]
    Taken(String),
    /// The session was established and is lost for good.
    #[error("{0}")]
    Lost(String),
    /// A signal ended the program; its number.
    #[error("ended by signal {0}")]
    Signal(i32),
}

impl Error {
    /// A part of this program ended that never ends by itself: "the input thread".
    pub fn defect(what: &str) -> Self {
        Self::Lost(format!(
            "{what} ended unexpectedly; this is a defect of the plugin"
        ))
    }

    /// The exit code (section 3 of the contract): 2 for usage, 128 and the number for signals, otherwise 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Start(_)
            | Self::NoTarget(_)
            | Self::Credentials(_)
            | Self::Refused { .. }
            | Self::Unreachable(_)
            | Self::OldAgent(_)
            | Self::NoRegion
            | Self::Taken(_)
            | Self::Lost(_) => 1,
            Self::Signal(number) => u8::try_from(128 + number).unwrap_or(255),
        }
    }

    /// The kind, in one word for programs (`--json`): part of the interface.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Usage(_) => "usage",
            Self::Start(_) => "start",
            Self::NoTarget(_) => "no_target",
            Self::Credentials(_) => "credentials",
            Self::Refused { .. } => "refused",
            Self::Unreachable(_) => "unreachable",
            Self::OldAgent(_) => "old_agent",
            Self::NoRegion => "no_region",
            Self::Taken(_) => "taken",
            Self::Lost(_) => "lost",
            Self::Signal(_) => "signal",
        }
    }

    /// The name of AWS's error, where AWS refused a call and named it.
    pub fn aws_code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } if !code.is_empty() => Some(code),
            _ => None,
        }
    }
}

/// What went wrong on the way to AWS or to a connection: what that means for a session that should go on, and what its user is told.
///
/// It is made where the failure happens (STS, SSO, metadata, a credential process, an API, a dial, a closed websocket), and kept as it is
/// up to where it is decided whether there is another try ([`datachannel::Recovery`](crate::datachannel::Recovery)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What to do.
    pub meaning: Meaning,
    /// In words for the user.
    pub reason: String,
    /// Whether somebody answered. Silence is no answer, nor is a network that leads nowhere: it says nothing about the session.
    pub is_answer: bool,
}

/// What a failure means for a session that should go on (docs/pitfalls.md, P20, P67, P68).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// It may work later: network, throttling, a service's own trouble.
    Temporary,
    /// We may not, or cannot prove that we may: other credentials, or the token at hand, may still do.
    Denied,
    /// No try will change it.
    Gone,
}
