//! Arguments in, exit code out; the only place that ends the process.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use hostler::cli::{self, Arguments};

/// Gives back what a flood had in use, where the system's keeps it: a page that is free between two that aren't.
#[cfg(all(target_os = "linux", target_env = "gnu", not(feature = "bench")))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match cli::execute(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // `hostler routes | head` has all that it wants.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "hostler: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
