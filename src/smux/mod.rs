//! smux version 1: many streams over one byte stream. No I/O, no clock.
//!
//! Version 1 has no window of its own for each stream, and its FIN closes both directions at once, as both originals treat it.
//! [`SmuxSession`] is the client's side, which opens all streams; [`frame`] is for both sides.

pub mod frame;
mod half_closed;
mod keepalive;
mod receive_blocked;
mod session;
mod stream;
mod stream_queue;

pub use frame::{Frame, FrameError};
pub use session::{RECEIVE_BUDGET, SmuxError, SmuxEvent, SmuxSession, Transmit};
pub use stream::StreamId;

#[cfg(test)]
mod tests;
