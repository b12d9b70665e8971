//! The rules of SPEC.md 2, 3, 4, 6 and 7, each by its number, on small domains in memory.

mod domain;
mod snapshot;
