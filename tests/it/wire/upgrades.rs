//! Leaving HTTP: who may ask for it, what grants it, and what passes then.

use super::{
    Case,
    Step::{
        self, App, AppClosed, AppHalfCloses, AppLeaves, AppSees, Client, ClientHalfCloses,
        ClientLeaves, ClientSees, Closed, Error, Kept,
    },
    reaches, steps,
};

const ASKS: Step = Client("<get>Connection: Upgrade\r\nUpgrade: foo/1\r\n\r\n");
const ASKED: Step =
    AppSees("GET / HTTP/1.1\r\n<us>~connection: upgrade\r\n~upgrade: foo/1\r\n\r\n");
const GRANTS: Step =
    App("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo/1\r\n\r\n");
const GRANTED: Step = ClientSees(
    "HTTP/1.1 101 Switching Protocols\r\n~connection: upgrade\r\n~upgrade: foo/1\r\n?date: <date>\r\n\r\n",
);

/// The client asks for an upgrade, and the app's 101 isn't one.
macro_rules! ungranted {
    ($name:literal, $rfc:literal, $answer:literal) => {
        steps(
            $name,
            $rfc,
            &[ASKS, ASKED, App($answer), Error(502), AppClosed, Kept],
        )
    };
}

/// The client doesn't ask properly, and the app's 101 is answered with 502.
macro_rules! unasked {
    ($name:literal, $fields:literal) => {
        steps(
            $name,
            "9110 §7.8",
            &[
                Client(concat!("<get>", $fields, "\r\n")),
                AppSees("GET / HTTP/1.1\r\n<us>\r\n"),
                GRANTS,
                Error(502),
                AppClosed,
                Kept,
            ],
        )
    };
}

