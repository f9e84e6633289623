//! The edge from outside: the real binary, real sockets, scripted apps.
//!
//! One binary, so that it links once. A module is a promise of the edge; a test is named for the behaviour, or
//! for the symptom of its absence.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "the rules for the request path don't hold for what tests it"
)]

mod access_log;
mod addresses;
mod bad_input;
mod balance;
mod bodies;
mod body_limit;
mod close_race;
mod commands;
mod descriptors;
mod errors;
mod explain;
mod fairness;
mod families;
mod forwarding;
mod headers;
mod health;
mod hold;
mod leaving;
mod limits;
mod memory;
mod pool;
mod proxy_protocol;
mod reload;
mod reload_files;
mod replace;
mod retries;
mod routing;
mod shutdown;
mod support;
mod telling;
mod tidy;
mod upgrades;
mod usage;
mod wire;
