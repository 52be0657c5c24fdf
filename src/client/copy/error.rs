//! Why something was not copied.

use std::io;
use std::path::Path;

use crate::client::failure::{ClientError, ErrorKind};
use crate::sanitise;

/// Why something was not copied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// No session can be started.
    #[error("{0}")]
    Start(ClientError),
    /// No session can be started now: a later try may work.
    #[error("{0}")]
    StartLater(ClientError),
    /// A session broke, or what came was damaged, and trying again did not help. The same call goes on from where it was.
    #[error("{0}")]
    Broken(String),
    /// [`Cancel::cancel`](crate::network::Cancel::cancel) was called.
    #[error("interrupted")]
    Cancelled,
    /// The target has no such file.
    #[error("no such file or directory on the target")]
    Missing,
    /// The path is a folder's, and a file's was expected.
    #[error("it is a directory")]
    Directory,
    /// Neither a file nor a folder.
    #[error("it is neither a file nor a directory")]
    Special,
    /// The target's user may not read it.
    #[error("permission denied on the target")]
    Denied,
    /// A program is missing on the target.
    #[error("the target has no {0}")]
    Tool(String),
    /// An error message of the target's tools.
    #[error("on the target: {0}")]
    Far(String),
    /// The file changed while it was copied.
    #[error("it changed while it was copied")]
    Changed,
    /// More can be read of it than there is by its size, or less.
    #[error(
        "its size is not what can be read of it, as with files in /proc and /sys: let cat read it into a pipe, and give - as the path"
    )]
    Sizeless,
    /// The two sides have different bytes, and the second try did not mend it.
    #[error("the hashes differ: what arrived is not what was sent")]
    Different,
    /// An error on this side.
    #[error("{0}")]
    Local(String),
}

impl CopyError {
    pub(super) fn is_temporary(&self) -> bool {
        matches!(self, Self::StartLater(_) | Self::Broken(_))
    }

    /// `!error …` of a script.
    pub(super) fn of_script(words: &str) -> Self {
        match words.split_once(' ') {
            Some(("tool", name)) => Self::Tool(sanitise::line(name)),
            _ => match words {
                "missing" => Self::Missing,
                "directory" => Self::Directory,
                "special" => Self::Special,
                "denied" => Self::Denied,
                other => Self::Far(sanitise::line(other)),
            },
        }
    }

    /// `!no …` of a script.
    pub(super) fn of_refusal(words: &str) -> Self {
        let (word, text) = words.split_once(' ').unwrap_or((words, ""));
        match word {
            "directory" => Self::Directory,
            "special" => Self::Special,
            "hash" => Self::Different,
            "mode" => Self::Far("its permissions could not be set".to_owned()),
            "time" => Self::Far("its time could not be set".to_owned()),
            _ if text.trim().is_empty() => Self::Far(format!("{} failed", sanitise::line(word))),
            _ => Self::Far(sanitise::line(text.trim())),
        }
    }

    pub(super) fn local(path: &Path, error: &io::Error) -> Self {
        Self::Local(sanitise::line(&format!("{}: {error}", path.display())))
    }

    pub(super) fn resources(error: &io::Error) -> Self {
        Self::Local(format!(
            "the system gives no thread or descriptor ({error})"
        ))
    }
}

impl From<CopyError> for ClientError {
    fn from(error: CopyError) -> Self {
        let kind = match &error {
            CopyError::Start(error) | CopyError::StartLater(error) => return error.clone(),
            CopyError::Broken(_) => ErrorKind::SessionLost,
            CopyError::Cancelled => ErrorKind::Cancelled,
            CopyError::Missing => ErrorKind::FileNotFound,
            CopyError::Directory => ErrorKind::IsDirectory,
            CopyError::Special | CopyError::Sizeless => ErrorKind::InvalidInput,
            CopyError::Denied => ErrorKind::FileDenied,
            CopyError::Tool(_) => ErrorKind::ToolMissing,
            CopyError::Changed | CopyError::Different => ErrorKind::FileDiffers,
            CopyError::Local(_) => ErrorKind::Local,
            _ => ErrorKind::Remote,
        };
        Self::new(kind, error.to_string())
    }
}
