//! Arguments in, exit code out; the only place that ends the process.

fn main() -> std::process::ExitCode {
    let path = std::env::args().nth(1).unwrap_or_else(|| "proxy.toml".into());
    match hostler::cli::run::run(path.as_ref()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{error:#}\n"));
            std::process::ExitCode::FAILURE
        }
    }
}
