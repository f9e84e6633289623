//! hostler leads each request by its Host to the containers of one tenant, and to no others.
//!
//! The path of a request, in reading order: `listener` (accepting, on what `socket` has bound), `worker` (one
//! thread), `connection`, `client`, `proxy_header` and `session` (one client), `rounds` (whose turn it is), `handle` (the table of contents
//! of a request), `request`,
//! `method`, `route`, `limits`, `bulkhead`, `headers`, `forward`, `upstream`, `http1`, `upgrade`, `error`, `telemetry::record`, `telemetry::counters`.
//!
//! Everything else: `config` (the file), `snapshot` (what a request reads of it), `edge` (what starts and holds it
//! all), `edge_error`, `listening`, `holder`, `handover`, `reload`, `shutdown`, `admin`, `telemetry`, `cli`. ARCHITECTURE.md has the map.

mod admin;
#[cfg(feature = "bench")]
pub mod bench;
mod bulkhead;
pub mod cli;
mod client;
pub mod config;
mod connection;
mod date;
mod deadline;
mod edge;
mod edge_error;
mod error;
mod forward;
#[cfg(fuzzing)]
pub mod fuzz;
mod handle;
mod handover;
mod headers;
mod holder;
mod html;
mod http1;
mod limits;
mod listener;
mod listening;
mod method;
mod proxy_header;
mod reload;
mod request;
mod rounds;
pub mod route;
mod session;
mod shutdown;
mod snapshot;
mod socket;
mod spares;
mod stock;
mod stream;
mod telemetry;
mod upgrade;
mod upstream;
mod wire;
mod worker;
