//! Output on its way from the thread that carries it to its readers.

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, select};

use super::copy::OutputStream;

/// Where output goes.
pub(super) enum PieceSenders {
    /// Each stream to a reader of its own.
    Apart {
        stdout: Sender<Bytes>,
        stderr: Sender<Bytes>,
    },
    /// Both to one, in the order in which they come.
    Together(Sender<(OutputStream, Bytes)>),
}

/// Hands output on until the command is ended.
pub(super) struct Pieces {
    to: PieceSenders,
    is_stopped: Receiver<()>,
}

impl Pieces {
    pub(super) const fn new(to: PieceSenders, is_stopped: Receiver<()>) -> Self {
        Self { to, is_stopped }
    }

    /// Whether both streams go to one receiver.
    pub(super) const fn are_together(&self) -> bool {
        matches!(self.to, PieceSenders::Together(_))
    }

    pub(super) fn put(&self, stream: OutputStream, bytes: Bytes) {
        // Without a receiver, or once the command is ended, it is dropped.
        match (&self.to, stream) {
            (PieceSenders::Apart { stdout: to, .. }, OutputStream::Stdout)
            | (PieceSenders::Apart { stderr: to, .. }, OutputStream::Stderr) => select! {
                send(to, bytes) -> _ => {}
                recv(self.is_stopped) -> _ => {}
            },
            (PieceSenders::Together(to), stream) => select! {
                send(to, (stream, bytes)) -> _ => {}
                recv(self.is_stopped) -> _ => {}
            },
        }
    }
}
