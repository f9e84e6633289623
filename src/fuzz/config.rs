//! A proxy.toml of any text: everything that is wrong with it is told, or it runs.

use std::path::Path;

use crate::{
    config::{Config, Source},
    snapshot::{Changes, Snapshot},
};

/// Loads the file at `path`.
pub fn run(path: &Path) {
    let mut source = Source::new(path);
    match source.load(&environment) {
        Ok(config) => {
            assert!(!source.changed(), "nobody has written");
            let again = source.load(&environment);
            assert!(
                again.is_ok_and(|again| again == config),
                "one text, one meaning"
            );
            runs(&config);
        }
        Err(errors) => {
            assert!(errors.count() > 0);
            let (plain, coloured) = (errors.render(false), errors.render(true));
            assert!(plain.contains("error"), "{plain}");
            assert!(coloured.len() > plain.len());
        }
    }
}

/// Whether the files that `text` includes are below its own directory. Others would make it a matter of this machine
/// what the text means. Too careful rather than not enough: in a relative path or a URL, a slash follows such bytes.
pub fn stays_inside(text: &[u8]) -> bool {
    let word = b"include";
    if !text.windows(word.len()).any(|window| window == word) {
        return true;
    }
    let inside =
        |before: u8| before.is_ascii_alphanumeric() || matches!(before, b':' | b'*' | b'/');
    let slashes = text
        .windows(2)
        .all(|pair| pair[1] != b'/' || inside(pair[0]));
    slashes && !text.windows(2).any(|pair| pair == b"..") && text.first() != Some(&b'/')
}

fn environment(name: &str) -> Option<String> {
    match name {
        "PORT" => Some("8000".to_owned()),
        "EMPTY" => Some(String::new()),
        "ODD" => Some("a\"]\n[b${PORT}\u{fc}".to_owned()),
        _ => None,
    }
}

/// Every host leads to the tenant that has it, and the same once more changes nothing.
fn runs(config: &Config) {
    let snapshot = Snapshot::first(config);
    assert_eq!(snapshot.routes(), config.routes.len());
    for route in config.routes.iter() {
        for host in route
            .hosts
            .iter()
            .filter(|host| host.wildcard_suffix().is_none())
        {
            let found = snapshot
                .route(host.as_str())
                .expect("a host leads somewhere");
            assert_eq!(*found.tenant(), route.tenant, "{host}");
        }
        for host in route.hosts.iter().filter_map(|host| host.wildcard_suffix()) {
            let below = format!("a.{host}");
            let mut matches = snapshot.matches(&below);
            assert!(
                matches.any(|(_, found)| *found.tenant() == route.tenant),
                "*.{host}"
            );
        }
    }
    let (next, changes, _) = snapshot.next(config);
    assert_eq!(changes, Changes::default());
    for route in next.all_routes() {
        let before = snapshot.tenant(route.tenant()).expect("it was there");
        assert!(
            std::ptr::eq(&raw const **before, &raw const **route),
            "taken over as it is"
        );
    }
}
