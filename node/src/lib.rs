//! # A node of the mesh
pub mod store;
