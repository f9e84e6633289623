//! /etc/hosts: what the machine's owner has written down about names, which comes before what name servers say.
//!
//! It is read once, at the start. The resolver's library reads it too, but passes over names with underscores, which are
//! what names of containers look like, and asks name servers for the family that a name hasn't got there.

use std::{collections::HashMap, net::IpAddr};

const PATH: &str = "/etc/hosts";

#[derive(Debug, Default)]
pub(super) struct Hosts(HashMap<Box<str>, Vec<IpAddr>>);

impl Hosts {
    /// Where there is none to be read, no name is in it.
    #[expect(
        clippy::disallowed_methods,
        reason = "at the start, when no request is there yet"
    )]
    pub(super) fn read() -> Self {
        std::fs::read_to_string(PATH).map_or_else(|_| Self::default(), |text| Self::parse(&text))
    }

    /// Lines of an address and its names (hosts(5)). What isn't one is passed over, as everybody does.
    fn parse(text: &str) -> Self {
        let mut hosts = Self::default();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
                continue;
            };
            for name in words {
                let addresses = hosts.0.entry(spelled(name)).or_default();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        hosts
    }

    /// All that the name has, if it is there.
    pub(super) fn addresses(&self, name: &str) -> Option<&[IpAddr]> {
        let found = match self.0.get(name) {
            None if name.ends_with('.') => self.0.get(&*spelled(name)),
            found => found,
        };
        found.map(Vec::as_slice)
    }
}

/// Without what makes no difference; names of upstreams are in lower case already.
fn spelled(name: &str) -> Box<str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.to_ascii_lowercase().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_the_addresses_of_its_lines() {
        let hosts = Hosts::parse(
            "\
127.0.0.1\tlocalhost
::1     localhost ip6-localhost # the same machine
10.0.0.7 Thor_Web thor.internal.
10.0.0.8 thor_web
10.0.0.8 thor_web
# 10.0.0.9 commented
nonsense potter_web
10.0.0.10
",
        );
        for (name, addresses) in [
            ("localhost", Some(vec!["127.0.0.1", "::1"])),
            ("ip6-localhost", Some(vec!["::1"])),
            ("thor_web", Some(vec!["10.0.0.7", "10.0.0.8"])),
            ("thor_web.", Some(vec!["10.0.0.7", "10.0.0.8"])),
            ("thor.internal", Some(vec!["10.0.0.7"])),
            ("commented", None),
            ("potter_web", None),
            ("web", None),
        ] {
            let seen = hosts.addresses(name);
            let seen = seen.map(|seen| seen.iter().map(ToString::to_string).collect::<Vec<_>>());
            let addresses = addresses.map(|all| all.into_iter().map(str::to_owned).collect());
            assert_eq!(seen, addresses, "{name}");
        }
    }
}
