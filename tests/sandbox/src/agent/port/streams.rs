//! What the multiplexer keeps: bytes on their way to each connection, and the one byte stream back to the client.

use std::collections::{HashMap, VecDeque};
use std::net::{Shutdown, TcpStream};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use session_manager_plugin::smux::StreamId;

use crate::threads::lock;

/// The receive budget of all streams together: when it is used up, nothing more is read.
const RECEIVE_BUDGET: usize = 4 << 20;
/// What waits for the data channel at most.
const SEND_BUFFER: usize = 256 << 10;

/// All streams and their bytes.
#[derive(Default)]
pub(super) struct Streams {
    state: Mutex<State>,
    /// Something changed for somebody who waits; there are few, and they look for themselves.
    budget: Condvar,
    data: Condvar,
}

#[derive(Default)]
struct State {
    streams: HashMap<StreamId, Stream>,
    used: usize,
    closed: bool,
}

#[derive(Default)]
struct Stream {
    waiting: VecDeque<Bytes>,
    /// The client will send no more.
    finished: bool,
    connection: Option<TcpStream>,
}

impl Streams {
    fn wait<'a>(&self, on: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        on.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// A new stream; `false` when there is one of that name.
    pub(super) fn open(&self, id: StreamId) -> bool {
        let mut state = lock(&self.state);
        if state.closed || state.streams.contains_key(&id) {
            return false;
        }
        state.streams.insert(id, Stream::default());
        true
    }

    /// The connection that belongs to a stream; `false` when it has gone meanwhile.
    pub(super) fn connect(&self, id: StreamId, connection: TcpStream) -> bool {
        let mut state = lock(&self.state);
        if state.closed {
            return false;
        }
        match state.streams.get_mut(&id) {
            Some(stream) => {
                stream.connection = Some(connection);
                true
            }
            None => false,
        }
    }

    /// Bytes of the client. Waits while the budget is used up; `false` at the end.
    pub(super) fn push(&self, id: StreamId, data: Bytes) -> bool {
        let mut state = lock(&self.state);
        while state.used >= RECEIVE_BUDGET && !state.closed {
            state = self.wait(&self.budget, state);
        }
        let State {
            streams,
            used,
            closed,
        } = &mut *state;
        if let Some(stream) = streams.get_mut(&id) {
            *used += data.len();
            stream.waiting.push_back(data);
            self.data.notify_all();
        }
        !*closed
    }

    /// The client's FIN.
    pub(super) fn finish(&self, id: StreamId) {
        if let Some(stream) = lock(&self.state).streams.get_mut(&id) {
            stream.finished = true;
            self.data.notify_all();
        }
    }

    /// The next bytes of a stream; nothing at its end.
    pub(super) fn pop(&self, id: StreamId) -> Option<Bytes> {
        let mut state = lock(&self.state);
        loop {
            let closed = state.closed;
            let stream = state.streams.get_mut(&id)?;
            if closed {
                return None;
            }
            if let Some(data) = stream.waiting.pop_front() {
                let before = state.used;
                state.used -= data.len();
                if before >= RECEIVE_BUDGET {
                    self.budget.notify_all();
                }
                return Some(data);
            }
            if stream.finished {
                return None;
            }
            state = self.wait(&self.data, state);
        }
    }

    /// A stream is over in both directions; what waits in it is lost.
    pub(super) fn remove(&self, id: StreamId) {
        let mut state = lock(&self.state);
        if let Some(stream) = state.streams.remove(&id) {
            state.used -= stream.waiting.iter().map(Bytes::len).sum::<usize>();
            if let Some(connection) = stream.connection {
                let _ = connection.shutdown(Shutdown::Both);
            }
        }
        self.budget.notify_all();
        self.data.notify_all();
    }

    /// Everything is over.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        for stream in state.streams.values() {
            if let Some(connection) = &stream.connection {
                let _ = connection.shutdown(Shutdown::Both);
            }
        }
        self.budget.notify_all();
        self.data.notify_all();
    }
}

/// The bytes to the client, bounded.
#[derive(Default)]
pub(super) struct Outlet {
    state: Mutex<Bytestream>,
    filled: Condvar,
    emptied: Condvar,
}

#[derive(Default)]
struct Bytestream {
    bytes: Vec<u8>,
    closed: bool,
}

impl Outlet {
    /// Appends a frame; waits for room. `false` at the end.
    pub(super) fn push(&self, header: &[u8], data: &[u8]) -> bool {
        let mut state = lock(&self.state);
        while state.bytes.len() >= SEND_BUFFER && !state.closed {
            state = self
                .emptied
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return false;
        }
        state.bytes.extend_from_slice(header);
        state.bytes.extend_from_slice(data);
        self.filled.notify_one();
        true
    }

    /// Takes what there is, waiting until there is something; `false` at the end.
    pub(super) fn take(&self, bytes: &mut Vec<u8>) -> bool {
        bytes.clear();
        let mut state = lock(&self.state);
        while state.bytes.is_empty() && !state.closed {
            state = self
                .filled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(bytes, &mut state.bytes);
        self.emptied.notify_all();
        !bytes.is_empty()
    }

    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.filled.notify_all();
        self.emptied.notify_all();
    }
}
