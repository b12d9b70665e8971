//! # What needs more than one crate, or a second opinion
//!
//! | module | holds |
//! |---|---|
//! | [`model`] | the rules of state and blocks, written again from `SPEC.md` alone: naive, slow, and sharing no code with the engine |
//! | [`mesh`] | a few cores in one process, for whoever attacks them |
//! | [`harness`], [`binaries`], [`ports`] | real nodes on free ports, and the programs that they are |
//! | [`readme`] | the commands that the README shows |
//! | [`people`] | identities, charters and signatures for tests |
//! | [`histories`], [`amendments`], [`offers`] | random small logs, valid and not; what changes their charters; their blocks |
//! | [`ink`] | what they are signed with |
//! | [`trial`] | one such log, judged by the model and by the engine, for the two to disagree about |
//! | [`edges`] | both at the limits, where random logs seldom come |
//! | [`drills`] | small cores in one process, each asked for what it must refuse |
//! | [`survey`] | such logs by the thousand, and the least of one about which they disagree |
//!
//! The tests themselves are in `tests/`, one file for each of the questions that this crate asks.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one message or event among all")]

pub mod amendments;
pub mod binaries;
pub mod drills;
pub mod edges;
pub mod harness;
pub mod histories;
pub mod ink;
mod lies;
pub mod mesh;
pub mod model;
pub mod offers;
pub mod people;
mod plain;
pub mod ports;
pub mod readme;
mod records;
mod signers;
pub mod survey;
pub mod trial;
