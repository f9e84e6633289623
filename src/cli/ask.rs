//! Asking a running edge on its admin listener, for the commands that do. It needs no runtime, and believes nothing of
//! what comes back before it has been read to its end.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    time::Duration,
};

use http::{Method, StatusCode};

use crate::{
    config::Address,
    http1::{Buffer, Decoded, ResponseHead, buffer::SMALL_BYTES},
};

/// For each step of the conversation.
const WAIT: Duration = Duration::from_secs(2);
/// Of one tenant there is far less to tell.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The answer to a GET, with its status.
///
/// # Errors
/// Where nobody is there, or what answers doesn't speak HTTP.
pub(super) fn ask(address: &Address, target: &str) -> io::Result<(StatusCode, Vec<u8>)> {
    match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect_timeout(&reachable(*address), WAIT)?;
            stream.set_read_timeout(Some(WAIT))?;
            stream.set_write_timeout(Some(WAIT))?;
            converse(stream, target)
        }
        Address::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(WAIT))?;
            stream.set_write_timeout(Some(WAIT))?;
            converse(stream, target)
        }
    }
}

/// Where a listener on all addresses can be asked.
pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn converse(mut stream: impl Read + Write, target: &str) -> io::Result<(StatusCode, Vec<u8>)> {
    let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut input = Buffer::default();
    let mut head = ResponseHead::default();
    loop {
        let parsed = head.parse(input.bytes(), &Method::GET);
        match parsed.map_err(|error| io::Error::other(error.to_string()))? {
            Some(length) => {
                input.consume(length);
                break;
            }
            None if more(&mut stream, &mut input)? == 0 => return Err(early()),
            None => {}
        }
    }
    let mut body = head.body;
    let mut whole = Vec::new();
    while whole.len() < ANSWER_BYTES_MAX {
        match body.decode(&mut input) {
            Ok(Decoded::Data(data)) => {
                whole.extend_from_slice(&input.bytes()[..data]);
                input.consume(data);
            }
            Ok(Decoded::Trailers(_)) => {}
            Ok(Decoded::End) => return Ok((head.status, whole)),
            Ok(Decoded::More) if more(&mut stream, &mut input)? == 0 => {
                body.closed().map_err(|_| early())?;
            }
            Ok(Decoded::More) => {}
            Err(_) => return Err(io::Error::other("the answer is not HTTP")),
        }
    }
    Err(io::Error::other("the answer has no end"))
}

fn more(stream: &mut impl Read, input: &mut Buffer) -> io::Result<usize> {
    let read = stream.read(input.space(SMALL_BYTES))?;
    input.filled(read);
    Ok(read)
}

fn early() -> io::Error {
    io::Error::other("the answer ends early")
}

#[cfg(test)]
mod tests {
    use super::*;

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
