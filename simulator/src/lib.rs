//! # Frith's simulator
//!
//! Runs the very core that a node runs, in a world where time, network and disks are made of integers and one seed. `README.md` beside
//! this crate is the modeller's guide.
//!
//! | module | holds |
//! |---|---|
//! | [`engine`] | virtual time, events in one order, network, disks, clocks, faults; knows nothing of Frith |
//! | [`gossip`] | the overlay, modelled on gossipsub |
//! | [`world`] | Frith's core on the engine: founding, arrivals, operators, measuring |
//! | [`oracles`] | what must never happen, watched from outside |
//! | [`scenario`] | the files that say what is to be run |
//! | [`run`], [`report`], [`replay`], [`cli`] | a whole run, its figures, its record, its command line |

pub mod cli;
pub mod engine;
pub mod gossip;
pub mod oracles;
pub mod replay;
pub mod report;
pub mod run;
pub mod scenario;
pub mod world;
