//! The one door to what is private, for the tests, benchmarks and fuzzers of this repository. No part of the library: it changes without
//! notice.
#![doc(hidden)]

#[allow(missing_docs)]
pub mod aws {
    pub use crate::aws::*;
}

#[allow(missing_docs)]
pub mod client {
    pub use crate::client::*;
}

#[allow(missing_docs)]
pub mod communicator {
    pub use crate::communicator::*;
}

#[allow(missing_docs)]
pub mod datachannel {
    pub use crate::datachannel::*;
}

#[allow(missing_docs)]
pub mod encryption {
    pub use crate::encryption::*;
}

#[allow(missing_docs)]
pub mod environment {
    pub use crate::environment::*;
}

#[allow(missing_docs)]
pub mod error {
    pub use crate::error::*;
}

#[allow(missing_docs)]
pub mod message {
    pub use crate::message::*;
}

#[allow(missing_docs)]
pub mod network {
    pub use crate::network::*;
}

#[allow(missing_docs)]
pub mod remarks {
    pub use crate::remarks::*;
}

#[allow(missing_docs)]
pub mod settings {
    pub use crate::settings::*;
}

#[allow(missing_docs)]
pub mod smux {
    pub use crate::smux::*;
}

#[allow(missing_docs)]
pub mod terminal {
    pub use crate::terminal::*;
}

#[allow(missing_docs)]
pub mod waker {
    pub use crate::waker::*;
}
