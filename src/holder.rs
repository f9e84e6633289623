//! Who has an address that can't be bound, so that the operator is told and needn't search. It reads what the system
//! shows of other processes, touches none of them, and knows nothing where that can't be read.

use std::{
    collections::HashSet,
    fmt, fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, absolute},
};

use crate::{
    config::Address,
    handover::{self, Peer},
};

/// Processes that are looked through.
const PROCESSES_MAX: usize = 100_000;

/// Whoever keeps us from an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    /// One that hands over when asked to.
    Edge {
        peer: Peer,
        name: Option<String>,
        same_user: bool,
    },
    Process {
        pid: u32,
        name: String,
    },
    /// Its descriptors aren't shown to us.
    OutOfSight {
        uid: u32,
        same_user: bool,
    },
    /// A file that is no socket.
    File,
    Unknown,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ELSE: &str = "stop that one, or set another address";
        match self {
            Self::Edge {
                peer,
                name,
                same_user,
            } => {
                let name = name.as_deref().unwrap_or("hostler");
                write!(f, "process {peer} ({name}) has it; ")?;
                if *same_user {
                    write!(
                        f,
                        "`hostler run --replace` takes its place without losing a request; else {ELSE}"
                    )
                } else {
                    let uid = peer.uid();
                    write!(
                        f,
                        "`hostler run --replace` takes its place, if started as user {uid}; else {ELSE}"
                    )
                }
            }
            Self::Process { pid, name } => write!(f, "process {pid} ({name}) has it; {ELSE}"),
            Self::OutOfSight { uid, same_user } => {
                let place = if *same_user {
                    "in another container"
                } else {
                    "out of sight"
                };
                write!(f, "a process of user {uid}, {place}, has it; {ELSE}")
            }
            Self::File => write!(f, "there is a file that isn't a socket; set another path"),
            Self::Unknown => write!(f, "another process has it; {ELSE}"),
        }
    }
}

impl Holder {
    /// Whoever has `address` now, which was in use a moment ago.
    pub(crate) fn of(address: &Address) -> Self {
        let own = rustix::process::geteuid().as_raw();
        if let Some(peer) = handover::holder(address) {
            return Self::Edge {
                peer,
                name: peer.pid().and_then(|pid| name(&pid.to_string())),
                same_user: peer.uid() == own,
            };
        }
        let (inodes, uid) = match address {
            Address::Tcp(address) => {
                let listeners = tcp_listeners(*address);
                let uid = listeners.first().map(|(_, uid)| *uid);
                (listeners.into_iter().map(|(inode, _)| inode).collect(), uid)
            }
            Address::Unix(path) => {
                let metadata = fs::symlink_metadata(path);
                if metadata.is_ok_and(|metadata| !is_socket(&metadata)) {
                    return Self::File;
                }
                (unix_listeners(path), None)
            }
        };
        if let Some((pid, name)) = process_with(&inodes) {
            return Self::Process { pid, name };
        }
        match uid {
            Some(uid) => Self::OutOfSight {
                uid,
                same_user: uid == own,
            },
            None => Self::Unknown,
        }
    }
}

fn is_socket(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_socket(&metadata.file_type())
}

/// Inode and user of each socket that listens where `address` would have to.
fn tcp_listeners(address: SocketAddr) -> Vec<(u64, u32)> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(table);
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    lines
        .filter_map(TcpLine::parse)
        .filter(|line| line.listens && collide(line.local, address))
        .map(|line| (line.inode, line.uid))
        .collect()
}

/// Whether the kernel lets only one of them listen, as long as neither shares.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let [a, b] = [one.ip().to_canonical(), other.ip().to_canonical()];
    // IPv6's "all" has all of IPv4 as well; IPv4's has none of IPv6.
    let all_has = |all: IpAddr, ip: IpAddr| all.is_unspecified() && (all.is_ipv6() || ip.is_ipv4());
    one.port() == other.port() && (a == b || all_has(a, b) || all_has(b, a))
}

/// A line of /proc/net/tcp: `0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 1000 0 51234 …`
struct TcpLine {
    local: SocketAddr,
    listens: bool,
    uid: u32,
    inode: u64,
}

impl TcpLine {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_whitespace();
        let local = socket_address(fields.nth(1)?)?;
        let state = fields.nth(1)?;
        let uid = fields.nth(3)?.parse().ok()?;
        let inode = fields.nth(1)?.parse().ok()?;
        Some(Self {
            local,
            listens: state == "0A",
            uid,
            inode,
        })
    }
}

