//! The message gateway: websockets, plain or over TLS, relayed to and from the agents.

mod connection;
mod upgrade;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex};

use crate::sandbox::Shared;
use crate::threads::{Threads, lock};

/// The gateway: can be stopped and started again on the same port.
pub(crate) struct Gateway {
    address: SocketAddr,
    running: Mutex<Option<Threads>>,
}

impl Gateway {
    /// A gateway that does not run yet; its port is reserved by having been used.
    pub(crate) fn new() -> Self {
        Self {
            address: ([127, 0, 0, 1], 0).into(),
            running: Mutex::new(None),
        }
    }

    /// Starts it.
    pub(crate) fn start(&mut self, shared: &Arc<Shared>) -> io::Result<SocketAddr> {
        self.address = self.listen(shared)?;
        Ok(self.address)
    }

    fn listen(&self, shared: &Arc<Shared>) -> io::Result<SocketAddr> {
        let threads = Threads::default();
        let inner = threads.clone();
        let weak = Arc::downgrade(shared);
        let address = threads.listen_on("gateway", self.address, move |socket| {
            if let Some(shared) = weak.upgrade() {
                serve(socket, &shared, &inner);
            }
        })?;
        *lock(&self.running) = Some(threads);
        Ok(address)
    }

    /// Ends all connections and refuses new ones.
    pub(crate) fn stop(&self) {
        let running = lock(&self.running).take();
        if let Some(threads) = running {
            threads.stop();
        }
    }

    /// Starts it again where it was.
    pub(crate) fn restart(&self, shared: &Arc<Shared>) -> io::Result<()> {
        self.stop();
        self.listen(shared).map(drop)
    }
}

/// One connection from its first byte to its last.
fn serve(socket: TcpStream, shared: &Arc<Shared>, threads: &Threads) {
    let _ = socket.set_nodelay(true);
    let Ok(_watch) = threads.watch(&socket) else {
        return;
    };
    let socket = match &shared.acceptor {
        None => Socket::Plain(socket),
        Some(acceptor) => match acceptor.accept(socket) {
            Ok(stream) => Socket::Tls(Box::new(stream)),
            // A client that does not trust us says so in an alert.
            Err(_) => return,
        },
    };
    if let Some(accepted) = upgrade::upgrade(socket, shared, threads) {
        connection::run(accepted, shared, threads);
    }
}

/// A socket of the gateway.
pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<native_tls::TlsStream<TcpStream>>),
}

impl Socket {
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref(),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(buffer),
            Self::Tls(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.tcp().as_fd()
    }
}
