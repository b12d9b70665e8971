//! Frith.
fn main() {}
