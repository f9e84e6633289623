//! `hostler check`: is this proxy.toml one that the edge would run with?

use std::{
    io::{self, Write},
    path::Path,
};

use crate::config::{ConfigErrors, Source};

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
            tell(&errors, path, coloured, err)?;
            Ok(false)
        }
    }
}

/// Writes everything that is wrong with a configuration, and how much that is.
///
/// # Errors
/// Only those of writing.
pub(super) fn tell(
    errors: &ConfigErrors,
    path: &Path,
    coloured: bool,
    err: &mut dyn Write,
) -> io::Result<()> {
    writeln!(err, "{}\n", errors.render(coloured))?;
    writeln!(
        err,
        "{}: {}",
        path.display(),
        count(errors.count(), "error")
    )
}

pub(super) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "tests write the files that are read"
)]
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

    /// One file with a mistake of every kind; its first line is empty.
    const EVERYTHING_WRONG: &str = r#"
lisen = "0.0.0.0:8080"
listen = ["0.0.0.0:8080", ":80", "0.0.0.0:8080"]
trusted_proxies = ["10.0.0.0/40", "10.0.0.1/8"]
include = ["none.toml", "[.toml"]

[loog]
level = "info"

[log]
level = 3
format = "jsn"
access = "true"

[shutdown]
grace = 30

[limits]
connections = 0
headers_bytes_max = "32 furlongs"
header_read = "ten seconds"
keepalive = "0s"

[routes.thor]
hosts = ["thor.polls.local:8080", "http://thor.local", "thor.local/polls", "a.*.local", "*", "two.local"]
upsteam = "http://thor_web:8000"
upstream = "thor_web:8000"
host = "preserv"
timeouts = { connect = "0s", respons = "1s" }

[routes.potter]
hosts = ["two.local", "potter.local", "Potter.local."]
upstream = ["http://potter_web", "https://potter_web:8000", "http://potter_web:8000/app"]
paths = [
    { prefix = "static/", upstream = "http://files:80" },
    { prefix = "/media/", upstream = "http://files:80" },
    { prefix = "/media/", upstream = "http://files:80" },
    { upstream = "http://files:80" },
]

[routes.potter]
upstream = "http://potter_web:8000"

[routes.loki]
hosts = []
host = "loki web"
request_headers.set = { Host = "x", "X Y" = "x", Content-Length = "1", X-A = "\u00fc", X-B = "${HOSTLER_NONE}" }
request_headers.add = { X-C = "${UNCLOSED" }

[routes."no name"]
upstream = "http://a:1"