pub(super) const CASES: &[Case] = &[
    steps(
        "a tunnel",
        "9110 §7.8",
        &[
            ASKS,
            ASKED,
            GRANTS,
            GRANTED,
            Client("ping"),
            AppSees("ping"),
            App("pong"),
            ClientSees("pong"),
            Client("\0\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
            AppSees("\0\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
            ClientLeaves,
            AppClosed,
        ],
    ),
    steps(
        "a WebSocket",
        "6455 §4",
        &[
            Client(
                "GET /chat HTTP/1.1\r\nHost: <host>\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Version: 13\r\nOrigin: http://<host>\r\n\r\n",
            ),
            AppSees(
                "GET /chat HTTP/1.1\r\n<us>~upgrade: websocket\r\n~connection: upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Version: 13\r\nOrigin: http://<host>\r\n\r\n",
            ),
            App(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
            ),
            ClientSees(
                "HTTP/1.1 101 Switching Protocols\r\n~upgrade: WebSocket\r\n~connection: upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
                    Sec-WebSocket-Protocol: chat\r\n?date: <date>\r\n\r\n",
            ),
            Client("\u{81}\u{85}\u{1}\u{2}\u{3}\u{4}igoht"),
            AppSees("\u{81}\u{85}\u{1}\u{2}\u{3}\u{4}igoht"),
            App("\u{88}\0"),
            ClientSees("\u{88}\0"),
            AppLeaves,
            Closed,
        ],
    ),
    steps(
        "bytes that come with the heads",
        "9110 §7.8",
        &[
            Client("<get>Connection: Upgrade\r\nUpgrade: foo/1\r\n\r\nearly"),
            AppSees("GET / HTTP/1.1\r\n<us>~connection: upgrade\r\n~upgrade: foo/1\r\n\r\n"),
            App(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo/1\r\n\r\nwelcome",
            ),
            GRANTED,
            ClientSees("welcome"),
            AppSees("early"),
            ClientLeaves,
            AppClosed,
        ],
    ),
    steps(
        "101 in pieces",
        "9110 §7.8",
        &[
            ASKS,
            ASKED,
            App("HTTP/1.1 101 Switching Protocols\r\nConnection: Up"),
            App("grade\r\nUpgrade: foo/1\r\n\r"),
            App("\nwel"),
            App("come"),
            GRANTED,
            ClientSees("welcome"),
            ClientLeaves,
            AppClosed,
        ],
    ),
    steps(
        "102, then 101",
        "9110 §15.2",
        &[
            ASKS,
            ASKED,
            App("HTTP/1.1 102 Processing\r\n\r\n"),
            ClientSees("HTTP/1.1 102 Processing\r\n\r\n"),
            GRANTS,
            GRANTED,
            App("x"),
            ClientSees("x"),
            ClientLeaves,
            AppClosed,
        ],
    ),
    steps(
        "one direction that ends first: the client's",
        "9110 §7.8",
        &[
            ASKS,
            ASKED,
            GRANTS,
            GRANTED,
            Client("last"),
            ClientHalfCloses,
            AppSees("last"),
            AppClosed,
            App("bye"),
            ClientSees("bye"),
            AppLeaves,
            Closed,
        ],
    ),
    steps(
        "one direction that ends first: the app's",
        "9110 §7.8",
        &[
            ASKS,
            ASKED,
            GRANTS,
            GRANTED,
            App("last"),
            AppHalfCloses,
            ClientSees("last"),
            Closed,
            Client("bye"),
            AppSees("bye"),
            ClientLeaves,
            AppClosed,
        ],
    ),
    steps(
        "a protocol granted in another case",
        "9110 §7.8",
        &[
            ASKS,
            ASKED,
            App(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: FOO/1\r\n\r\n",
            ),
            ClientSees(
                "HTTP/1.1 101 Switching Protocols\r\n~connection: upgrade\r\n~upgrade: FOO/1\r\n?date: <date>\r\n\r\n",
            ),
            App("x"),
            ClientSees("x"),
            ClientLeaves,
            AppClosed,
        ],
    ),
    // RFC 9110 §7.8: what is no upgrade.
    ungranted!(
        "101 to another protocol",
        "9110 §7.8",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: bar/1\r\n\r\nplanted"
    ),
    ungranted!(
        "101 that names no protocol",
        "9110 §15.2.2",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\nplanted"
    ),
    ungranted!(
        "101 whose Connection doesn't say so",
        "9110 §7.8",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo/1\r\n\r\nplanted"
    ),
    unasked!("101 that nobody asked for", ""),
    unasked!(
        "101 after an Upgrade that Connection doesn't name",
        "Upgrade: foo/1\r\n"
    ),
    unasked!(
        "101 after a Connection without Upgrade",
        "Connection: Upgrade\r\n"
    ),
    unasked!(
        "101 after h2c",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    ),
    reaches(
        "h2c",
        "9113 §3.1",
        "<get>Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>\r\n",
    ),
    reaches(
        "H2C in capitals",
        "9113 §3.1",
        "<get>Connection: Upgrade\r\nUpgrade: H2C\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>\r\n",
    ),
    reaches(
        "h2c among others",
        "9113 §3.1",
        "<get>Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>\r\n",
    ),
    reaches(
        "h2c in a second field",
        "9113 §3.1",
        "<get>Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>\r\n",
    ),
    reaches(
        "HTTP/2.0",
        "9110 §7.8",
        "<get>Connection: Upgrade\r\nUpgrade: HTTP/2.0\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>\r\n",
    ),
    reaches(
        "TLS within HTTP, whose requests nobody would route",
        "2817 §3",
        "<get>Connection: Upgrade\r\nUpgrade: TLS/1.0, HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>\r\n",
    ),
    reaches(
        "an Upgrade that Connection doesn't name",
        "9110 §7.8",
        "<get>Upgrade: websocket\r\nConnection: keep-alive\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>\r\n",
    ),
    steps(
        "an Upgrade of HTTP/1.0",
        "9110 §7.8",
        &[
            Client(
                "GET / HTTP/1.0\r\nHost: <host>\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            ),
            AppSees("GET / HTTP/1.1\r\n<us>\r\n"),
            App("<ok>"),
            ClientSees(
                "HTTP/<v> 200 OK\r\nContent-Length: 2\r\n?connection: close\r\n~date: <date>\r\n\r\nok",
            ),
            Closed,
        ],
    ),
    reaches(
        "an Upgrade with a body",
        "9110 §7.8",
        "<post>Connection: Upgrade\r\nUpgrade: foo/1\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\n<us>~content-length: 5\r\n\r\nhello",
    ),
    reaches(
        "an Upgrade with chunks",
        "9110 §7.8",
        "<post>Connection: Upgrade\r\nUpgrade: foo/1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\n<us>~transfer-encoding: chunked\r\n\r\n<chunks:hello>0\r\n\r\n",
    ),
    // An app may go on in HTTP.
    steps(
        "an upgrade refused with 200",
        "9110 §7.8",
        &[ASKS, ASKED, App("<ok>"), ClientSees("<saw-ok>"), Kept],
    ),
    steps(
        "an upgrade refused with 302",
        "9110 §7.8",
        &[
            ASKS,
            ASKED,
            App("HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 5\r\n\r\nlogin"),
            ClientSees(
                "HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 5\r\n~date: <date>\r\n\r\nlogin",
            ),
            Kept,
        ],
    ),
    steps(
        "an upgrade refused in chunks",
        "9110 §7.8",
        &[
            ASKS,
            ASKED,
            App(
                "HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
            ),
            ClientSees(
                "HTTP/1.1 400 Bad Request\r\n~transfer-encoding: chunked\r\n~date: <date>\r\n\r\n<chunks:no>0\r\n\r\n",
            ),
            Kept,
        ],
    ),
    steps(
        "requests before and behind a refused upgrade",
        "9110 §7.8",
        &[
            Client("<get>\r\n<get>Connection: Upgrade\r\nUpgrade: foo/1\r\n\r\n<get>\r\n"),
            AppSees("GET / HTTP/1.1\r\n<us>\r\n"),
            App("<ok>"),
            ClientSees("<saw-ok>"),
            ASKED,
            App("<ok>"),
            ClientSees("<saw-ok>"),
            AppSees("GET / HTTP/1.1\r\n<us>\r\n"),
            App("<ok>"),
            ClientSees("<saw-ok>"),
            Kept,
        ],
    ),
];
