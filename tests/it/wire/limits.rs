//! How much of a head is taken. `limits.headers_bytes_max` is 8,192 here: request line, fields and the empty line, all
//! with their line ends. `<get>` is 40 bytes long.

use super::{
    Case,
    Step::{Client, Closed, LastError},
    reaches, refused, steps,
};

pub(super) const CASES: &[Case] = &[
    // 40 + 7 + 8141 + 2 + 2
    reaches(
        "a head of exactly the limit",
        "9110 §5.4",
        "<get>X-Pad: <8141*a>\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>X-Pad: <8141*a>\r\n\r\n",
    ),
    refused(
        "a head of one byte more",
        "6585 §5",
        431,
        "<get>X-Pad: <8142*a>\r\n\r\n",
    ),
    reaches(
        "a head of the limit in two fields",
        "9110 §5.4",
        "<get>X-Pad: <4000*a>\r\nX-Pad: <4132*a>\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>X-Pad: <4000*a>\r\nX-Pad: <4132*a>\r\n\r\n",
    ),
    refused(
        "two fields of one byte more",
        "6585 §5",
        431,
        "<get>X-Pad: <4000*a>\r\nX-Pad: <4133*a>\r\n\r\n",
    ),
    refused(
        "a field that never ends",
        "6585 §5",
        431,
        "<get>X-Pad: <20000*a>",
    ),
    refused("a name that never ends", "6585 §5", 431, "<get><20000*a>"),
    refused(
        "a head of 64 KiB",
        "6585 §5",
        431,
        "<get>X-Pad: <65536*a>\r\n\r\n",
    ),
    // GET SP /… SP HTTP/1.1 CRLF is 15 bytes and the path; Host: c000.polls.local CRLF CRLF another 26.
    reaches(
        "a path that fills the limit",
        "9112 §3",
        "GET /<8150*a> HTTP/1.1\r\nHost: <host>\r\n\r\n",
        "GET /<8150*a> HTTP/1.1\r\n<us>\r\n",
    ),
    refused(
        "a path of one byte more, which is still a request line",
        "6585 §5",
        431,
        "GET /<8151*a> HTTP/1.1\r\nHost: <host>\r\n\r\n",
    ),
    refused(
        "a request line of more than the limit",
        "9110 §15.5.15",
        414,
        "GET /<9000*a> HTTP/1.1\r\nHost: <host>\r\n\r\n",
    ),
    refused(
        "a request line that never ends",
        "9110 §15.5.15",
        414,
        "GET /<20000*a>",
    ),
    refused(
        "a query of 64 KiB",
        "9110 §15.5.15",
        414,
        "GET /?<65536*a> HTTP/1.1\r\nHost: <host>\r\n\r\n",
    ),
    // In pieces, none of which is too large.
    steps(
        "a head that grows piece by piece",
        "6585 §5",
        &[
            Client("<get>X-Pad: <4000*a>\r\n"),
            Client("X-Pad: <4000*a>\r\n"),
            Client("X-Pad: <4000*a>\r\n"),
            LastError(431),
            Closed,
        ],
    ),
    // Host is the first of them.
    reaches(
        "128 fields",
        "9110 §5.4",
        "<get><127*X-A: 1\r\n>\r\n",
        "GET / HTTP/1.1\r\n<us><127*X-A: 1\r\n>\r\n",
    ),
    refused("129 fields", "6585 §5", 431, "<get><128*X-A: 1\r\n>\r\n"),
    refused("1,000 fields", "6585 §5", 431, "<get><1000*X-A:\r\n>\r\n"),
    reaches(
        "a body isn't counted",
        "9110 §5.4",
        "<post>Content-Length: 20000\r\n\r\n<20000*a>",
        "POST / HTTP/1.1\r\n<us>~content-length: 20000\r\n\r\n<20000*a>",
    ),
    reaches(
        "a long head after empty lines",
        "9112 §2.2",
        "\r\n<get>X-Pad: <8000*a>\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>X-Pad: <8000*a>\r\n\r\n",
    ),
];
