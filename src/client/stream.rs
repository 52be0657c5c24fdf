//! A connection to a port over there, without a local port.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use super::Client;
use super::carried_state::CarriedState;
use super::carry::{self, Carriage};
use super::failure::ClientError;
use super::forward::{Destination, start_for};
use super::target::Target;

/// A connection to a port that a target reaches: see [`Client::connect`].
///
/// Reading and writing block, in as many threads as wanted, and as long as [`set_read_timeout`](Self::set_read_timeout) and
/// [`set_write_timeout`](Self::set_write_timeout) say: for ever by themselves, as breaks of the network are mended underneath. When the
/// last clone is dropped, what was written still goes out, and the session is ended in the background.
///
/// ```
/// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
/// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
/// # let target = client.target("i-0123456789abcdef0")?;
/// # let service = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let port = service.local_addr()?.port();
/// # std::thread::spawn(move || {
/// #     let (stream, _) = service.accept().unwrap();
/// #     std::io::copy(&mut &stream, &mut &stream)
/// # });
/// use std::io::{BufRead, BufReader, Write};
/// use std::time::Duration;
///
/// let mut stream = client.connect(&target, "localhost", port)?;
/// stream.set_read_timeout(Some(Duration::from_secs(30)))?;
/// let mut lines = BufReader::new(stream.try_clone()?).lines();
/// stream.write_all(b"ping\n")?;
/// assert_eq!(lines.next().expect("a line")?, "ping");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Stream {
    socket: UnixStream,
    state: Arc<CarriedState>,
}

/// Starts a session for one connection.
pub(super) fn connect(
    client: &Client,
    target: &Target,
    destination: &Destination,
) -> Result<Stream, ClientError> {
    let limit = client.limit();
    let ready =
        start_for(client, target, destination, &limit).map_err(|error| error.within(&limit))?;
    let carriage = Carriage::Connection {
        keepalive: ready.keepalive,
        message: client.settings().payload_size,
    };
    let (socket, state) = carry::start(ready.session, carriage)?;
    Ok(Stream { socket, state })
}

impl Stream {
    pub(super) const fn new(socket: UnixStream, state: Arc<CarriedState>) -> Self {
        Self { socket, state }
    }

    pub(super) const fn state(&self) -> &Arc<CarriedState> {
        &self.state
    }

    /// Another handle to the same connection, for another thread.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    ///
    /// ```
    /// # let sandbox = sandbox::Sandbox::start(sandbox::Config::default())?;
    /// # let client = session_manager_plugin::Client::builder().variables(sandbox.environment()).build()?;
    /// # let target = client.target("i-0123456789abcdef0")?;
    /// # let service = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let port = service.local_addr()?.port();
    /// # std::thread::spawn(move || {
    /// #     let (stream, _) = service.accept().unwrap();
    /// #     std::io::copy(&mut &stream, &mut &stream)
    /// # });
    /// use std::io::{Read, Write};
    /// use std::net::Shutdown;
    ///
    /// let mut stream = client.connect(&target, "localhost", port)?;
    /// let mut writer = stream.try_clone()?;
    /// std::thread::spawn(move || writer.write_all(b"there and back"));
    /// let mut words = [0; 14];
    /// stream.read_exact(&mut words)?;
    /// assert_eq!(&words, b"there and back");
    /// stream.shutdown(Shutdown::Both)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            socket: self.socket.try_clone()?,
            state: Arc::clone(&self.state),
        })
    }

    /// How long a read of any clone may wait; then it fails with [`WouldBlock`](io::ErrorKind::WouldBlock) or
    /// [`TimedOut`](io::ErrorKind::TimedOut), as with sockets.
    ///
    /// # Errors
    /// When the time is zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_read_timeout(timeout)
    }

    /// How long a write of any clone may wait.
    ///
    /// # Errors
    /// When the time is zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.socket.set_write_timeout(timeout)
    }

    /// Ends one direction or both. An end of writing is told to the destination only where its agent carries half an end.
    ///
    /// # Errors
    /// When it is over already.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.socket.shutdown(how)
    }
}

impl Read for &Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = (&self.socket).read(buffer);
        let is_end = match &result {
            Ok(count) => *count == 0 && !buffer.is_empty(),
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        };
        match self.state.failure() {
            Some(failure) if is_end => Err(failure.clone().into()),
            _ => result,
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let result = (&self.socket).write(bytes);
        // Reset: what was written before is still in the socket.
        let is_end = result.as_ref().is_err_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            )
        });
        match self.state.failure() {
            Some(failure) if is_end => Err(failure.clone().into()),
            _ => result,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
