//! Frith.
