//! Why something did not work: as a type, and in words.

use std::fmt;
use std::io;

use crate::aws::ApiError;
use crate::aws::credentials::CredentialsError;
use crate::datachannel::End;
use crate::error::Error;
use crate::network::{Limit, Stop};
use crate::sanitise;

/// Why something did not work.
///
/// The [kind](Self::kind) is for programs, and `Display` for people: it says what was wrong and, where that is known, what to do. No text
/// holds a token, a key or the query of a stream URL, and what others said is in it without control characters.
///
/// ```
/// use session_manager_plugin::{Client, ErrorKind, Fault};
///
/// let error = Client::builder().region("not a region").build().unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Configuration);
/// assert_eq!(error.kind().fault(), Fault::Caller);
/// eprintln!("{error} ({})", error.kind().advice());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientError {
    kind: ErrorKind,
    text: String,
    /// AWS's name for it, where AWS refused a call.
    code: Option<String>,
}

/// What kind of failure it is. More kinds may come: match with a last arm for them.
///
/// ```
/// use session_manager_plugin::ErrorKind;
///
/// fn try_again_later(kind: ErrorKind) -> bool {
///     match kind {
///         ErrorKind::Denied | ErrorKind::InvalidInput => false,
///         kind => kind.is_temporary(),
///     }
/// }
/// assert!(try_again_later(ErrorKind::Throttled));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument cannot be used.
    InvalidInput,
    /// A setting, a profile or a variable cannot be used, or no region is known.
    Configuration,
    /// There are no credentials, or they are not good any more.
    Credentials,
    /// The account's policy does not allow it; the text names the action.
    Denied,
    /// No node that is online has the name.
    TargetNotFound,
    /// Several nodes have the name.
    TargetAmbiguous,
    /// The node or task is there, and its agent is not.
    TargetNotConnected,
    /// The target's agent is too old for it.
    AgentTooOld,
    /// The agent could not reach the destination.
    ConnectionRefused,
    /// Too many calls, in this account and region.
    Throttled,
    /// AWS answered with another error.
    Service,
    /// AWS could not be reached.
    Network,
    /// The deadline passed.
    TimedOut,
    /// [`Cancel::cancel`](crate::Cancel::cancel) was called, or what was used had been stopped.
    Cancelled,
    /// The session ended: over there, by somebody else, or because its time was up.
    SessionEnded,
    /// The session broke, and could not be resumed.
    SessionLost,
    /// There was more output than was to be collected.
    OutputTooLong,
    /// The target has no such file.
    FileNotFound,
    /// The path is a folder's, and a file's was expected.
    IsDirectory,
    /// The target's user may not do that to the file.
    FileDenied,
    /// What arrived is not what was sent, or the file changed meanwhile.
    FileDiffers,
    /// A program is missing on the target.
    ToolMissing,
    /// Something else went wrong on the target.
    Remote,
    /// Something on this machine: a port that is taken, a file, no thread or descriptor.
    Local,
}

/// Where the reason is.
///
/// ```
/// use session_manager_plugin::{ErrorKind, Fault};
///
/// assert_eq!(ErrorKind::TargetNotConnected.fault(), Fault::Target);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The program that called, or its settings.
    Caller,
    /// The account's policies and keys.
    Account,
    /// The node or task, or what it is to reach.
    Target,
    /// AWS.
    Service,
    /// The way between.
    Network,
    /// This machine.
    Machine,
}

impl ErrorKind {
    /// Where the reason is.
    pub const fn fault(self) -> Fault {
        match self {
            Self::InvalidInput
            | Self::IsDirectory
            | Self::Configuration
            | Self::TargetNotFound
            | Self::TargetAmbiguous
            | Self::TimedOut
            | Self::Cancelled
            | Self::OutputTooLong => Fault::Caller,
            Self::Credentials | Self::Denied => Fault::Account,
            Self::TargetNotConnected
            | Self::AgentTooOld
            | Self::ConnectionRefused
            | Self::SessionEnded
            | Self::FileNotFound
            | Self::FileDenied
            | Self::FileDiffers
            | Self::ToolMissing
            | Self::Remote => Fault::Target,
            Self::Throttled | Self::Service => Fault::Service,
            Self::Network | Self::SessionLost => Fault::Network,
            Self::Local => Fault::Machine,
        }
    }

