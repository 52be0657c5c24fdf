//! API calls beyond those of sessions: one file for each service or subject. Every call names its IAM action.

mod ec2;
mod ecs;
mod instance_connect;
mod instances;

pub use ec2::{Instance, InstanceFilter};
pub use ecs::{Container, Task};
pub use instances::{Filter, Node, Nodes, PingStatus};

/// The most pages that are read of one answer: 2,000 nodes in pages of 50. The service may not make us ask for ever.
const MAXIMUM_PAGES: usize = 40;
