//! placeholder
pub mod arguments;
pub mod config;
