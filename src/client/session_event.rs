//! What happens to a session that is a stream.

use super::failure::ClientError;

/// What happens to a [`Session`](crate::Session) besides what is read from it.
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// use session_manager_plugin::SessionEvent;
/// use std::time::Duration;
///
/// let shell = client.shell(&target)?;
/// match shell.event(Duration::from_millis(1)) {
///     Some(SessionEvent::Ended(end)) => println!("it has ended: {end:?}"),
///     Some(event) => println!("{event:?}"),
///     None => println!("it goes on"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEvent {
    /// The connection broke, and is being made anew.
    Reconnecting {
        /// In words.
        reason: String,
    },
    /// It is back; nothing was lost.
    Reconnected,
    /// The agent is silent, or does not acknowledge what was sent; in words.
    Warning(String),
    /// It is over. Comes last.
    Ended(SessionEnd),
}

/// How a [`Session`](crate::Session) ended.
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// use session_manager_plugin::SessionEnd;
/// use std::io::Write;
/// use std::time::Duration;
///
/// let mut shell = client.shell(&target)?;
/// shell.write_all(b"exit\n")?;
/// match shell.wait(Duration::from_secs(60)) {
///     Some(SessionEnd::Closed { message, .. }) => println!("it has ended {message}"),
///     other => return Err(format!("{other:?}").into()),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEnd {
    /// Over there: the shell or the command ended, somebody terminated it, or its time was up.
    Closed {
        /// The command's exit code, where the agent tells one.
        status: Option<i32>,
        /// The service's words; empty for an ordinary end.
        message: String,
    },
    /// The service gives no token for it any more: it was idle for too long, or away.
    TimedOut,
    /// Here: it was dropped or [ended](crate::Session::end).
    Left,
    /// It is lost.
    Failed(ClientError),
}
