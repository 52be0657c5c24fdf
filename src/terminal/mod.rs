//! The terminal and the three standard descriptors: raw mode, size, escapes, signals, input and output.

pub mod print;
