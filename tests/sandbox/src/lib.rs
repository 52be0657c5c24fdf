pub mod message {}
