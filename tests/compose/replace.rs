//! One edge after the other, as the documentation says, while it is asked without a pause: nobody is refused, reset or
//! left without an answer.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use crate::{docs, eventually, stack::Stack, watch::Watch};

const ROUNDS: usize = 3;
const WAIT: Duration = Duration::from_secs(10);
/// An old edge has no more to do than answer what was asked.
const DRAIN: Duration = Duration::from_secs(30);

/// Follows the documentation's "A new version of the edge, without a gap" to the letter.
pub(crate) fn the_edge_is_replaced_without_a_gap(stack: &Stack) {
    stack.edit("docker-compose.yaml", |file| {
        let (before, rest) = file
            .split_once("  # Waits for no tenant")
            .expect("the edge");
        let (_, after) = rest.split_once("  thor_db:\n").expect("what follows it");
        let services = docs::block_with("  edge_net:\n");
        format!("{before}{services}\n  thor_db:\n{after}")
    });
    stack.compose_line(&docs::line_with("rm -fs edge"));
    stack.compose(&["up", "-d"]);
    crate::serves(stack, "thor");

    let load = load(stack);
    for _ in 0..ROUNDS {
        let old = stack.container("edge");
        stack.compose_line(&docs::line_with("--scale edge=2"));
        eventually("the old edge has ended", DRAIN, || {
            (stack.inspect(&old, "{{.State.Status}}") == "exited").then_some(())
        });
        assert_eq!(stack.inspect(&old, "{{.State.ExitCode}}"), "0");
        load.iter().for_each(Watch::goes_on);
        stack.compose_line(&docs::line_with("rm -f edge"));
        assert_ne!(stack.container("edge"), old);
    }
    let edge = stack.container("edge");
    stack.compose(&["up", "-d"]);
    assert_eq!(stack.container("edge"), edge, "nothing was to be done");
    load.into_iter().for_each(Watch::finish);
}

/// Clients at the published port, and at the edge's own address, which no engine stands before.
fn load(stack: &Stack) -> Vec<Watch> {
    let network = format!(
        "{{{{(index .NetworkSettings.Networks \"{}_edge\").IPAddress}}}}",
        stack.name()
    );
    let own = stack.inspect(&stack.container("edge_net"), &network);
    let own: Ipv4Addr = own.parse().expect("edge_net has an address");
    let addresses = [stack.published(), (own, 8080).into()];
    let clients = addresses.into_iter().flat_map(|address| {
        let host = stack.host("thor");
        let mut fresh = Client::new(address, &host);
        let mut kept = Client::new(address, &host);
        [
            Watch::start("new connections", move || {
                fresh.connection = None;
                fresh.ask()
            }),
            Watch::start("a connection that is kept", move || kept.ask()),
        ]
    });
    clients.collect()
}

/// One that repairs nothing: it connects anew only where it was told that the connection ends.
struct Client {
    address: SocketAddr,
    request: String,
    connection: Option<TcpStream>,
}

impl Client {
    fn new(address: SocketAddr, host: &str) -> Self {
        Self {
            address,
            request: format!("GET /whoami/ HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            connection: None,
        }
    }

    fn ask(&mut self) -> Result<(), String> {
        self.try_ask()
            .map_err(|error| format!("{}: {error}", self.address))
    }

    fn try_ask(&mut self) -> std::io::Result<()> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => TcpStream::connect_timeout(&self.address, WAIT)?,
        };
        connection.set_read_timeout(Some(WAIT))?;
        connection.write_all(self.request.as_bytes())?;
        let mut answer = Vec::new();
        let head = loop {
            let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
            more(&mut connection, &mut answer)?;
        };
        let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
        let length = text.split_once("content-length: ");
        let length = length.and_then(|(_, rest)| rest.lines().next()?.parse::<usize>().ok());
        let Some(length) = length.filter(|_| text.starts_with("http/1.1 200 ")) else {
            return Err(std::io::Error::other(text));
        };
        while answer.len() < head + length {
            more(&mut connection, &mut answer)?;
        }
        if !text.contains("\r\nconnection: close\r\n") {
            self.connection = Some(connection);
        }
        Ok(())
    }
}

fn more(connection: &mut TcpStream, answer: &mut Vec<u8>) -> std::io::Result<()> {
    let mut bytes = [0; 4096];
    match connection.read(&mut bytes)? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        read => {
            answer.extend_from_slice(&bytes[..read]);
            Ok(())
        }
    }
}
