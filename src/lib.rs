//! hostler leads each request by its Host to the containers of one tenant, and to no others.
//!
//! The modules in reading order. First the path of a request, top to bottom; then what starts, configures and
//! observes it. ARCHITECTURE.md has the map.

mod body;
mod connection;
mod deadline;
mod error;
mod forward;
mod handle;
mod headers;
mod html;
mod listener;
mod method;
pub mod route;
mod session;
mod stream;
mod upgrade;
mod upstream;
mod worker;

mod admin;
pub mod cli;
pub mod config;
mod edge;
mod reload;
mod shutdown;
mod snapshot;
mod telemetry;
