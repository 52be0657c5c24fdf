//! The terminal and the three standard descriptors: raw mode, size, escapes, signals, input and output.

mod bounded_write;
pub mod escape;
pub mod input;
mod last_resort;
pub mod output;
mod parent;
pub mod print;
pub mod progress_line;
pub mod raw;
pub mod signals;
pub mod size;
pub mod status_line;
pub mod unread;
