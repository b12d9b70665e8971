//! How whoever does not vote learns what is final: by gossip, by height, or from a snapshot (SPEC 9).
