//! `hostler check`: is this proxy.toml one that the edge would run with?

use std::{
    io::{self, Write},
    path::Path,
};

use crate::config::Source;

/// Reads the configuration as the edge would. Says what it holds on `out`, or what is wrong with it
/// on `err`, in colours if that is a terminal. True if it is fine.
///
/// # Errors
/// Only those of writing.
pub fn check(
    path: &Path,
    env: &dyn Fn(&str) -> Option<String>,
    coloured: bool,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<bool> {
    let path_shown = path.display();
    match Source::new(path).load(env) {
        Ok(config) => {
            let hosts: usize = config.routes.iter().map(|route| route.hosts.len()).sum();
            let routes = count(config.routes.len(), "route");
            writeln!(
                out,
                "{path_shown}: fine, {routes}, {}",
                count(hosts, "host")
            )?;
            Ok(true)
        }
        Err(errors) => {
            writeln!(err, "{}\n", errors.render(coloured))?;
            writeln!(err, "{path_shown}: {}", count(errors.count(), "error"))?;
            Ok(false)
        }
    }
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> (bool, String, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proxy.toml");
        std::fs::write(&path, text).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let fine = check(&path, &|_| None, false, &mut out, &mut err).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (fine, text(out), text(err))
    }

    #[test]
    fn a_good_file_is_counted_on_out() {
        let (fine, out, err) =
            run("[routes.thor]\nhosts = [\"a.b\", \"c.d\"]\nupstream = \"http://x:1\"\n");
        assert!(fine);
        assert!(
            out.ends_with("proxy.toml: fine, 1 route, 2 hosts\n"),
            "{out}"
        );
        assert_eq!(err, "");
    }

    #[test]
    fn a_bad_file_is_explained_on_err() {
        let (fine, out, err) = run("lisen = \"0.0.0.0:1\"\n");
        assert!(!fine);
        assert_eq!(out, "");
        assert!(err.starts_with("error: unknown key `lisen`\n"), "{err}");
        assert!(err.contains("proxy.toml:1:1"), "{err}");
        assert!(err.ends_with("proxy.toml: 1 error\n"), "{err}");
    }
}
