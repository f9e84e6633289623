//! Bodies of answers: where they end, how they are framed anew, and how the client can tell that one is cut short.

use super::{
    Case,
    Step::{
        self, App, AppAccepts, AppClosed, AppLeaves, AppResets, AppSees, Client, ClientSees,
        Closed, Cut, Kept,
    },
    answered, steps,
};

const GETS: Step = Client("<get>\r\n");
const HEADS: Step = Client("HEAD / HTTP/1.1\r\nHost: <host>\r\n\r\n");
const OLD_GETS: Step = Client("GET / HTTP/1.0\r\nHost: <host>\r\n\r\n");
const OLD_KEEPS: Step = Client("GET / HTTP/1.0\r\nHost: <host>\r\nConnection: keep-alive\r\n\r\n");
const GOT: Step = AppSees("GET / HTTP/1.1\r\n<us>\r\n");
const HEADED: Step = AppSees("HEAD / HTTP/1.1\r\n<us>\r\n");
const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

const CHUNKS: Step = App("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
const SAW_CHUNKS: Step = ClientSees(
    "HTTP/1.1 200 OK\r\n~transfer-encoding: chunked\r\n~date: <date>\r\n\r\n<chunks:hello>",
);

/// The client has seen a chunk; what comes next is no chunk, and the client sees no last one.
macro_rules! cut {
    ($name:literal, $rfc:literal, $then:expr) => {
        steps($name, $rfc, &[GETS, GOT, CHUNKS, SAW_CHUNKS, $then, Closed])
    };
}

pub(super) const CASES: &[Case] = &[
    // RFC 9112 §6.2: of known length.
    answered(
        "a length of nothing",
        "9112 §6.3",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n~date: <date>\r\n\r\n",
    ),
    answered(
        "the same length twice",
        "9112 §6.3",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\n~date: <date>\r\n\r\nok",
    ),
    answered(
        "a body that looks like an answer",
        "9112 §6.3",
        "HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 19\r\n~date: <date>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ),
    answered(
        "a body of an error",
        "9110 §15.6.1",
        "HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n~date: <date>\r\n\r\nno",
    ),
    steps(
        "a body in pieces",
        "9112 §6.2",
        &[
            GETS,
            GOT,
            App("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nh"),
            ClientSees("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n~date: <date>\r\n\r\nh"),
            App("ell"),
            ClientSees("ell"),
            App("o"),
            ClientSees("o"),
            Kept,
        ],
    ),
    steps(
        "a body that ends early",
        "9112 §8",
        &[
            GETS,
            GOT,
            App("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"),
            ClientSees("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n~date: <date>\r\n\r\nhel"),
            AppLeaves,
            Closed,
        ],
    ),
    steps(
        "a body that is reset",
        "9112 §8",
        &[
            GETS,
            GOT,
            App("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"),
            ClientSees("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n~date: <date>\r\n\r\nhel"),
            AppResets,
            Closed,
        ],
    ),
    // RFC 9112 §6.3: answers that have no body.
    steps(
        "HEAD with a length",
        "9110 §9.3.2",
        &[
            HEADS,
            HEADED,
            App("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"),
            ClientSees("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n~date: <date>\r\n\r\n"),
            HEADS,
            HEADED,
            App("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
            ClientSees("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n~date: <date>\r\n\r\n"),
            Kept,
        ],
    ),
    steps(
        "HEAD without a length",
        "9110 §9.3.2",
        &[
            HEADS,
            HEADED,
            App("HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\n"),
            ClientSees(
                "HTTP/1.1 200 OK\r\nX-A: 1\r\n?transfer-encoding: chunked\r\n~date: <date>\r\n\r\n",
            ),
            Kept,
        ],
    ),
    steps(
        "HEAD in chunks",
        "9112 §6.3",
        &[
            HEADS,
            HEADED,
            App("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            ClientSees("HTTP/1.1 200 OK\r\n?transfer-encoding: chunked\r\n~date: <date>\r\n\r\n"),
            Kept,
        ],
    ),
    steps(
        "HEAD with a body",
        "9112 §6.3",
        &[
            HEADS,
            HEADED,
            App("HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n"),
            App(POISON),
            ClientSees("HTTP/1.1 200 OK\r\nContent-Length: 44\r\n~date: <date>\r\n\r\n"),
            Kept,
            GETS,
            AppAccepts,
            GOT,
            App("<ok>"),
            ClientSees("<saw-ok>"),
            Kept,
        ],
    ),
    answered(
        "304 with a length",
        "9110 §15.4.5",
        "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 1234\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 1234\r\n~date: <date>\r\n\r\n",
    ),
    answered(
        "304 without a length",
        "9110 §15.4.5",
        "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n~date: <date>\r\n\r\n",
    ),
    steps(
        "304 with a body",
        "9112 §6.3",
        &[
            GETS,
            GOT,
            App(
                "HTTP/1.1 304 Not Modified\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
            ),
            ClientSees("HTTP/1.1 304 Not Modified\r\n~date: <date>\r\n\r\n"),
            AppClosed,
            Kept,
            GETS,
            AppAccepts,
            GOT,
            App("<ok>"),
            ClientSees("<saw-ok>"),
            Kept,
        ],
    ),
    answered(
        "204",
        "9110 §15.3.5",
        "HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nX-A: 1\r\n~date: <date>\r\n\r\n",
    ),
    answered(
        "204 with a length",
        "9110 §8.6",
        "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nX-A: 1\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nX-A: 1\r\n~date: <date>\r\n\r\n",
    ),
    answered(
        "204 in chunks",
        "9112 §6.1",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nX-A: 1\r\n~date: <date>\r\n\r\n",
    ),
    steps(
        "204 with a body",
        "9112 §6.3",
        &[
            GETS,
            GOT,
            App("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"),
            ClientSees("HTTP/1.1 204 No Content\r\n~date: <date>\r\n\r\n"),
            AppClosed,
            Kept,
            GETS,
            AppAccepts,
            GOT,
            App("<ok>"),
            ClientSees("<saw-ok>"),
            Kept,
        ],
    ),
    // RFC 9112 §9.2: more than was asked for reaches nobody.
    steps(
        "an answer behind the answer",
        "9112 §9.2",
        &[
            GETS,
            GOT,
            App("<ok>HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"),
            ClientSees("<saw-ok>"),
            AppClosed,
            Kept,
            GETS,
            AppAccepts,
            GOT,
            App("<ok>"),
            ClientSees("<saw-ok>"),
            Kept,
        ],
    ),
    steps(
        "an answer behind the last chunk",
        "9112 §9.2",
        &[
            GETS,
            GOT,
            App(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
            ),
            ClientSees(
                "HTTP/1.1 200 OK\r\n~transfer-encoding: chunked\r\n~date: <date>\r\n\r\n<chunks:ok>0\r\n\r\n",
            ),
            AppClosed,
            Kept,
            GETS,
            AppAccepts,
            GOT,
            App("<ok>"),
            ClientSees("<saw-ok>"),
            Kept,
        ],
    ),
    steps(
        "an answer on an idle connection",
        "9112 §9.2",
        &[
            GETS,
            GOT,
            App("<ok>"),
            ClientSees("<saw-ok>"),
            App(POISON),
            Kept,
            GETS,
            AppAccepts,
            GOT,
            App("<ok>"),
            ClientSees("<saw-ok>"),
            Kept,
        ],
    ),
    steps(
        "an empty line behind the answer",
        "9112 §9.2",
        &[
            GETS,
            GOT,
            App("<ok>\r\n"),
            ClientSees("<saw-ok>"),
            AppClosed,
            Kept,
        ],
    ),
    // RFC 9112 §7.1: chunks.
    answered(
        "chunks",
        "9112 §7.1",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n~transfer-encoding: chunked\r\n~date: <date>\r\n\r\n<chunks:hello world>0\r\n\r\n",
    ),
    answered(
        "chunks, said in capitals",
        "9112 §7",
        "HTTP/1.1 200 OK\r\nTRANSFER-ENCODING: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n~transfer-encoding: chunked\r\n~date: <date>\r\n\r\n<chunks:ok>0\r\n\r\n",
    ),
    answered(
        "no chunk but the last",
        "9112 §7.1",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n~transfer-encoding: chunked\r\n~date: <date>\r\n\r\n0\r\n\r\n",
    ),
    answered(
        "extensions of chunks",
        "9112 §7.1.1",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=\"b\"\r\nok\r\n0;c\r\n\r\n",
        "HTTP/1.1 200 OK\r\n~transfer-encoding: chunked\r\n~date: <date>\r\n\r\n<chunks:ok>0\r\n\r\n",
    ),
    answered(
        "trailers",
        "9112 §7.1.2",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: abc\r\nX-Other: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\n~transfer-encoding: chunked\r\n~date: <date>\r\n\r\n<chunks:ok>0\r\nX-Sum: abc\r\nX-Other: 1\r\n\r\n",
    ),
    answered(
        "trailers that nobody announced",
        "9110 §6.5",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nGrpc-Status: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n~transfer-encoding: chunked\r\n~date: <date>\r\n\r\n<chunks:ok>0\r\nGrpc-Status: 0\r\n\r\n",
    ),
    answered(
        "trailers that frame, route or set cookies",
        "9110 §6.5.1",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: abc\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=1\r\nConnection: close\r\nContent-Type: x/y\r\n\r\n",
        "HTTP/1.1 200 OK\r\n~transfer-encoding: chunked\r\n~date: <date>\r\n\r\n<chunks:ok>0\r\nX-Sum: abc\r\n\r\n",
    ),
    steps(
        "chunks in the smallest pieces",
        "9112 §7.1",
        &[
            GETS,
            GOT,
            App("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            App("2"),
            App("\r"),
            App("\n"),
            App("o"),
            App("k"),
            App("\r"),
            App("\n"),
            App("0\r"),
            App("\n\r"),
            App("\n"),
            ClientSees(
                "HTTP/1.1 200 OK\r\n~transfer-encoding: chunked\r\n~date: <date>\r\n\r\n<chunks:ok>0\r\n\r\n",
            ),
            Kept,
        ],
    ),
    cut!("a bad chunk size", "9112 §7.1", App("zz\r\n")),
    cut!(
        "a chunk size with a blank",
        "9112 §7.1",
        App("5 \r\nworld\r\n0\r\n\r\n")
    ),
    cut!(
        "a chunk size that ends in a bare LF",
        "9112 §7.1",
        App("0\n\r\n")
    ),
    cut!(
        "an answer in the place of a chunk",
        "9112 §7.1",
        App(POISON)
    ),
    cut!(
        "a bad trailer",
        "9112 §7.1.2",
        App("0\r\nX-Sum : 1\r\n\r\n")
    ),
    cut!("an end before the last chunk", "9112 §8", AppLeaves),
    cut!("a reset before the last chunk", "9112 §8", AppResets),
    steps(
        "an end within the trailers",
        "9112 §8",
        &[
            GETS,
            GOT,
            CHUNKS,
            SAW_CHUNKS,
            App("0\r\nX-Sum: 1\r\n"),
            AppLeaves,
            Closed,
        ],
    ),
    // RFC 9112 §6.3: until the connection is closed.
    steps(
        "until the end",
        "9112 §6.3",
        &[
            GETS,
            GOT,
            App("HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nhello"),
            AppLeaves,
            ClientSees(
                "HTTP/1.1 200 OK\r\nX-A: 1\r\n~transfer-encoding: chunked\r\n~date: <date>\r\n\r\n<chunks:hello>0\r\n\r\n",
            ),
            Kept,
        ],
    ),
    steps(
        "until the end, of HTTP/1.0",
        "9112 §6.3",
        &[
            GETS,
            GOT,
            App("HTTP/1.0 200 OK\r\nX-A: 1\r\n\r\nhello"),
            AppLeaves,
            ClientSees(
                "HTTP/1.1 200 OK\r\nX-A: 1\r\n~transfer-encoding: chunked\r\n~date: <date>\r\n\r\n<chunks:hello>0\r\n\r\n",
            ),
            Kept,
        ],
    ),
    steps(
        "nothing until the end",
        "9112 §6.3",
        &[
            GETS,
            GOT,
            App("HTTP/1.1 200 OK\r\n\r\n"),
            AppLeaves,
            ClientSees(
                "HTTP/1.1 200 OK\r\n~transfer-encoding: chunked\r\n~date: <date>\r\n\r\n0\r\n\r\n",
            ),
            Kept,
        ],
    ),
    steps(
        "until the end for HTTP/1.0",
        "9112 §6.3",
        &[
            OLD_GETS,
            GOT,
            App("HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nhello"),
            AppLeaves,
            ClientSees(
                "HTTP/<v> 200 OK\r\nX-A: 1\r\n?connection: close\r\n~date: <date>\r\n\r\nhello",
            ),
            Closed,
        ],
    ),
    steps(
        "until a reset",
        "9112 §8",
        &[
            GETS,
            GOT,
            App("HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nhello"),
            ClientSees(
                "HTTP/1.1 200 OK\r\nX-A: 1\r\n~transfer-encoding: chunked\r\n~date: <date>\r\n\r\n<chunks:hello>",
            ),
            AppResets,
            Closed,
        ],
    ),
    steps(
        "until a reset for HTTP/1.0, which only a reset can tell",
        "9112 §8",
        &[
            OLD_GETS,
            GOT,
            App("HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nhello"),
            ClientSees(
                "HTTP/<v> 200 OK\r\nX-A: 1\r\n?connection: close\r\n~date: <date>\r\n\r\nhello",
            ),
            AppResets,
            Cut,
        ],
    ),
    steps(
        "chunks cut short for HTTP/1.0, which only a reset can tell",
        "9112 §8",
        &[
            OLD_GETS,
            GOT,
            CHUNKS,
            ClientSees("HTTP/<v> 200 OK\r\n?connection: close\r\n~date: <date>\r\n\r\nhello"),
            AppLeaves,
            Cut,
        ],
    ),
    // RFC 9112 §7, RFC 9110 §2.5: HTTP/1.0 on either side.
    steps(
        "chunks for HTTP/1.0",
        "9112 §6.1",
        &[
            OLD_GETS,
            GOT,
            App(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n",
            ),
            ClientSees("HTTP/<v> 200 OK\r\n?connection: close\r\n~date: <date>\r\n\r\nhello world"),
            Closed,
        ],
    ),
    steps(
        "chunks for HTTP/1.0 that asks to be kept",
        "9112 §9.3",
        &[
            OLD_KEEPS,
            GOT,
            App("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
            ClientSees("HTTP/<v> 200 OK\r\n?connection: close\r\n~date: <date>\r\n\r\nhello"),
            Closed,
        ],
    ),
    steps(
        "a length for HTTP/1.0",
        "9112 §9.3",
        &[
            OLD_GETS,
            GOT,
            App("<ok>"),
            ClientSees(
                "HTTP/<v> 200 OK\r\nContent-Length: 2\r\n?connection: close\r\n~date: <date>\r\n\r\nok",
            ),
            Closed,
        ],
    ),
    steps(
        "a length for HTTP/1.0 that asks to be kept",
        "9112 §9.3",
        &[
            OLD_KEEPS,
            GOT,
            App("<ok>"),
            ClientSees(
                "HTTP/<v> 200 OK\r\nContent-Length: 2\r\n~connection: keep-alive\r\n~date: <date>\r\n\r\nok",
            ),
            Kept,
        ],
    ),
    steps(
        "304 for HTTP/1.0 that asks to be kept",
        "9112 §9.3",
        &[
            OLD_KEEPS,
            GOT,
            App("HTTP/1.1 304 Not Modified\r\n\r\n"),
            ClientSees(
                "HTTP/<v> 304 Not Modified\r\n~connection: keep-alive\r\n~date: <date>\r\n\r\n",
            ),
            Kept,
        ],
    ),
    steps(
        "an app of HTTP/1.0",
        "9110 §6.2",
        &[
            GETS,
            GOT,
            App("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
            ClientSees("<saw-ok>"),
            AppClosed,
            Kept,
        ],
    ),
    steps(
        "an app of HTTP/1.0 that keeps its connection",
        "9112 §9.3",
        &[
            GETS,
            GOT,
            App("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"),
            ClientSees("<saw-ok>"),
            GETS,
            GOT,
            App("<ok>"),
            ClientSees("<saw-ok>"),
            Kept,
        ],
    ),
];
