//! hostler leads each request by its Host to the containers of one tenant, and to no others.

mod admin;
pub mod cli;
pub mod config;
mod error;
mod html;
mod method;
pub mod route;
mod telemetry;
