//! What the multiplexer keeps: bytes on their way to each connection, and the one byte stream back to the client.

use std::collections::{HashMap, VecDeque};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use session_manager_plugin::internals::smux::StreamId;

use crate::bell::Bell;
use crate::threads::lock;

/// The receive budget of all streams together: when it is used up, nothing more is read.
const RECEIVE_BUDGET: usize = 4 << 20;
/// What waits for the data channel at most.
const SEND_BUFFER: usize = 256 << 10;

/// All streams and their bytes.
#[derive(Default)]
pub(super) struct Streams {
    state: Mutex<State>,
    budget: Bell,
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
    /// For who waits for its bytes.
    changed: Arc<Bell>,
}

impl Streams {
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
            state = self.budget.wait(state);
        }
        let State {
            streams,
            used,
            closed,
        } = &mut *state;
        if let Some(stream) = streams.get_mut(&id) {
            *used += data.len();
            stream.waiting.push_back(data);
            stream.changed.ring();
        }
        !*closed
    }

    /// The client's FIN.
    pub(super) fn finish(&self, id: StreamId) {
        if let Some(stream) = lock(&self.state).streams.get_mut(&id) {
            stream.finished = true;
            stream.changed.ring();
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
                    self.budget.ring();
                }
                return Some(data);
            }
            if stream.finished {
                return None;
            }
            let changed = Arc::clone(&stream.changed);
            state = changed.wait(state);
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
            stream.changed.ring();
        }
        self.budget.ring();
    }

    /// Everything is over.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        for stream in state.streams.values() {
            if let Some(connection) = &stream.connection {
                let _ = connection.shutdown(Shutdown::Both);
            }
            stream.changed.ring();
        }
        self.budget.ring();
    }
}

/// The bytes to the client, bounded.
#[derive(Default)]
pub(super) struct Outlet {
    state: Mutex<Bytestream>,
    filled: Bell,
    emptied: Bell,
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
            state = self.emptied.wait(state);
        }
        if state.closed {
            return false;
        }
        state.bytes.extend_from_slice(header);
        state.bytes.extend_from_slice(data);
        self.filled.ring();
        true
    }

    /// Takes what there is, waiting until there is something; `false` at the end.
    pub(super) fn take(&self, bytes: &mut Vec<u8>) -> bool {
        bytes.clear();
        let mut state = lock(&self.state);
        while state.bytes.is_empty() && !state.closed {
            state = self.filled.wait(state);
        }
        std::mem::swap(bytes, &mut state.bytes);
        self.emptied.ring();
        !bytes.is_empty()
    }

    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.filled.ring();
        self.emptied.ring();
    }
}
