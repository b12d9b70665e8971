//! # A node of the mesh

pub mod cli;
pub mod config;
pub mod control;
pub mod demo;
pub mod founding;
pub mod home;
pub mod keys;
pub mod log;
pub mod net;
pub mod runtime;
pub mod store;
pub mod words;
