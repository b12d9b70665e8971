//! # Frith's simulator
//!
//! Runs the very core that a node runs, in a world where time, network and disks are made of integers and one seed. `README.md` beside
//! this crate is the modeller's guide.
//!
//! | module | holds |
//! |---|---|
//! | [`engine`] | virtual time, events in one order, network, disks, clocks, faults; knows nothing of Frith |
//! | [`gossip`] | the overlay, modelled on gossipsub |

pub mod engine;
pub mod gossip;
