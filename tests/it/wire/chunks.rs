//! Chunked bodies of requests, and what follows them. The head and a first chunk have reached the app when the rest
//! comes; a body that isn't exact must not look whole to it.

use super::{
    Case,
    Step::{
        self, App, AppAborted, AppClosed, AppSees, Client, ClientLeaves, ClientSees, Closed, Kept,
        LastError,
    },
    steps,
};

const HEAD: Step = Client("<post>Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
const SEEN: Step =
    AppSees("POST / HTTP/1.1\r\n<us>~transfer-encoding: chunked\r\n\r\n<chunks:hello>");

/// The body ends as it should, and the app sees `$seen` of its end.
macro_rules! whole {
    ($name:literal, $rfc:literal, $sent:literal, $seen:literal) => {
        steps(
            $name,
            $rfc,
            &[
                HEAD,
                SEEN,
                Client($sent),
                AppSees($seen),
                App("<ok>"),
                ClientSees("<saw-ok>"),
                Kept,
            ],
        )
    };
}

/// The body is refused, the app sees that it never ended, and what follows it is no request.
macro_rules! broken {
    ($name:literal, $rfc:literal, $sent:literal) => {
        steps(
            $name,
            $rfc,
            &[
                HEAD,
                SEEN,
                Client(concat!(
                    $sent,
                    "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: <host>\r\n\r\n"
                )),
                LastError(400),
                Closed,
                AppAborted,
            ],
        )
    };
}

pub(super) const CASES: &[Case] = &[
    // RFC 9112 §7.1: sizes.
    whole!(
        "one chunk more",
        "9112 §7.1",
        "6\r\n world\r\n0\r\n\r\n",
        "<chunks: world>0\r\n\r\n"
    ),
    whole!(
        "a size in capitals",
        "9112 §7.1",
        "A\r\n0123456789\r\n0\r\n\r\n",
        "<chunks:0123456789>0\r\n\r\n"
    ),
    whole!(
        "a size with zeros before it",
        "9112 §7.1",
        "0005\r\nhello\r\n0\r\n\r\n",
        "<chunks:hello>0\r\n\r\n"
    ),
    whole!(
        "a size of 15 digits",
        "9112 §7.1",
        "000000000000005\r\nhello\r\n0\r\n\r\n",
        "<chunks:hello>0\r\n\r\n"
    ),
    whole!(
        "a last chunk of several zeros",
        "9112 §7.1",
        "000\r\n\r\n",
        "0\r\n\r\n"
    ),
    whole!(
        "a chunk that holds line ends and a last chunk",
        "9112 §7.1",
        "9\r\n\r\n0\r\n\r\nhi\r\n0\r\n\r\n",
        "<chunks:\r\n0\r\n\r\nhi>0\r\n\r\n"
    ),
    steps(
        "chunks in the smallest pieces",
        "9112 §7.1",
        &[
            HEAD,
            SEEN,
            Client("2"),
            Client("\r"),
            Client("\n"),
            Client("h"),
            Client("i"),
            Client("\r"),
            Client("\n"),
            Client("0"),
            Client("\r"),
            Client("\n"),
            Client("\r"),
            Client("\n"),
            AppSees("<chunks:hi>0\r\n\r\n"),
            App("<ok>"),
            ClientSees("<saw-ok>"),
            Kept,
        ],
    ),
    broken!(
        "a size of 16 digits",
        "9112 §7.1",
        "0000000000000005\r\nhello\r\n"
    ),
    broken!(
        "a size of 2^64 + 5",
        "9112 §7.1",
        "10000000000000005\r\nhello\r\n"
    ),
    broken!("no size", "9112 §7.1", "\r\nhello\r\n"),
    broken!("a size that isn't a number", "9112 §7.1", "g\r\nhello\r\n"),
    broken!("a size with 0x", "9112 §7.1", "0x5\r\nhello\r\n"),
    broken!("a size with a plus sign", "9112 §7.1", "+5\r\nhello\r\n"),
    broken!("a negative size", "9112 §7.1", "-5\r\nhello\r\n"),
    broken!(
        "a size with an underscore",
        "9112 §7.1",
        "1_0\r\nhellohellohello!\r\n"
    ),
    broken!("a quoted size", "9112 §7.1", "\"5\"\r\nhello\r\n"),
    broken!("a blank before a size", "9112 §7.1", " 5\r\nhello\r\n"),
    broken!("a blank behind a size", "9112 §7.1", "5 \r\nhello\r\n"),
    broken!("a tab behind a size", "9112 §7.1", "5\t\r\nhello\r\n"),
    broken!("a NUL behind a size", "9112 §7.1", "5\0\r\nhello\r\n"),
    broken!("a comma behind a size", "9112 §7.1", "5,\r\nhello\r\n"),
    broken!(
        "a size line that ends in a bare LF",
        "9112 §7.1",
        "5\nhello\r\n"
    ),
    broken!(
        "a size line that ends in a bare CR",
        "9112 §7.1",
        "5\rhello\r\n"
    ),
    broken!(
        "a size line that ends in CR CR LF",
        "9112 §7.1",
        "5\r\r\nhello\r\n"
    ),
    broken!(
        "a chunk that is longer than its size",
        "9112 §7.1",
        "5\r\nhelloo\r\n"
    ),
    broken!("a chunk without its end", "9112 §7.1", "5\r\nhello"),
    broken!(
        "a chunk that ends in a bare LF",
        "9112 §7.1",
        "5\r\nhello\n"
    ),
    broken!(
        "a chunk that ends in a bare CR",
        "9112 §7.1",
        "5\r\nhello\r"
    ),
    broken!(
        "a last chunk that ends in a bare LF",
        "9112 §7.1",
        "0\n\r\n"
    ),
    broken!("an end of a bare LF", "9112 §7.1", "0\r\n\n"),
    // RFC 9112 §7.1.1: extensions.
    whole!(
        "extensions",
        "9112 §7.1.1",
        "5;a;b=c;d=\"e;f\"\r\nhello\r\n0;g\r\n\r\n",
        "<chunks:hello>0\r\n\r\n"
    ),
    whole!(
        "an extension of 200 bytes",
        "9112 §7.1.1",
        "5;<200*a>\r\nhello\r\n0\r\n\r\n",
        "<chunks:hello>0\r\n\r\n"
    ),
    broken!(
        "an extension of 300 bytes",
        "9112 §7.1.1",
        "5;<300*a>\r\nhello\r\n"
    ),
    broken!(
        "a blank before an extension",
        "9112 §7.1.1",
        "5 ;a\r\nhello\r\n"
    ),
    broken!(
        "a bare LF in an extension",
        "9112 §7.1.1",
        "5;a\nb\r\nhello\r\n"
    ),
    broken!(
        "a bare CR in an extension",
        "9112 §7.1.1",
        "5;a\rb\r\nhello\r\n"
    ),
    broken!(
        "a NUL in an extension",
        "9112 §7.1.1",
        "5;a\0b\r\nhello\r\n"
    ),
    broken!(
        "a quoted line end in an extension",
        "9112 §7.1.1",
        "5;a=\"\n\"\r\nhello\r\n"
    ),
    // RFC 9112 §7.1.2, RFC 9110 §6.5.1: trailers.
    whole!(
        "trailers",
        "9112 §7.1.2",
        "0\r\nX-Sum: abc\r\nX-Other: 1\r\n\r\n",
        "0\r\nX-Sum: abc\r\nX-Other: 1\r\n\r\n"
    ),
    whole!(
        "an obs-text and an empty trailer",
        "9112 §7.1.2",
        "0\r\nX-Sum: \u{e9}\r\nX-Sum: 2\r\n\r\n",
        "0\r\nX-Sum: \u{e9}\r\nX-Sum: 2\r\n\r\n"
    ),
    whole!(
        "trailers that frame, route or authenticate",
        "9110 §6.5.1",
        "0\r\nX-Sum: abc\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: other.polls.local\r\nAuthorization: Basic eA==\r\nCookie: a=1\r\nConnection: close\r\nContent-Type: x/y\r\n\
         X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX_Real_IP: 6.6.6.6\r\nTrailer: x\r\n\r\n",
        "0\r\nX-Sum: abc\r\n\r\n"
    ),
    whole!(
        "32 trailers",
        "9110 §6.5",
        "0\r\n<32*X-A: 1\r\n>\r\n",
        "0\r\n<32*X-A: 1\r\n>\r\n"
    ),
    broken!("33 trailers", "9110 §6.5", "0\r\n<33*X-A: 1\r\n>\r\n"),
    broken!(
        "a trailer of 9,000 bytes",
        "9110 §6.5",
        "0\r\nX-A: <9000*a>\r\n\r\n"
    ),
    broken!("a trailer without a colon", "9112 §5", "0\r\nX-Sum\r\n\r\n"),
    broken!(
        "a blank before the colon of a trailer",
        "9112 §5.1",
        "0\r\nX-Sum : 1\r\n\r\n"
    ),
    broken!(
        "a folded trailer",
        "9112 §5.2",
        "0\r\nX-Sum: 1\r\n 2\r\n\r\n"
    ),
    broken!(
        "a NUL in a trailer",
        "9110 §5.5",
        "0\r\nX-Sum: a\0b\r\n\r\n"
    ),
    broken!(
        "a trailer that ends in a bare LF",
        "9112 §2.2",
        "0\r\nX-Sum: 1\n\r\n"
    ),
    broken!(
        "a bare CR in a trailer",
        "9112 §2.2",
        "0\r\nX-Sum: 1\rX-B: 2\r\n\r\n"
    ),
    // What the edge can't refuse any more.
    steps(
        "a bad chunk once the answer has begun",
        "9112 §7.1",
        &[
            HEAD,
            SEEN,
            App("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"),
            ClientSees(
                "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n~date: <date>\r\n?connection: close\r\n\r\nhello",
            ),
            Client("zz\r\n"),
            Closed,
            AppAborted,
        ],
    ),
    steps(
        "a client that leaves within a chunk",
        "9112 §8",
        &[HEAD, SEEN, Client("5\r\nhel"), ClientLeaves, AppAborted],
    ),
    steps(
        "a client that leaves between chunks",
        "9112 §8",
        &[HEAD, SEEN, ClientLeaves, AppAborted],
    ),
    steps(
        "a client that leaves within a body of known length",
        "9112 §8",
        &[
            Client("<post>Content-Length: 10\r\n\r\nhello"),
            AppSees("POST / HTTP/1.1\r\n<us>~content-length: 10\r\n\r\nhello"),
            ClientLeaves,
            AppClosed,
        ],
    ),
    steps(
        "a request behind a chunked one",
        "9112 §9.3.2",
        &[
            Client("<post>Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n<get>\r\n"),
            AppSees(
                "POST / HTTP/1.1\r\n<us>~transfer-encoding: chunked\r\n\r\n<chunks:hi>0\r\n\r\n",
            ),
            App("<ok>"),
            ClientSees("<saw-ok>"),
            AppSees("GET / HTTP/1.1\r\n<us>\r\n"),
            App("<ok>"),
            ClientSees("<saw-ok>"),
            Kept,
        ],
    ),
];
