//! hostler leads each request by its Host to the containers of one tenant, and to no others.
//!
//! The path of a request, in reading order: `listener` (accepting, on what `socket` has bound), `worker` (one
//! thread), `connection` and `session` (one client), `handle` (the table of contents of a request), `request`,
//! `method`, `route`, `headers`, `forward`, `upstream`, `upgrade`, `body`, `error`, `telemetry::record`.
//!
//! Everything else: `config` (the file), `snapshot` (what a request reads of it), `edge` (what starts and holds it
//! all), `reload`, `shutdown`, `admin`, `telemetry`, `cli`. ARCHITECTURE.md has the map.

mod admin;
mod body;
pub mod cli;
pub mod config;
mod connection;
mod deadline;
mod edge;
mod error;
mod forward;
mod handle;
mod headers;
mod html;
mod listener;
mod method;
mod reload;
mod request;
pub mod route;
mod session;
mod shutdown;
mod snapshot;
mod socket;
mod stream;
mod telemetry;
mod upgrade;
mod upstream;
mod worker;