    /// Whether the same call may work later without anybody's doing.
    pub const fn is_temporary(self) -> bool {
        matches!(
            self,
            Self::TargetNotConnected
                | Self::Throttled
                | Self::Service
                | Self::Network
                | Self::TimedOut
                | Self::SessionLost
        )
    }

    /// What to do, in general; the error's text may say more.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::InvalidInput => "correct the argument",
            Self::IsDirectory => "copy it as a folder",
            Self::Configuration => "correct the setting that the text names",
            Self::Credentials => "log in again, or name a profile that has credentials",
            Self::Denied => "have the action allowed that the text names",
            Self::TargetNotFound => "look at the names with `session-manager-plugin list`",
            Self::TargetAmbiguous => "name one of them by its id",
            Self::TargetNotConnected => "look at it with `session-manager-plugin doctor --target`",
            Self::AgentTooOld => "update the agent of the target",
            Self::ConnectionRefused => {
                "see whether the service listens, and whether the target may reach it"
            }
            Self::Throttled => "make fewer calls, or try later",
            Self::Service => "try later, and see what the text says",
            Self::Network => {
                "see whether this machine reaches AWS, with `session-manager-plugin doctor`"
            }
            Self::TimedOut => "try again, or give it more time",
            Self::Cancelled => "nothing: it was asked for",
            Self::SessionEnded | Self::SessionLost => "start another session",
            Self::OutputTooLong => "read the output as it comes, or let the command print less",
            Self::FileNotFound | Self::FileDenied => "see what is there, and who may read it",
            Self::FileDiffers => "copy it again",
            Self::ToolMissing => "install it over there",
            Self::Remote => "see what the text says",
            Self::Local => "see what the text says about this machine",
        }
    }
}

