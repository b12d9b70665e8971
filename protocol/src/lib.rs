//! # The law of the mesh
//!
//! The core of Frith: what a trust domain is, who belongs to it, how its endorsers agree, how newcomers join and how everybody else follows.
//! Sans-IO and deterministic: no clock, no sockets, no disk, no threads, no entropy of its own. `SPEC.md` beside this crate has the rules by number.
//!
//! | room | holds |
//! |---|---|
//! | [`encoding`], [`identity`] | bytes, digests, keys, the one signature check: pure values |
//! | [`state`] | charters, statements, blocks, the authenticated state and `execute` |
//! | [`agreement`] | Simplex: votes in, final blocks out |
//! | [`joining`] | tickets and proposals: conversations that collect endorsements |
//! | [`following`] | catching up by height, snapshots |
//! | [`door`] | one core per domain behind `handle`, and the router above them; wires the rooms and holds no rule of its own |

pub mod agreement;
pub mod door;
pub mod encoding;
pub mod fault;
pub mod following;
pub mod identity;
pub mod joining;
pub mod limits;
#[cfg(feature = "planted")]
pub mod planted;
#[cfg(not(feature = "planted"))]
mod planted;
pub mod state;
pub mod time;