[routes.odin]
hosts = "odin.local"
upstream = = "http://odin_web:8000"
response_headers.remove = ["Connection"]
"#;

    /// Line and column, what is wrong, what would be right.
    const EVERYTHING_TOLD: &[(&str, &str, &str)] = &[
        ("2:1", "unknown key `lisen`", "did you mean `listen`?"),
        ("3:27", "`:80` is no address", "write \"0.0.0.0:80\""),
        ("3:34", "`0.0.0.0:8080` is listened on twice", "here first"),
        (
            "4:20",
            "`10.0.0.0/40` is no network",
            "write an address and a length",
        ),
        (
            "4:35",
            "`10.0.0.1/8` names an address inside",
            "write \"10.0.0.0/8\" for the network",
        ),
        ("5:12", "no file `", "create it, or take it out"),
        ("5:25", "`[.toml` is no pattern of files", "`[*]`"),
        ("7:2", "unknown table `loog`", "did you mean `log`?"),
        ("11:9", "found an integer", "write \"error\""),
        ("12:10", "unknown value `jsn`", "did you mean \"json\"?"),
        (
            "13:10",
            "expected a boolean, found a string",
            "write true without quotes",
        ),
        ("16:9", "a duration needs a unit", "write \"30s\""),
        ("19:15", "`connections` can't be 0", "write 1 to"),
        ("20:21", "`32 furlongs` is no number of bytes", "\"32KiB\""),
        ("21:15", "`ten seconds` is no duration", "\"30s\""),
        ("22:13", "`keepalive` can't be zero", "such as \"75s\""),
        (
            "25:10",
            "a host pattern has no port",
            "ports are ignored: write `thor.polls.local`",
        ),
        (
            "25:35",
            "a host pattern has no scheme",
            "write the host alone: `thor.local`",
        ),
        (
            "25:56",
            "a host pattern has no path",
            "write the host alone: `thor.local`",
        ),
        ("25:76", "`*` in the wrong place", "at the front only"),
        ("25:89", "can't match every host", "name the hosts"),
        (
            "26:1",
            "unknown key `upsteam` in [routes.thor]",
            "did you mean `upstream`?",
        ),
        (
            "27:12",
            "upstream `thor_web:8000` has no scheme",
            "write \"http://thor_web:8000\"",
        ),
        ("28:8", "`preserv` is neither", "did you mean \"preserve\"?"),
        ("29:24", "`connect` can't be zero", "such as \"2s\""),
        (
            "29:30",
            "unknown key `respons` in [routes.thor.timeouts]",
            "did you mean `response`?",
        ),
        (
            "32:10",
            "host `two.local` belongs to two routes",
            "here first, of route `thor`",
        ),
        (
            "32:39",
            "host `potter.local` is in the list twice",
            "here first",
        ),
        (
            "33:13",
            "upstream `http://potter_web` has no port",
            "\"http://potter_web:8000\"",
        ),
        (
            "33:34",
            "https:// upstreams are not supported",
            "write \"http://potter_web:8000\"",
        ),
        (
            "33:61",
            "upstream `http://potter_web:8000/app` has a path",
            "write \"http://potter_web:8000\"",
        ),
        ("35:16", "a prefix begins with `/`", "write \"/static/\""),
        ("37:16", "prefix `/media/` is given twice", "here first"),
        ("38:5", "a path has no `prefix`", "add `prefix = "),
        ("41:9", "table `potter` is defined twice", "here first"),
        ("44:9", "route `loki` has no `upstream`", "add `upstream = "),
        (
            "45:9",
            "`hosts` of route `loki` is empty",
            "write `hosts = [\"loki.example.com\"]`",
        ),
        (
            "46:8",
            "`loki web` is no host",
            "write \"preserve\", \"upstream\", or a host",
        ),
        (
            "47:25",
            "`Host` belongs to the edge",
            "use the key `host` of the route",
        ),
        (
            "47:37",
            "`X Y` is no name of a header",
            "write letters, digits and `-`",
        ),
        (
            "47:50",
            "`Content-Length` belongs to the edge",
            "frames each message itself",
        ),
        ("47:78", "can't hold '\u{fc}'", "write visible ASCII"),
        (
            "47:95",
            "the environment has no `HOSTLER_NONE`",
            "`${HOSTLER_NONE:-default}`",
        ),
        ("48:32", "`${` is not closed", "close it with `}`"),
        (
            "50:9",
            "`no name` can't be the name of a tenant",
            "letters, digits, `_` or `-`",
        ),
        ("55:12", "invalid TOML: extra `=`", "take it out"),
        (
            "56:28",
            "`Connection` belongs to the edge",
            "manages its connections itself",
        ),
    ];

    #[test]
    fn check_finds_every_kind_of_mistake_in_one_file() {
        let (_, _, err) = run(EVERYTHING_WRONG);
        let told: Vec<_> = err
            .split("\n\n")
            .filter(|text| text.starts_with("error: "))
            .collect();
        let place = |text: &str| {
            let arrow = text.lines().nth(1).unwrap_or_default();
            arrow
                .rsplit_once("proxy.toml:")
                .map(|(_, place)| place.to_owned())
        };
        for ((position, wrong, right), text) in EVERYTHING_TOLD.iter().zip(&told) {
            assert_eq!(place(text).as_deref(), Some(*position), "{wrong}:\n{text}");
            let (title, rest) = text.split_once('\n').unwrap();
            assert!(title.contains(wrong), "{position}: {wrong}:\n{text}");
            assert!(rest.contains(right), "{position}: {right}:\n{text}");
            assert!(rest.contains('^'), "{position}: no caret:\n{text}");
            let line = position
                .split(':')
                .next()
                .unwrap()
                .parse::<usize>()
                .unwrap();
            let source = EVERYTHING_WRONG.lines().nth(line - 1).unwrap();
            assert!(
                rest.contains(source) || rest.contains("..."),
                "{position}: no source:\n{text}"
            );
        }
        assert_eq!(told.len(), EVERYTHING_TOLD.len(), "{err}");
        assert!(
            err.ends_with(&format!("proxy.toml: {} errors\n", told.len())),
            "{err}"
        );
    }

    #[test]
    fn colours_are_for_terminals() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proxy.toml");
        let mut err = Vec::new();
        check(&path, &|_| None, true, &mut Vec::new(), &mut err).unwrap();
        assert!(err.contains(&0x1b));
        let (_, _, plain) = run("x = 1");
        assert!(!plain.contains('\x1b'));
    }
}
