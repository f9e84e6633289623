//! Interim answers: 100 Continue from end to end, and the others on their way to the client.

use super::{
    Case,
    Step::{self, App, AppClosed, AppLeaves, AppSees, Client, ClientSees, Closed, Error, Kept},
    reaches, steps,
};

const ASKS: Step = Client("<post>Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");
const ASKED: Step =
    AppSees("POST / HTTP/1.1\r\n<us>~content-length: 5\r\n~expect: 100-continue\r\n\r\n");
const GETS: Step = Client("<get>\r\n");
const GOT: Step = AppSees("GET / HTTP/1.1\r\n<us>\r\n");

/// The app answers instead of saying 100, and the client never sends the body.
macro_rules! declined {
    ($name:literal, $answer:literal, $seen:literal) => {
        steps(
            $name,
            "9110 §10.1.1",
            &[
                ASKS,
                ASKED,
                App($answer),
                ClientSees($seen),
                Closed,
                AppClosed,
            ],
        )
    };
}

pub(super) const CASES: &[Case] = &[
    // RFC 9110 §10.1.1: Expect.
    steps(
        "100 of the app",
        "9110 §10.1.1",
        &[
            ASKS,
            ASKED,
            App("HTTP/1.1 100 Continue\r\n\r\n"),
            ClientSees("HTTP/1.1 100 Continue\r\n\r\n"),
            Client("hello"),
            AppSees("hello"),
            App("<ok>"),
            ClientSees("<saw-ok>"),
            Kept,
        ],
    ),
    steps(
        "100 of the app, in another case and for chunks",
        "9110 §10.1.1",
        &[
            Client("<post>Transfer-Encoding: chunked\r\nexpect: 100-Continue\r\n\r\n"),
            AppSees(
                "POST / HTTP/1.1\r\n<us>~transfer-encoding: chunked\r\n~expect: 100-Continue\r\n\r\n",
            ),
            App("HTTP/1.1 100 Continue\r\n\r\n"),
            ClientSees("HTTP/1.1 100 Continue\r\n\r\n"),
            Client("5\r\nhello\r\n0\r\n\r\n"),
            AppSees("<chunks:hello>0\r\n\r\n"),
            App("<ok>"),
            ClientSees("<saw-ok>"),
            Kept,
        ],
    ),
    steps(
        "100 of the app with fields",
        "9110 §15.2",
        &[
            ASKS,
            ASKED,
            App("HTTP/1.1 100 Continue\r\nX-A: 1\r\nConnection: X-B\r\nX-B: 1\r\n\r\n"),
            ClientSees("HTTP/1.1 100 Continue\r\nX-A: 1\r\n\r\n"),
            Client("hello"),
            AppSees("hello"),
            App("<ok>"),
            ClientSees("<saw-ok>"),
            Kept,
        ],
    ),
    declined!(
        "417 instead of 100",
        "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n~connection: close\r\n~date: <date>\r\n\r\n"
    ),
    declined!(
        "413 with a body instead of 100",
        "HTTP/1.1 413 Too Large\r\nContent-Length: 7\r\n\r\ntoo big",
        "HTTP/1.1 413 Too Large\r\nContent-Length: 7\r\n~connection: close\r\n~date: <date>\r\n\r\ntoo big"
    ),
    declined!(
        "401 in chunks instead of 100",
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\n~transfer-encoding: chunked\r\n~connection: close\r\n~date: <date>\r\n\r\n<chunks:no>0\r\n\r\n"
    ),
    declined!(
        "200 instead of 100",
        "<ok>",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n~connection: close\r\n~date: <date>\r\n\r\nok"
    ),
    declined!(
        "204 instead of 100",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n~connection: close\r\n~date: <date>\r\n\r\n"
    ),
    steps(
        "a body that is sent without waiting",
        "9110 §10.1.1",
        &[
            Client("<post>Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello"),
            ASKED,
            App("HTTP/1.1 100 Continue\r\n\r\n"),
            AppSees("hello"),
            App("<ok>"),
            ClientSees("HTTP/1.1 100 Continue\r\n\r\n"),
            ClientSees("<saw-ok>"),
            Kept,
        ],
    ),
    // The two cases that take their second: an app of HTTP/1.0 never says 100.
    steps(
        "an app that says nothing for a second",
        "9110 §10.1.1",
        &[
            ASKS,
            ASKED,
            ClientSees("HTTP/1.1 100 Continue\r\n\r\n"),
            Client("hello"),
            AppSees("hello"),
            App("<ok>"),
            ClientSees("<saw-ok>"),
            Kept,
        ],
    ),
    steps(
        "103 after the edge's own 100",
        "9110 §10.1.1",
        &[
            ASKS,
            ASKED,
            ClientSees("HTTP/1.1 100 Continue\r\n\r\n"),
            Client("hello"),
            AppSees("hello"),
            App("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
            ClientSees("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
            App("<ok>"),
            ClientSees("<saw-ok>"),
            Kept,
        ],
    ),
    steps(
        "Expect of HTTP/1.0, which means nothing",
        "9110 §10.1.1",
        &[
            Client(
                "POST / HTTP/1.0\r\nHost: <host>\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
            ),
            AppSees(
                "POST / HTTP/1.1\r\n<us>~content-length: 5\r\n?expect: 100-continue\r\n\r\nhello",
            ),
            App("HTTP/1.1 100 Continue\r\n\r\n"),
            App("<ok>"),
            ClientSees(
                "HTTP/<v> 200 OK\r\nContent-Length: 2\r\n?connection: close\r\n~date: <date>\r\n\r\nok",
            ),
            Closed,
        ],
    ),
    reaches(
        "an expectation that nobody knows",
        "9110 §10.1.1",
        "<post>Content-Length: 5\r\nExpect: wonders\r\n\r\nhello",
        "POST / HTTP/1.1\r\n<us>~content-length: 5\r\nExpect: wonders\r\n\r\nhello",
    ),
    // RFC 9110 §15.2: other interim answers.
    steps(
        "103",
        "8297 §2",
        &[
            GETS,
            GOT,
            App("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nlink: </b.js>\r\n\r\n"),
            ClientSees(
                "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nlink: </b.js>\r\n\r\n",
            ),
            App("<ok>"),
            ClientSees("<saw-ok>"),
            Kept,
        ],
    ),
    steps(
        "102, then 103, then the answer, all at once",
        "9110 §15.2",
        &[
            GETS,
            GOT,
            App("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nX-A: 1\r\n\r\n<ok>"),
            ClientSees("HTTP/1.1 102 Processing\r\n\r\n"),
            ClientSees("HTTP/1.1 103 Early Hints\r\nX-A: 1\r\n\r\n"),
            ClientSees("<saw-ok>"),
            Kept,
        ],
    ),
    steps(
        "an interim answer in pieces",
        "9112 §2.2",
        &[
            GETS,
            GOT,
            App("HTTP/1.1 10"),
            App("3 Early Hints\r\nX-A: 1\r"),
            App("\n\r"),
            App("\nHTTP/1.1 200 OK\r\nContent-Len"),
            App("gth: 2\r\n\r\no"),
            App("k"),
            ClientSees("HTTP/1.1 103 Early Hints\r\nX-A: 1\r\n\r\n"),
            ClientSees("<saw-ok>"),
            Kept,
        ],
    ),
    steps(
        "hop-by-hop fields of 103",
        "9110 §7.6.1",
        &[
            GETS,
            GOT,
            App(
                "HTTP/1.1 103 Early Hints\r\nConnection: close, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nX-A: 1\r\n\r\n<ok>",
            ),
            ClientSees("HTTP/1.1 103 Early Hints\r\nX-A: 1\r\n\r\n"),
            ClientSees("<saw-ok>"),
            Kept,
        ],
    ),
    steps(
        "an interim answer that claims to have a body",
        "9112 §6.3",
        &[
            GETS,
            GOT,
            App("HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n<ok>"),
            ClientSees("HTTP/1.1 103 Early Hints\r\n\r\n"),
            ClientSees("<saw-ok>"),
            Kept,
        ],
    ),
    steps(
        "103 for HTTP/1.0",
        "9110 §15.2",
        &[
            Client("GET / HTTP/1.0\r\nHost: <host>\r\n\r\n"),
            GOT,
            App("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n<ok>"),
            ClientSees(
                "HTTP/<v> 200 OK\r\nContent-Length: 2\r\n?connection: close\r\n~date: <date>\r\n\r\nok",
            ),
            Closed,
        ],
    ),
    steps(
        "103 for HTTP/1.0 that is kept alive",
        "9110 §15.2",
        &[
            Client("GET / HTTP/1.0\r\nHost: <host>\r\nConnection: keep-alive\r\n\r\n"),
            GOT,
            App("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n<ok>"),
            ClientSees(
                "HTTP/<v> 200 OK\r\nContent-Length: 2\r\n~connection: keep-alive\r\n~date: <date>\r\n\r\nok",
            ),
            Kept,
        ],
    ),
    steps(
        "16 interim answers",
        "9110 §15.2",
        &[
            GETS,
            GOT,
            App("<16*HTTP/1.1 102 Processing\r\n\r\n>"),
            ClientSees("HTTP/1.1 102 Processing\r\n\r\n<15*HTTP/1.1 102 Processing\r\n\r\n>"),
            App("<ok>"),
            ClientSees("<saw-ok>"),
            Kept,
        ],
    ),
    steps(
        "17 interim answers",
        "9110 §15.2",
        &[
            GETS,
            GOT,
            App("<17*HTTP/1.1 102 Processing\r\n\r\n>"),
            ClientSees("HTTP/1.1 102 Processing\r\n\r\n<15*HTTP/1.1 102 Processing\r\n\r\n>"),
            Error(502),
            AppClosed,
            Kept,
        ],
    ),
    steps(
        "an interim answer, then garbage",
        "9112 §4",
        &[
            GETS,
            GOT,
            App("HTTP/1.1 103 Early Hints\r\nX-A: 1\r\n\r\n"),
            ClientSees("HTTP/1.1 103 Early Hints\r\nX-A: 1\r\n\r\n"),
            App("garbage\r\n\r\n"),
            Error(502),
            AppClosed,
            Kept,
        ],
    ),
    steps(
        "an interim answer, then the end",
        "9110 §15.6.3",
        &[
            GETS,
            GOT,
            App("HTTP/1.1 103 Early Hints\r\nX-A: 1\r\n\r\n"),
            ClientSees("HTTP/1.1 103 Early Hints\r\nX-A: 1\r\n\r\n"),
            AppLeaves,
            Error(502),
            Kept,
        ],
    ),
];
