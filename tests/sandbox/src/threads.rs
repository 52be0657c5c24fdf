//! All threads and sockets of a sandbox, so that dropping it ends every one of them.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, poll};
use session_manager_plugin::internals::waker::waker;

/// The threads of one sandbox. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Threads(Arc<Shared>);

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    running: Mutex<Vec<JoinHandle<()>>>,
    next: AtomicU64,
    /// What ends threads that wait.
    hooks: Mutex<HashMap<u64, Box<dyn Fn() + Send>>>,
}

/// Takes its hook back when dropped.
pub(crate) struct Hook {
    threads: Threads,
    key: u64,
}

impl Drop for Hook {
    fn drop(&mut self) {
        let hook = lock(&self.threads.0.hooks).remove(&self.key);
        drop(hook);
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Threads {
    /// Starts a thread; not when everything is about to end.
    pub(crate) fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) {
        let mut running = lock(&self.0.running);
        if self.is_stopping() {
            return;
        }
        running.retain(|thread| !thread.is_finished());
        match thread::Builder::new()
            .name(name.to_owned())
            .stack_size(256 << 10)
            .spawn(body)
        {
            Ok(thread) => running.push(thread),
            Err(error) => eprintln!("sandbox: cannot start thread {name}: {error}"),
        }
    }

    /// Whether everything is about to end.
    pub(crate) fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::SeqCst)
    }

    /// Calls `hook` when everything is to end: it must make the thread that waits go on. Called at once when it is too late.
    pub(crate) fn on_stop(&self, hook: impl Fn() + Send + 'static) -> Hook {
        let key = self.0.next.fetch_add(1, Ordering::Relaxed);
        let mut hooks = lock(&self.0.hooks);
        if self.is_stopping() {
            hook();
        }
        hooks.insert(key, Box::new(hook));
        Hook {
            threads: self.clone(),
            key,
        }
    }

    /// Whoever waits for this socket goes on when everything is to end.
    pub(crate) fn watch(&self, socket: &TcpStream) -> io::Result<Hook> {
        let socket = socket.try_clone()?;
        Ok(self.on_stop(move || {
            let _ = socket.shutdown(Shutdown::Both);
        }))
    }

    /// Ends everything and waits for it.
    pub(crate) fn stop(&self) {
        self.0.stopping.store(true, Ordering::SeqCst);
        for hook in lock(&self.0.hooks).values() {
            hook();
        }
        loop {
            let running = std::mem::take(&mut *lock(&self.0.running));
            if running.is_empty() {
                return;
            }
            for thread in running {
                let _ = thread.join();
            }
        }
    }

    /// Listens on a loopback port of the system's choice, each connection with a thread of its own.
    pub(crate) fn listen(
        &self,
        name: &'static str,
        handle: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> io::Result<SocketAddr> {
        self.listen_on(name, (Ipv4Addr::LOCALHOST, 0).into(), handle)
    }

    /// Listens on a given address.
    pub(crate) fn listen_on(
        &self,
        name: &'static str,
        address: SocketAddr,
        handle: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let (waker, wake_receiver) = waker()?;
        let threads = self.clone();
        let handle = Arc::new(handle);
        self.spawn(name, move || {
            let _hook = threads.on_stop(move || waker.wake());
            while !threads.is_stopping() {
                let mut descriptors = [
                    PollFd::new(&listener, PollFlags::IN),
                    PollFd::new(&wake_receiver, PollFlags::IN),
                ];
                let _ = poll(&mut descriptors, None);
                wake_receiver.clear();
                while let Ok((socket, _)) = listener.accept() {
                    let handle = Arc::clone(&handle);
                    threads.clone().spawn(name, move || {
                        if socket.set_nonblocking(false).is_ok() {
                            handle(socket);
                        }
                    });
                }
            }
        });
        Ok(address)
    }
}

/// Ends a connection with RST.
pub(crate) fn reset(socket: &TcpStream) {
    let _ = socket2::SockRef::from(socket).set_linger(Some(std::time::Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn stopping_ends_listeners_and_connections() {
        let threads = Threads::default();
        let inner = threads.clone();
        let address = threads
            .listen("test", move |mut socket| {
                let _hook = inner.watch(&socket).unwrap();
                let _ = socket.read(&mut [0]);
            })
            .unwrap();
        let _client = TcpStream::connect(address).unwrap();
        threads.stop();
        assert!(TcpStream::connect(address).is_err());
    }
}
