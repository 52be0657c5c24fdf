//! What a stream message carries.

/// The payload types of stream messages, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum PayloadType {
    /// Data: keystrokes, output, port bytes.
    Output = 1,
    /// An error text. Neither end sends it.
    Error = 2,
    /// The terminal's size, JSON.
    Size = 3,
    /// Parameters. Neither end sends it.
    Parameter = 4,
    /// Agent to client: what the session is and wants, JSON.
    HandshakeRequest = 5,
    /// Client to agent: the answer, JSON.
    HandshakeResponse = 6,
    /// Agent to client: data may flow, JSON.
    HandshakeComplete = 7,
    /// Agent to client: prove that you have the key, JSON.
    EncryptionChallengeRequest = 8,
    /// Client to agent: the proof, JSON.
    EncryptionChallengeResponse = 9,
    /// A [`Flag`], four bytes.
    Flag = 10,
    /// The command's stderr, where it is kept apart.
    StdErr = 11,
    /// `EXIT_CODE: n`.
    ExitCode = 12,
}

impl From<PayloadType> for u32 {
    fn from(payload_type: PayloadType) -> Self {
        payload_type as Self
    }
}

impl TryFrom<u32> for PayloadType {
    type Error = u32;

    /// The unknown number is handed back.
    fn try_from(number: u32) -> Result<Self, u32> {
        Ok(match number {
            1 => Self::Output,
            2 => Self::Error,
            3 => Self::Size,
            4 => Self::Parameter,
            5 => Self::HandshakeRequest,
            6 => Self::HandshakeResponse,
            7 => Self::HandshakeComplete,
            8 => Self::EncryptionChallengeRequest,
            9 => Self::EncryptionChallengeResponse,
            10 => Self::Flag,
            11 => Self::StdErr,
            12 => Self::ExitCode,
            unknown => return Err(unknown),
        })
    }
}

/// The payload of [`PayloadType::Flag`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Flag {
    /// Client to agent, one connection at a time: the local connection ended.
    DisconnectToPort = 1,
    /// Client to agent: end the session.
    TerminateSession = 2,
    /// Agent to client: the destination could not be reached.
    ConnectToPortError = 3,
}

impl Flag {
    /// The four bytes on the wire.
    pub const fn to_bytes(self) -> [u8; 4] {
        (self as u32).to_be_bytes()
    }

    /// The flag that a payload holds, if it is one that is known.
    pub fn from_bytes(payload: &[u8]) -> Option<Self> {
        match u32::from_be_bytes(payload.try_into().ok()?) {
            1 => Some(Self::DisconnectToPort),
            2 => Some(Self::TerminateSession),
            3 => Some(Self::ConnectToPortError),
            _ => None,
        }
    }
}
