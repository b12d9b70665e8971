//! Frith in the engine's world: real cores with real keys, what hosts do for them, who comes and what operators do.
//!
//! What is shared, because it is the same everywhere: the outcome of checking one signature, the outcome of executing one block on one
//! state, the states themselves. Nothing else is: each node has its own core, disk, clock and connections.

mod ahead;
mod check;
mod domain;
mod founding;
mod grave;
mod letter;
mod liar;
mod outcome;
mod plan;
mod program;
mod workshop;

pub use check::{Checker, Lookup};
pub use domain::{Order, Progress, run};
pub use outcome::Outcome;
pub use plan::{draw, index_of, name_of};
