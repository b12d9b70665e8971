//! The room tested by itself: a ledger of a few fields, proofs that are numbers.

mod bench;
mod epochs;
mod exhaustive;
mod explorer;
mod lasting;
mod rules;
mod world;
