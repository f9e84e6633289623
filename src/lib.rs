//! hostler leads each request by its Host to the containers of one tenant, and to no others.
//!
//! The modules in reading order. First the path of a request, top to bottom; then what starts, configures and
//! observes it. ARCHITECTURE.md has the map.

mod listener;
mod worker;
mod connection;
mod session;
mod handle;
mod method;
pub mod route;
mod headers;
mod forward;
mod upstream;
mod upgrade;
mod body;
mod error;
mod html;
mod stream;
mod deadline;

mod snapshot;
pub mod config;
mod edge;
mod reload;
mod shutdown;
mod admin;
mod telemetry;
pub mod cli;
