//! How the endorsers put blocks in one order: Simplex (Benjamin Chan and Rafael Pass, *Simplex Consensus*, TCC 2023), by the rules of
//! SPEC 8. Votes in, final blocks out.
//!
//! Knows nothing of what blocks mean: a [`Ledger`] builds and judges them. Knows nothing of signatures either: what comes in was
//! checked, and a [`Signer`] signs what goes out. So the same code runs under a node, under a simulator and under a model checker.

mod ballot;
mod engine;
mod exchange;
mod journal;
mod planted;
mod rules;
mod seam;
mod start;
mod tally;
#[cfg(test)]
mod tests;

pub use ballot::{Ballot, BallotKind, Certificate, Have, Message, Proposal, Vote, Want};
pub use engine::Agreement;
pub use journal::{Journal, JournalKey, JournalRecord, Slot};
pub use seam::{Accepted, Config, Input, Ledger, Output, Signer, Timely, Value, Voter};
