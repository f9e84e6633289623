//! hostler leads each request by its Host to the containers of one tenant, and to no others.

pub mod cli;
pub mod config;
pub mod route;
