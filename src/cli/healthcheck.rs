//! `hostler healthcheck`: asks the edge on this machine whether it lives, for Docker's HEALTHCHECK.
//!
//! It needs no runtime, no shell and no curl. A configuration that has been spoiled meanwhile does
//! not make a living edge ill.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::Path,
};

use http::StatusCode;

use super::ask::ask;
use crate::config::{Address, Source};

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
    match ask(&address, "/healthz") {
        Ok((StatusCode::OK, _)) => Ok(true),
        Ok((status, _)) => {
            let status = status.as_u16();
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

#[cfg(test)]
mod tests {
    use std::{io::Read as _, net::TcpListener, os::unix::net::UnixListener, thread};

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
        let (status, _) = ask(&Address::Unix(path), "/healthz").unwrap();
        assert_eq!(status, StatusCode::OK);
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
}
