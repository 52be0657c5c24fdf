//! The agent: what stands on the instance, at the far end of the data channel.

pub mod stream;
