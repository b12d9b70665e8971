//! The hash over everything that happened: two runs with equal hashes were the same run.

use std::fmt;

use serde::{Serialize, Serializer};

use super::NodeIndex;
use super::time::Instant;

/// The hash of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceHash(pub [u8; 32]);

impl TraceHash {
    /// One hash for several domains, in their order: so it does not matter which thread ran which, or when.
    pub fn combine<'a>(of: &'static str, parts: impl IntoIterator<Item = &'a [u8; 32]>) -> TraceHash {
        let mut hasher = blake3::Hasher::new_derive_key("frith-sim 2026-11 combined v1");
        hasher.update(of.as_bytes());
        for part in parts {
            hasher.update(part);
        }
        TraceHash(*hasher.finalize().as_bytes())
    }
}

impl fmt::Display for TraceHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for TraceHash {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

const BUFFER: usize = 16 * 1024;

/// Hashes events as they happen.
#[derive(Clone)]
pub struct Trace {
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
}

impl Default for Trace {
    fn default() -> Self {
        Trace {
            hasher: blake3::Hasher::new_derive_key("frith-sim 2026-11 trace v1"),
            buffer: Vec::with_capacity(BUFFER),
        }
    }
}

impl Trace {
    /// Takes in one event: when, at which node, of which kind, concerning whom, with what content.
    pub fn event(&mut self, at: Instant, node: NodeIndex, kind: u8, about: u32, content: u128) {
        self.buffer.extend_from_slice(&at.0.to_le_bytes());
        self.buffer.extend_from_slice(&node.0.to_le_bytes());
        self.buffer.push(kind);
        self.buffer.extend_from_slice(&about.to_le_bytes());
        self.buffer.extend_from_slice(&content.to_le_bytes());
        if self.buffer.len() > BUFFER - 64 {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
    }

    /// The hash of all events so far.
    pub fn hash(&self) -> TraceHash {
        let mut hasher = self.hasher.clone();
        hasher.update(&self.buffer);
        TraceHash(*hasher.finalize().as_bytes())
    }
}