impl ClientError {
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            code: None,
        }
    }

    /// What kind of failure it is.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The name of AWS's error, such as `AccessDeniedException`, where AWS refused a call and named it.
    pub fn aws_code(&self) -> Option<&str> {
        self.code.as_deref().filter(|code| !code.is_empty())
    }

    /// Of an error whose variant `Start` means this kind here.
    pub(crate) fn of(kind: ErrorKind, error: &Error) -> Self {
        let kind = match error {
            Error::Usage(_) => ErrorKind::InvalidInput,
            Error::Start(_) => kind,
            Error::NoTarget(_) => ErrorKind::TargetNotFound,
            Error::Credentials(_) => ErrorKind::Credentials,
            Error::Refused { .. } => ErrorKind::Service,
            Error::Unreachable(_) => ErrorKind::Network,
            Error::OldAgent(_) => ErrorKind::AgentTooOld,
            Error::NoRegion => ErrorKind::Configuration,
            Error::Taken(_) => ErrorKind::SessionEnded,
            Error::Lost(_) => ErrorKind::SessionLost,
            Error::Signal(_) => ErrorKind::Cancelled,
        };
        Self {
            code: error.aws_code().map(str::to_owned),
            ..Self::new(kind, error.to_string())
        }
    }

    /// No thread or descriptor.
    pub(crate) fn resources(error: &io::Error) -> Self {
        let text = format!("the system gives no thread or descriptor ({error})");
        Self::new(ErrorKind::Local, text)
    }

    pub(crate) fn stopped(stop: Stop, what: &str) -> Self {
        match stop {
            Stop::TimedOut => Self::new(ErrorKind::TimedOut, format!("{what} took too long")),
            Stop::Cancelled => Self::new(ErrorKind::Cancelled, format!("{what} was cancelled")),
        }
    }

    /// How a session ended that should have gone on.
    pub(crate) fn of_end(end: &End) -> Self {
        match end {
            End::Closed { output } if output.trim().is_empty() => {
                Self::new(ErrorKind::SessionEnded, "the session ended")
            }
            End::Closed { output } => {
                Self::new(ErrorKind::SessionEnded, sanitise::line(output.trim()))
            }
            End::TimedOut => Self::new(ErrorKind::SessionEnded, "the session timed out"),
            End::Failed(error) => Self::of(ErrorKind::SessionLost, error),
        }
    }

    /// As our own commands show it, and what they end with.
    pub(crate) fn into_error(self) -> Error {
        let Self { kind, text, code } = self;
        if let Some(code) = code {
            return Error::Refused { code, text };
        }
        match kind {
            ErrorKind::InvalidInput | ErrorKind::TargetAmbiguous => Error::Usage(text),
            ErrorKind::TargetNotFound | ErrorKind::TargetNotConnected => Error::NoTarget(text),
            ErrorKind::Credentials => Error::Credentials(text),
            ErrorKind::Network => Error::Unreachable(text),
            ErrorKind::AgentTooOld => Error::OldAgent(text),
            ErrorKind::SessionEnded | ErrorKind::SessionLost => Error::Lost(text),
            _ => Error::Start(text),
        }
    }

    /// Where the limit came first, that is the reason.
    pub(crate) fn within(self, limit: &Limit) -> Self {
        let is_of_waiting = matches!(
            self.kind,
            ErrorKind::Network
                | ErrorKind::Cancelled
                | ErrorKind::SessionLost
                | ErrorKind::Credentials
        );
        match limit.remaining() {
            Err(stop) if is_of_waiting => {
                let kind = match stop {
                    Stop::TimedOut => ErrorKind::TimedOut,
                    Stop::Cancelled => ErrorKind::Cancelled,
                };
                Self { kind, ..self }
            }
            _ => self,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for ClientError {}

impl From<ApiError> for ClientError {
    fn from(error: ApiError) -> Self {
        let kind = match &error {
            ApiError::Credentials(CredentialsError::Cancelled) | ApiError::GivenUp(_) => {
                ErrorKind::Cancelled
            }
            ApiError::Credentials(_) => ErrorKind::Credentials,
            ApiError::Refused { refusal, .. } if refusal.is_denial() => ErrorKind::Denied,
            ApiError::Refused { refusal, .. } if refusal.is_not_connected() => {
                ErrorKind::TargetNotConnected
            }
            ApiError::Refused { refusal, .. } if refusal.is_throttled() => ErrorKind::Throttled,
            ApiError::Refused { refusal, .. } if refusal.is_about_credentials() => {
                ErrorKind::Credentials
            }
            ApiError::Refused { .. } | ApiError::Malformed(..) => ErrorKind::Service,
            ApiError::Http { .. } => ErrorKind::Network,
            ApiError::Setup(error) => return Self::of(ErrorKind::Configuration, error),
        };
        let code = match &error {
            ApiError::Refused { refusal, .. } => Some(refusal.code.clone()),
            _ => None,
        };
        Self {
            code,
            ..Self::new(kind, error.to_string())
        }
    }
}

/// For whoever reads and writes: [`Stream`](crate::Stream) and [`Session`](crate::Session) give such errors, with this one inside.
impl From<ClientError> for io::Error {
    fn from(error: ClientError) -> Self {
        let kind = match error.kind {
            ErrorKind::InvalidInput => io::ErrorKind::InvalidInput,
            ErrorKind::Denied | ErrorKind::FileDenied => io::ErrorKind::PermissionDenied,
            ErrorKind::FileNotFound => io::ErrorKind::NotFound,
            ErrorKind::IsDirectory => io::ErrorKind::IsADirectory,
            ErrorKind::ConnectionRefused => io::ErrorKind::ConnectionRefused,
            ErrorKind::TimedOut => io::ErrorKind::TimedOut,
            ErrorKind::SessionEnded | ErrorKind::SessionLost => io::ErrorKind::ConnectionAborted,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
