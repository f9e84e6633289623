//! What the fuzz targets call: a module for each, whose `run` panics where something doesn't hold that has to.
//!
//! Only `--cfg fuzzing` compiles it, so nothing of it is in the edge. What the edge says is compared with what others
//! read: httparse for heads, hyper for the requests that an app gets, and `rules` and `message`, which are written from
//! docs/http.md and share no code with what they judge. docs/fuzz.md has what each target checks, and how to run them.

pub mod authority;
pub mod config;
pub mod connection;
pub mod forwarded;
pub mod headers;
mod message;
mod rules;

use crate::config::{Config, Source};

/// A configuration that is part of a target.
fn fixed_config(text: &'static str) -> Config {
    let loaded = Source::embedded("fuzz", text).load(&|_| None);
    loaded.unwrap_or_else(|errors| panic!("{errors}"))
}