/// The address in hexadecimal words of 32 bits, each in the machine's own order; the port as people write it.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words = (0..ip.len()).step_by(8);
    let words = words.map(|at| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok());
    let words: Vec<[u8; 4]> = words
        .map(|word| word.map(u32::to_ne_bytes))
        .collect::<Option<_>>()?;
    let ip: IpAddr = match words.as_slice() {
        [word] => Ipv4Addr::from(*word).into(),
        [_, _, _, _] => {
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// `0000000000000000: 00000002 00000000 00010000 0001 01 22136 /run/edge.sock`; the flag says that it listens.
fn unix_listeners(path: &Path) -> HashSet<u64> {
    let wanted = absolute(path).ok();
    let listener = |line: &str| {
        let mut fields = line.split_whitespace();
        let listens = fields.nth(3)? == "00010000";
        let inode = fields.nth(2)?.parse().ok()?;
        // As it was bound; a path may have spaces.
        let bound = line.get(line.find('/')?..)?;
        (listens && wanted.as_deref() == Some(Path::new(bound))).then_some(inode)
    };
    table("/proc/net/unix")
        .lines()
        .skip(1)
        .filter_map(listener)
        .collect()
}

fn process_with(inodes: &HashSet<u64>) -> Option<(u32, String)> {
    if inodes.is_empty() {
        return None;
    }
    let links: HashSet<String> = inodes
        .iter()
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let has_it = |pid: &u32| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
        let mut descriptors = descriptors.into_iter().flatten().flatten();
        descriptors.any(|descriptor| {
            let link = fs::read_link(descriptor.path());
            link.is_ok_and(|link| link.to_str().is_some_and(|link| links.contains(link)))
        })
    };
    let processes = fs::read_dir("/proc").ok()?.flatten().take(PROCESSES_MAX);
    let pid = processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(has_it)?;
    Some((pid, name(&pid.to_string()).unwrap_or_default()))
}

/// What the process is called, cleaned of what could confuse a terminal: a process chooses its own name.
fn name(pid: &str) -> Option<String> {
    let name = table(&format!("/proc/{pid}/comm"));
    let name: String = name.chars().filter(|char| !char.is_control()).collect();
    (!name.is_empty()).then_some(name)
}

/// A table of the system's; an empty one where it isn't shown.
#[expect(
    clippy::disallowed_methods,
    reason = "read by the control thread, and only when an address can't be had"
)]
fn table(path: &str) -> String {
    fs::read(path).map_or_else(
        |_| String::new(),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::unix::net::UnixListener};

    use super::*;

    #[test]
    fn lines_of_the_tables_are_read() {
        let line = "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 51234 1 0 100 0 0 10 0";
        let line = TcpLine::parse(line).unwrap();
        assert_eq!(line.local, "127.0.0.1:8080".parse().unwrap());
        assert_eq!((line.listens, line.uid, line.inode), (true, 1000, 51234));
        for (text, address) in [
            ("00000000:0050", Some("0.0.0.0:80")),
            ("00000000000000000000000001000000:1F90", Some("[::1]:8080")),
            ("0000:1F90", None),
            ("0100007F", None),
            ("0100007F:FFFFF", None),
            ("0100007F0100007F:1F90", None),
            ("", None),
        ] {
            let address = address.map(|address| address.parse().unwrap());
            assert_eq!(socket_address(text), address, "{text}");
        }
        assert!(TcpLine::parse("  sl  local_address rem_address   st").is_none());
    }

    #[test]
    fn addresses_collide_if_one_has_the_other() {
        for (one, other, collides) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "127.0.0.2:80", true),
            ("[::]:80", "127.0.0.2:80", true),
            ("[::1]:80", "0.0.0.0:80", false),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", true),
            ("[::]:80", "[::1]:80", true),
        ] {
            let [one, other] = [one, other].map(|address| address.parse().unwrap());
            assert_eq!(collide(one, other), collides, "{one} {other}");
            assert_eq!(collide(other, one), collides, "{other} {one}");
        }
    }

    #[tokio::test]
    async fn this_process_is_found_by_its_sockets() {
        let us = |holder: &Holder| matches!(holder, Holder::Process { pid, name } if *pid == std::process::id() && !name.is_empty());
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let address = Address::Tcp(listener.local_addr().unwrap());
            let holder = Holder::of(&address);
            assert!(us(&holder), "{address}: {holder:?}");
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("an edge.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        let holder = Holder::of(&Address::Unix(path));
        assert!(us(&holder), "{holder:?}");
    }

    #[tokio::test]
    async fn what_nobody_has_is_nobodys() {
        let directory = tempfile::tempdir().unwrap();
        let address = Address::Unix(directory.path().join("none.sock"));
        assert_eq!(Holder::of(&address), Holder::Unknown);
        let address = Address::Unix(directory.path().to_owned());
        assert_eq!(Holder::of(&address), Holder::File);
    }
}
