//! `hostler healthcheck`: asks the edge on this machine whether it lives, for Docker's HEALTHCHECK.
//!
//! It needs no runtime, no shell and no curl. A configuration that has been spoiled meanwhile does
//! not make a living edge ill.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use crate::config::{Address, Source};

/// For each step of the conversation.
const WAIT: Duration = Duration::from_secs(2);
/// The status line is in the first read, unless the answer comes a byte at a time.
const READS_MAX: usize = 16;

/// True if `/healthz` answers 200; if not, `err` says what happened instead.
pub(super) fn healthcheck(
    given: Option<SocketAddr>,
    config: &Path,
    err: &mut dyn Write,
) -> io::Result<bool> {
    let address = match given {
        Some(address) => Address::Tcp(address),
        None => configured(config, err)?,
    };
    match ask(&address) {
        Ok(status) if status == b"200" => Ok(true),
        Ok(status) => {
            let status = status.escape_ascii();
            writeln!(err, "hostler: {address}/healthz answers {status}")?;
            Ok(false)
        }
        Err(error) => {
            writeln!(err, "hostler: no answer from {address}: {error}")?;
            Ok(false)
        }
    }
}

/// The admin address of the configuration; the default one while that can't be read.
fn configured(path: &Path, err: &mut dyn Write) -> io::Result<Address> {
    if let Ok(config) = Source::new(path).load(&super::env) {
        return Ok(config.admin);
    }
    let default = Source::embedded("", "").load(&|_| None);
    let default = default
        .expect("an empty configuration is a right one")
        .admin;
    let path = path.display();
    writeln!(err, "hostler: {path} has errors, asking {default}")?;
    Ok(default)
}

/// The status of the answer, as three digits if it is one.
fn ask(address: &Address) -> io::Result<Vec<u8>> {
    match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect_timeout(&reachable(*address), WAIT)?;
            stream.set_read_timeout(Some(WAIT))?;
            stream.set_write_timeout(Some(WAIT))?;
            converse(stream)
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(WAIT))?;
            stream.set_write_timeout(Some(WAIT))?;
            converse(stream)
        }
    }
}

/// Where a listener on all addresses can be asked.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn converse(mut stream: impl Read + Write) -> io::Result<Vec<u8>> {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = [0; 512];
    let mut read = 0;
    for _ in 0..READS_MAX {
        if read >= STATUS.end {
            return Ok(answer[STATUS].to_vec());
        }
        let more = stream.read(&mut answer[read..])?;
        if more == 0 {
            break;
        }
        read += more;
    }
    Err(io::Error::other("the answer ends early"))
}

/// Of an answer that begins with `HTTP/1.1 200`.
const STATUS: std::ops::Range<usize> = 9..12;

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::unix::net::UnixListener, thread};

    use super::*;

    #[test]
    fn the_answer_decides() {
        for (answer, healthy, said) in [
            ("HTTP/1.1 200 OK\r\n\r\nok\n", true, ""),
            (
                "HTTP/1.1 503 Service Unavailable\r\n\r\n",
                false,
                "/healthz answers 503\n",
            ),
            ("HTTP/1.1 20", false, "the answer ends early\n"),
            ("", false, "the answer ends early\n"),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server = thread::spawn(move || {
                let (mut client, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                let read = client.read(&mut request).unwrap();
                client.write_all(answer.as_bytes()).unwrap();
                request[..read].starts_with(b"GET /healthz HTTP/1.1\r\nhost: ")
            });
            let mut err = Vec::new();
            let found = healthcheck(Some(address), Path::new("none"), &mut err).unwrap();
            let err = String::from_utf8(err).unwrap();
            assert_eq!(found, healthy, "{err}");
            assert!(err.ends_with(said), "{err}");
            assert!(server.join().unwrap());
        }
    }

    #[test]
    fn no_one_there_is_said() {
        let free = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let mut err = Vec::new();
        assert!(!healthcheck(Some(free), Path::new("none"), &mut err).unwrap());
        let err = String::from_utf8(err).unwrap();
        assert!(
            err.starts_with("hostler: no answer from 127.0.0.1:"),
            "{err}"
        );
    }

    #[test]
    fn a_unix_socket_is_asked_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            // Read first: a socket that is closed with something unread resets what it sent.
            let _ = client.read(&mut [0; 1024]).unwrap();
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        });
        assert_eq!(ask(&Address::Unix(path)).unwrap(), b"200");
        server.join().unwrap();
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "no worker waits for a test")]
    fn a_spoiled_configuration_leads_to_the_default() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proxy.toml");
        std::fs::write(&path, "[admin]\nlisten = \"127.0.0.1:1234\"\n").unwrap();
        let mut err = Vec::new();
        let address = configured(&path, &mut err).unwrap();
        assert_eq!(address.to_string(), "127.0.0.1:1234");
        assert!(err.is_empty());
        std::fs::write(&path, "[admin]\nlisten = 1\n").unwrap();
        let address = configured(&path, &mut err).unwrap();
        assert_eq!(address.to_string(), "127.0.0.1:9180");
        assert!(
            String::from_utf8(err)
                .unwrap()
                .ends_with("asking 127.0.0.1:9180\n")
        );
    }

    #[test]
    fn a_listener_on_all_addresses_is_asked_on_loopback() {
        for (listen, ask) in [
            ("0.0.0.0:9180", "127.0.0.1:9180"),
            ("[::]:9180", "[::1]:9180"),
            ("10.0.0.1:9180", "10.0.0.1:9180"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), ask);
        }
    }
}
