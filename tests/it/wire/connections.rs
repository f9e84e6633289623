//! How long connections live, and what the end of one says.

use super::{
    Case,
    Step::{
        self, App, AppAccepts, AppClosed, AppLeaves, AppSees, Client, ClientHalfCloses,
        ClientLeaves, ClientSees, Closed, Kept,
    },
    steps,
};

const GETS: Step = Client("<get>\r\n");
const GOT: Step = AppSees("GET / HTTP/1.1\r\n<us>\r\n");
const ANSWERS: Step = App("<ok>");
const ANSWERED: Step = ClientSees("<saw-ok>");
const LAST: Step = ClientSees(
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n~connection: close\r\n~date: <date>\r\n\r\nok",
);

pub(super) const CASES: &[Case] = &[
    // RFC 9112 §9.3: persistence.
    steps(
        "one connection for several requests, on either side",
        "9112 §9.3",
        &[
            GETS, GOT, ANSWERS, ANSWERED, GETS, GOT, ANSWERS, ANSWERED, GETS, GOT, ANSWERS,
            ANSWERED, Kept,
        ],
    ),
    steps(
        "a request with a body between two without",
        "9112 §9.3",
        &[
            GETS,
            GOT,
            ANSWERS,
            ANSWERED,
            Client("<post>Content-Length: 5\r\n\r\nhello"),
            AppSees("POST / HTTP/1.1\r\n<us>~content-length: 5\r\n\r\nhello"),
            ANSWERS,
            ANSWERED,
            GETS,
            GOT,
            ANSWERS,
            ANSWERED,
            Kept,
        ],
    ),
    steps(
        "a client that asks for the end",
        "9112 §9.6",
        &[
            Client("<get>Connection: close\r\n\r\n<get>\r\n"),
            GOT,
            ANSWERS,
            LAST,
            Closed,
        ],
    ),
    steps(
        "a client that asks for the end in capitals and among others",
        "9112 §9.6",
        &[
            Client("<get>Connection: X-A ,\tCLOSE\r\nX-A: 1\r\n\r\n<get>\r\n"),
            GOT,
            ANSWERS,
            LAST,
            Closed,
        ],
    ),
    steps(
        "a client that asks for both",
        "9112 §9.3",
        &[
            Client("<get>Connection: keep-alive\r\nConnection: close\r\n\r\n<get>\r\n"),
            GOT,
            ANSWERS,
            LAST,
            Closed,
        ],
    ),
    steps(
        "a client whose Proxy-Connection asks for the end",
        "9112 §C.2.2",
        &[
            Client("<get>Proxy-Connection: close\r\n\r\n"),
            GOT,
            ANSWERS,
            ANSWERED,
            Kept,
        ],
    ),
    steps(
        "an app that asks for the end",
        "9112 §9.6",
        &[
            GETS,
            GOT,
            App("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"),
            ANSWERED,
            AppClosed,
            Kept,
            GETS,
            AppAccepts,
            GOT,
            ANSWERS,
            ANSWERED,
            Kept,
        ],
    ),
    steps(
        "an app that leaves between two requests",
        "9112 §9.5",
        &[
            GETS, GOT, ANSWERS, ANSWERED, AppLeaves, Kept, GETS, GOT, ANSWERS, ANSWERED, Kept,
        ],
    ),
    steps(
        "a client of HTTP/1.0",
        "9112 §9.3",
        &[
            Client("GET / HTTP/1.0\r\nHost: <host>\r\n\r\n<get>\r\n"),
            GOT,
            ANSWERS,
            ClientSees(
                "HTTP/<v> 200 OK\r\nContent-Length: 2\r\n?connection: close\r\n~date: <date>\r\n\r\nok",
            ),
            Closed,
        ],
    ),
    // RFC 9112 §9.3.2: pipelining.
    steps(
        "two requests at once",
        "9112 §9.3.2",
        &[
            Client(
                "GET /1 HTTP/1.1\r\nHost: <host>\r\n\r\nGET /2 HTTP/1.1\r\nHost: <host>\r\n\r\n",
            ),
            AppSees("GET /1 HTTP/1.1\r\n<us>\r\n"),
            App("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"),
            ClientSees("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n~date: <date>\r\n\r\none"),
            AppSees("GET /2 HTTP/1.1\r\n<us>\r\n"),
            App("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo"),
            ClientSees("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n~date: <date>\r\n\r\ntwo"),
            Kept,
        ],
    ),
    steps(
        "three requests with bodies at once",
        "9112 §9.3.2",
        &[
            Client(
                "<post>Content-Length: 3\r\n\r\none<post>Transfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n\r\n<post>Content-Length: 5\r\n\r\nthree",
            ),
            AppSees("POST / HTTP/1.1\r\n<us>~content-length: 3\r\n\r\none"),
            ANSWERS,
            ANSWERED,
            AppSees(
                "POST / HTTP/1.1\r\n<us>~transfer-encoding: chunked\r\n\r\n<chunks:two>0\r\n\r\n",
            ),
            ANSWERS,
            ANSWERED,
            AppSees("POST / HTTP/1.1\r\n<us>~content-length: 5\r\n\r\nthree"),
            ANSWERS,
            ANSWERED,
            Kept,
        ],
    ),
    steps(
        "requests of two tenants at once",
        "9112 §9.3.2",
        &[
            Client(
                "GET / HTTP/1.1\r\nHost: <other>\r\n\r\n<get>\r\nGET / HTTP/1.1\r\nHost: <other>\r\n\r\n",
            ),
            ANSWERED,
            GOT,
            App("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nours"),
            ClientSees("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n~date: <date>\r\n\r\nours"),
            ANSWERED,
            Kept,
        ],
    ),
    steps(
        "a bad request behind a good one",
        "9112 §9.3.2",
        &[
            Client("<get>\r\n<get>X-A : 1\r\n\r\n<get>\r\n"),
            GOT,
            ANSWERS,
            ANSWERED,
            Step::LastError(400),
            Closed,
        ],
    ),
    steps(
        "a second request cut by the first packet",
        "9112 §9.3.2",
        &[
            Client("<get>\r\nGET /2 HTTP/1.1\r\nHo"),
            GOT,
            ANSWERS,
            ANSWERED,
            Client("st: <host>\r\n\r\n"),
            AppSees("GET /2 HTTP/1.1\r\n<us>\r\n"),
            ANSWERS,
            ANSWERED,
            Kept,
        ],
    ),
    // RFC 9110 §7.5, RFC 9112 §9.5: an answer before the request is over.
    steps(
        "an answer while the upload stands still",
        "9112 §9.6",
        &[
            Client("<post>Content-Length: 10\r\n\r\nhello"),
            AppSees("POST / HTTP/1.1\r\n<us>~content-length: 10\r\n\r\nhello"),
            App("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"),
            ClientSees(
                "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n?connection: close\r\n~date: <date>\r\n\r\nno",
            ),
            Closed,
            AppClosed,
        ],
    ),
    steps(
        "an answer while the upload stands still, of an app that closes",
        "9112 §9.6",
        &[
            Client("<post>Content-Length: 10\r\n\r\nhello"),
            AppSees("POST / HTTP/1.1\r\n<us>~content-length: 10\r\n\r\nhello"),
            App("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno"),
            AppLeaves,
            ClientSees(
                "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n?connection: close\r\n~date: <date>\r\n\r\nno",
            ),
            Closed,
        ],
    ),
    steps(
        "an upload that goes on during the answer",
        "9112 §9.3",
        &[
            Client("<post>Content-Length: 10\r\n\r\nhello"),
            AppSees("POST / HTTP/1.1\r\n<us>~content-length: 10\r\n\r\nhello"),
            App("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nec"),
            ClientSees(
                "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n?connection: close\r\n~date: <date>\r\n\r\nec",
            ),
            Client("world"),
            AppSees("world"),
            App("ho"),
            ClientSees("ho"),
        ],
    ),
    steps(
        "what is left of an upload that was answered looks like a request",
        "9112 §9.6",
        &[
            Client("<post>Content-Length: 100\r\n\r\nhello"),
            AppSees("POST / HTTP/1.1\r\n<us>~content-length: 100\r\n\r\nhello"),
            ANSWERS,
            ClientSees(
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n?connection: close\r\n~date: <date>\r\n\r\nok",
            ),
            Client("GET /smuggled HTTP/1.1\r\nHost: <other>\r\n\r\n"),
            Closed,
            AppClosed,
        ],
    ),
    // RFC 9112 §9.6: clients that leave.
    steps(
        "a client that stops sending while it waits",
        "9112 §9.6",
        &[GETS, GOT, ClientHalfCloses, AppClosed, Closed],
    ),
    steps(
        "a client that leaves while it waits",
        "9112 §9.6",
        &[GETS, GOT, ClientLeaves, AppClosed],
    ),
    steps(
        "a client that leaves within the answer",
        "9112 §9.6",
        &[
            GETS,
            GOT,
            App("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"),
            ClientSees("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n~date: <date>\r\n\r\nhel"),
            ClientLeaves,
            AppClosed,
        ],
    ),
    steps(
        "a client that leaves within its head",
        "9112 §8",
        &[Client("<get>X-A: 1\r\n"), ClientHalfCloses, Closed],
    ),
    steps(
        "a client that leaves between two requests",
        "9112 §9.6",
        &[GETS, GOT, ANSWERS, ANSWERED, ClientHalfCloses, Closed],
    ),
    steps(
        "a client that says nothing and leaves",
        "9112 §9.6",
        &[ClientHalfCloses, Closed],
    ),
];
