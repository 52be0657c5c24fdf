//! The kinds of session that this client can hold.

use std::str::FromStr;

/// What the agent runs, by its name in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionType {
    /// A login shell on a pty.
    StandardStream,
    /// One command on a pty.
    InteractiveCommands,
    /// One command without a pty and without stdin.
    NonInteractiveCommands,
    /// Bytes to and from a port.
    Port,
}

impl SessionType {
    /// Whether the far end is a pty: it has a size, takes keystrokes, and knows an end of file.
    pub const fn has_pty(self) -> bool {
        matches!(self, Self::StandardStream | Self::InteractiveCommands)
    }
}

/// A name that the agent uses and this client does not know.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("Unknown session type {0}")]
pub struct UnknownSessionType(pub String);

impl FromStr for SessionType {
    type Err = UnknownSessionType;

    fn from_str(name: &str) -> Result<Self, UnknownSessionType> {
        match name {
            "Standard_Stream" => Ok(Self::StandardStream),
            "InteractiveCommands" => Ok(Self::InteractiveCommands),
            "NonInteractiveCommands" => Ok(Self::NonInteractiveCommands),
            "Port" => Ok(Self::Port),
            unknown => Err(UnknownSessionType(unknown.to_owned())),
        }
    }
}
