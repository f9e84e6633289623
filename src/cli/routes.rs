//! `hostler routes`: which host and path leads where.
//!
//! The order is that of the route table: exact hosts before wildcards, longer wildcards and longer
//! paths first. So the first row that fits a request is the one that gets it.

use std::{
    cmp::Reverse,
    io::{self, Write},
};

use serde::Serialize;

use super::table::{self, Side};
use crate::{
    config::{Config, Route, Upstream},
    route::HostPattern,
};

/// Writes the table, or with `json` an array of its rows.
pub(super) fn routes(config: &Config, json: bool, out: &mut dyn Write) -> io::Result<()> {
    let rows = rows(config);
    if json {
        serde_json::to_writer_pretty(&mut *out, &rows)?;
        return writeln!(out);
    }
    let columns = ["HOST", "PATH", "TENANT", "UPSTREAM"].map(|head| (head, Side::Left));
    let rows: Vec<_> = rows.iter().map(Row::cells).collect();
    table::write(columns, &rows, out)
}

#[derive(Serialize)]
struct Row<'a> {
    host: &'a str,
    /// `/` for what no prefix takes.
    path: &'a str,
    tenant: &'a str,
    upstream: Vec<String>,
    /// Whether the path's prefix is taken off.
    strip: bool,
}

impl Row<'_> {
    fn cells(&self) -> [String; 4] {
        let strip = if self.strip { " (strip)" } else { "" };
        [
            self.host.to_owned(),
            format!("{}{strip}", self.path),
            self.tenant.to_owned(),
            self.upstream.join(", "),
        ]
    }
}

fn rows(config: &Config) -> Vec<Row<'_>> {
    let mut hosts: Vec<(&HostPattern, &Route)> = config
        .routes
        .iter()
        .flat_map(|route| route.hosts.iter().map(move |host| (host, &**route)))
        .collect();
    hosts.sort_by_key(|(host, _)| rank(host));
    let rows_of = |(host, route)| rows_of(host, route);
    hosts.into_iter().flat_map(rows_of).collect()
}

/// Exact hosts, then wildcards by how much of a host they name.
fn rank(host: &HostPattern) -> (Reverse<usize>, &str) {
    let labels = host
        .wildcard_suffix()
        .map_or(usize::MAX, |suffix| suffix.split('.').count());
    (Reverse(labels), host.as_str())
}

fn rows_of<'a>(host: &'a HostPattern, route: &'a Route) -> Vec<Row<'a>> {
    let row = |path, upstream: &Upstream, strip| Row {
        host: host.as_str(),
        path,
        tenant: &route.tenant,
        upstream: upstream.origins.iter().map(ToString::to_string).collect(),
        strip,
    };
    let mut rows: Vec<Row<'_>> = route
        .paths
        .iter()
        .map(|path| row(path.prefix.as_str(), &path.upstream, path.strip))
        .collect();
    rows.sort_by_key(|row| (Reverse(row.path.len()), row.path));
    // A prefix of `/` leaves nothing over.
    if rows.last().is_none_or(|row| row.path != "/") {
        rows.push(row("/", &route.upstream, false));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::config;

    const CONFIG: &str = r#"
        [routes.wide]
        hosts = ["*.local", "*.polls.local"]
        upstream = "http://wide:80"

        [routes.thor]
        hosts = ["thor.polls.local", "a.local"]
        upstream = ["http://thor_web:8000", "unix:/run/thor.sock"]
        paths = [
            { prefix = "/a/", upstream = "http://a:80" },
            { prefix = "/static/", upstream = "http://files:80", strip = true },
        ]
    "#;

    #[test]
    fn rows_stand_in_the_order_in_which_they_match() {
        let mut out = Vec::new();
        routes(&config(CONFIG), false, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\
HOST              PATH              TENANT  UPSTREAM
a.local           /static/ (strip)  thor    http://files:80
a.local           /a/               thor    http://a:80
a.local           /                 thor    http://thor_web:8000, unix:/run/thor.sock
thor.polls.local  /static/ (strip)  thor    http://files:80
thor.polls.local  /a/               thor    http://a:80
thor.polls.local  /                 thor    http://thor_web:8000, unix:/run/thor.sock
*.polls.local     /                 wide    http://wide:80
*.local           /                 wide    http://wide:80
"
        );
    }

    #[test]
    fn json_has_the_same_rows() {
        let mut out = Vec::new();
        routes(&config(CONFIG), true, &mut out).unwrap();
        let rows: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(rows.as_array().unwrap().len(), 8);
        assert_eq!(
            rows[0],
            serde_json::json!({
                "host": "a.local",
                "path": "/static/",
                "tenant": "thor",
                "upstream": ["http://files:80"],
                "strip": true,
            })
        );
    }
}
