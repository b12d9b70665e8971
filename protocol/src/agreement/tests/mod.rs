//! The room tested by itself: a ledger of a few fields, proofs that are numbers.

mod bench;
mod epochs;
mod explorer;
mod lasting;
mod model;
mod modelcheck;
mod rules;
mod world;
