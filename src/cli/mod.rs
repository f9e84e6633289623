//! The commands, one file each. They write to what they are given and never end the process.

mod ask;
pub mod check;
mod demo;
mod explain;
mod healthcheck;
mod live;
mod routes;
mod run;
pub mod schema;
mod table;
mod usage;

use std::{
    io::{self, IsTerminal as _, Write},
    net::SocketAddr,
    path::PathBuf,
};

use clap::{Parser, Subcommand};

use crate::{
    config::{Config, Source},
    edge::Edge,
    telemetry,
};

/// Leads each request by its Host to the containers of one tenant, and to no others.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// The configuration [default: proxy.toml]
    #[arg(long, global = true, env = "HOSTLER_CONFIG", value_name = "PATH")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve (the default)
    Run {
        /// Take over from the edge that runs at these addresses, which then drains and ends: no client is refused
        #[arg(long)]
        replace: bool,
    },
    /// Say what is wrong with a configuration, or that nothing is
    Check {
        /// Instead of --config
        path: Option<PathBuf>,
    },
    /// List which host and path leads where, in the order in which they are tried
    Routes {
        #[arg(long)]
        json: bool,
        /// How each tenant fares now, as the edge that runs tells it
        #[arg(long)]
        live: bool,
    },
    /// Say where a request would go and why, and what its app would be told
    Explain(explain::Given),
    /// Serve with an embedded tenant in the place of each upstream: no containers needed
    Demo {
        #[arg(long, value_name = "ADDRESS", default_value = demo::LISTEN)]
        listen: SocketAddr,
    },
    /// Ask a running edge whether it lives: exits with 0 or 1
    Healthcheck {
        /// Of the edge's admin listener, instead of what the configuration says
        #[arg(long, value_name = "ADDRESS")]
        address: Option<SocketAddr>,
    },
    /// Say what each tenant's requests add up to, by the file that [usage] path names
    Usage(usage::Given),
    /// Print the JSON Schema of the configuration
    Schema,
}

/// Does what was asked. False if the answer is no or the configuration is wrong, and then standard
/// error says why.
///
/// # Errors
/// What keeps the command from its work.
pub fn execute(arguments: Arguments) -> anyhow::Result<bool> {
    let given = arguments.config;
    let path = given.clone().unwrap_or_else(|| CONFIG.into());
    let coloured = io::stderr().is_terminal();
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let command = arguments.command.unwrap_or(Command::Run { replace: false });
    match command {
        Command::Run { replace } => run::run(&path, replace, coloured, &mut err),
        Command::Check { path: instead } => {
            let path = instead.unwrap_or(path);
            Ok(check::check(&path, &env, coloured, &mut out, &mut err)?)
        }
        Command::Routes { json, live } => {
            let Some(config) = load(&mut Source::new(path), coloured, &mut err)? else {
                return Ok(false);
            };
            let out = &mut io::BufWriter::new(out.lock());
            if live {
                live::live(&config.admin, json, out)?;
            } else {
                routes::routes(&config, json, out)?;
            }
            out.flush()?;
            Ok(true)
        }
        Command::Explain(given) => {
            let Some(config) = load(&mut Source::new(path), coloured, &mut err)? else {
                return Ok(false);
            };
            let out = &mut io::BufWriter::new(out.lock());
            let routes = explain::explain(&config, &given, out)?;
            out.flush()?;
            Ok(routes)
        }
        Command::Demo { listen } => demo::demo(given.as_deref(), listen, coloured, &mut err),
        Command::Healthcheck { address } => Ok(healthcheck::healthcheck(address, &path, &mut err)?),
        Command::Usage(asked) => {
            let Some(file) = usage::file(&asked, path, coloured, &mut err)? else {
                return Ok(false);
            };
            let out = &mut io::BufWriter::new(out.lock());
            usage::usage(&file, &asked, out, &mut err)?;
            out.flush()?;
            Ok(true)
        }
        Command::Schema => {
            schema::schema(&mut out)?;
            Ok(true)
        }
    }
}

/// Where the configuration is unless it is said.
const CONFIG: &str = "proxy.toml";

/// The configuration, or None, and then `err` has what is wrong with it.
fn load(source: &mut Source, coloured: bool, err: &mut dyn Write) -> io::Result<Option<Config>> {
    match source.load(&env) {
        Ok(config) => Ok(Some(config)),
        Err(errors) => {
            check::tell(&errors, source.path(), coloured, err)?;
            Ok(None)
        }
    }
}

/// Serves until told to end, perhaps in the place of an edge that runs. `listening` is called with the edge once it
/// serves.
fn serve(
    config: Config,
    source: Option<Source>,
    replace: bool,
    listening: impl FnOnce(&Edge) -> io::Result<()>,
) -> anyhow::Result<()> {
    let level = telemetry::init(config.log.format, config.log.level)?;
    // The control thread's: names, files, signals and the admin listener, but no tenant's traffic.
    let control = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = control.block_on(async {
        let edge = Edge::start(config, level, replace).await?;
        listening(&edge)?;
        edge.run(source).await;
        Ok(())
    });
    // A file that hangs has been waited for long enough.
    control.shutdown_background();
    ended
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What the tests of the commands read instead of a file.
#[cfg(test)]
fn config(text: &'static str) -> Config {
    Source::embedded(CONFIG, text).load(&|_| None).unwrap()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_configuration_is_given_before_or_after_the_command() {
        for arguments in [
            ["hostler", "--config", "a.toml", "routes"],
            ["hostler", "routes", "--config", "a.toml"],
        ] {
            let parsed = Arguments::parse_from(arguments);
            assert_eq!(parsed.config, Some("a.toml".into()));
            assert!(matches!(
                parsed.command,
                Some(Command::Routes {
                    json: false,
                    live: false
                })
            ));
        }
    }

    #[test]
    fn errors_are_counted() {
        let mut err = Vec::new();
        let mut source = Source::embedded("x.toml", "lisen = 1\n");
        assert_eq!(load(&mut source, false, &mut err).unwrap(), None);
        let err = String::from_utf8(err).unwrap();
        assert!(err.contains("x.toml:1:1"), "{err}");
        assert!(err.ends_with("x.toml: 1 error\n"), "{err}");
    }
}
