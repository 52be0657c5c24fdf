//! What a command reads.

use std::fs::File;
use std::io::PipeReader;
use std::os::fd::OwnedFd;

/// What a command reads: a text or bytes, a file, or what is [written](Self::piped) later. Without one it has no stdin.
///
/// Stdin is carried by a helper of `sh`, `dd` and `base64` on the target, over a terminal session.
///
/// ```
/// use session_manager_plugin::Stdin;
///
/// let of_text = Stdin::from("a text");
/// let of_bytes = Stdin::from(vec![0, 255]);
/// let of_file = Stdin::from(std::fs::File::open("/dev/null")?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Stdin(StdinKind);

/// Where it comes from.
#[derive(Debug)]
pub(super) enum StdinKind {
    Nothing,
    Bytes(Vec<u8>),
    File(OwnedFd),
    Piped,
}

impl Stdin {
    pub(super) const fn nothing() -> Self {
        Self(StdinKind::Nothing)
    }

    pub(super) const fn is_nothing(&self) -> bool {
        matches!(self.0, StdinKind::Nothing)
    }

    pub(super) fn into_kind(self) -> StdinKind {
        self.0
    }

    /// What is written to [`RemoteCommand::stdin`](crate::RemoteCommand::stdin).
    #[must_use]
    pub const fn piped() -> Self {
        Self(StdinKind::Piped)
    }
}

impl From<Vec<u8>> for Stdin {
    fn from(bytes: Vec<u8>) -> Self {
        Self(StdinKind::Bytes(bytes))
    }
}

impl From<&[u8]> for Stdin {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}

impl From<String> for Stdin {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<&str> for Stdin {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl From<OwnedFd> for Stdin {
    fn from(descriptor: OwnedFd) -> Self {
        Self(StdinKind::File(descriptor))
    }
}

impl From<File> for Stdin {
    fn from(file: File) -> Self {
        OwnedFd::from(file).into()
    }
}

impl From<PipeReader> for Stdin {
    fn from(pipe: PipeReader) -> Self {
        OwnedFd::from(pipe).into()
    }
}
