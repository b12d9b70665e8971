//! # A node of the mesh
//!
//! The host of the core ([`frith_protocol`]): sockets, disk, clock, operator. `README.md` beside this crate is the operator's guide; the binary
//! is `frith`.
//!
//! | module | holds |
//! |---|---|
//! | [`net`] | libp2p: moves bytes between peers that it names by their keys, and knows nothing of what they mean |
//! | [`runtime`] | the core between transport, store and control socket: handle, store, then send |
//! | [`store`] | a chained journal behind `fdatasync`; sled for what peers can restore |
//! | [`home`], [`keys`], [`rotation`], [`recovery`], [`config`], [`log`], [`words`], [`addresses`] | the files of one node, and what operators write in them |
//! | [`backup`] | a node in a file, from which no voter comes back that contradicts itself |
//! | [`founding`] | a domain founded on several machines, by files that can be mailed |
//! | [`control`], [`cli`] | the local socket, and the commands that use it |
//! | [`demo`] | the whole story, checked as it is told |

pub mod addresses;
pub mod amendment;
pub mod backup;
pub mod cli;
pub mod config;
pub mod control;
pub mod demo;
pub mod founding;
pub mod home;
pub mod keys;
mod kill_point;
pub mod log;
pub mod net;
pub mod recovery;
pub mod rotation;
pub mod runtime;
pub mod store;
pub mod words;

#[cfg(feature = "kill-points")]
pub use kill_point::KILL_POINTS;
