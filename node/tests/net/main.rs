//! The transport on real sockets of the loopback interface: what peers of each standing reach, and how they find one another.
//!
//! Every wait is for an event, within a bound that only a failure meets.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test picks the events that it waits for")]

mod addresses;
mod dials;
mod gossip;
mod messages;
mod peers;
mod standings;
