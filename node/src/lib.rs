//! # A node of the mesh
pub mod home;
pub mod keys;
pub mod store;
