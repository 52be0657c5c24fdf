//! What may stand at a path.

/// What exists at a path of the target: see [`Copying::kind`](crate::Copying::kind).
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// use session_manager_plugin::RemoteKind;
///
/// let mut copying = client.copy(&target).begin()?;
/// assert_eq!(copying.kind("/etc")?, RemoteKind::Folder);
/// assert_eq!(copying.kind("/etc/passwd")?, RemoteKind::File);
/// assert_eq!(copying.kind("/no/such/file")?, RemoteKind::Nothing);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemoteKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// Something else.
    Special,
    /// Nothing.
    Nothing,
}
