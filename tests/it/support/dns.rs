//! A name server that answers as it is told. It speaks as much DNS as a resolver asks of it: one question, UDP.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    thread,
};

use super::Watched;

/// What is said to one question.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Addresses(Vec<Ipv4Addr>),
    /// Of whichever family was asked for; those of the other are left out.
    Any(Vec<IpAddr>),
    NoSuchName,
    Failure,
    Silence,
}

/// Ends with the test's process.
pub(crate) struct NameServer {
    address: SocketAddr,
    asked: Watched<Vec<String>>,
}

impl NameServer {
    /// `script` is given the name and how often it was asked for before. Questions for IPv6 are answered with none, as
    /// Docker's server does.
    pub(crate) fn script(script: impl Fn(&str, usize) -> Reply + Send + 'static) -> Self {
        Self::of_both_families(script, |_| Reply::Addresses(Vec::new()))
    }

    /// The same, with another script for IPv6.
    pub(crate) fn of_both_families(
        script: impl Fn(&str, usize) -> Reply + Send + 'static,
        script_of_six: impl Fn(&str) -> Reply + Send + 'static,
    ) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: socket.local_addr().unwrap(),
            asked: Watched::default(),
        };
        let asked = server.asked.clone();
        thread::spawn(move || {
            let mut packet = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut packet) {
                let question = Question::read(&packet[..length]);
                let reply = if question.is_for_ipv4 {
                    let before = asked.change(|asked| {
                        let before = asked.iter().filter(|name| **name == question.name).count();
                        asked.push(question.name.clone());
                        before
                    });
                    script(&question.name, before)
                } else {
                    script_of_six(&question.name)
                };
                if let Some(answer) = question.answer(&reply) {
                    socket.send_to(&answer, from).unwrap();
                }
            }
        });
        server
    }

    /// The line of proxy.toml that has the edge ask here.
    pub(crate) fn config(&self) -> String {
        format!("nameservers = \"{}\"\n", self.address)
    }

    /// The names that were asked for, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.get()
    }
}

/// RFC 1035 §4.1
struct Question {
    id: [u8; 2],
    /// As it came, to be repeated in the answer.
    section: Vec<u8>,
    name: String,
    is_for_ipv4: bool,
}

impl Question {
    fn read(packet: &[u8]) -> Self {
        let mut labels = Vec::new();
        let mut at = 12;
        while packet[at] != 0 {
            let end = at + 1 + usize::from(packet[at]);
            labels.push(String::from_utf8_lossy(&packet[at + 1..end]).into_owned());
            at = end;
        }
        Self {
            id: [packet[0], packet[1]],
            section: packet[12..at + 5].to_vec(),
            name: labels.join("."),
            is_for_ipv4: packet[at + 1..at + 3] == [0, 1],
        }
    }

    fn answer(&self, reply: &Reply) -> Option<Vec<u8>> {
        let (code, addresses) = match reply {
            Reply::Addresses(addresses) => (0, addresses.iter().map(|&ip| ip.into()).collect()),
            Reply::Any(addresses) => (0, addresses.clone()),
            Reply::NoSuchName => (3, Vec::new()),
            Reply::Failure => (2, Vec::new()),
            Reply::Silence => return None,
        };
        let is_asked_for = |ip: &IpAddr| ip.is_ipv4() == self.is_for_ipv4;
        let addresses: Vec<IpAddr> = addresses.into_iter().filter(is_asked_for).collect();
        let count = u8::try_from(addresses.len()).unwrap();
        let mut packet = self.id.to_vec();
        // A response, recursion asked for and had; one question, so many answers.
        packet.extend([0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0]);
        packet.extend(&self.section);
        for address in addresses {
            // The name of the question, its type, an address, and the 600 s that Docker says.
            let (kind, bytes) = match address {
                IpAddr::V4(address) => (1, address.octets().to_vec()),
                IpAddr::V6(address) => (28, address.octets().to_vec()),
            };
            let length = u8::try_from(bytes.len()).unwrap();
            packet.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0x02, 0x58, 0, length]);
            packet.extend(bytes);
        }
        Some(packet)
    }
}
