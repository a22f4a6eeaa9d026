//! The targets, each with what must hold for any input.

pub mod filters;
pub mod handshake;
pub mod messages;
