//! Frith.

pub mod net;
