//! Heads of answers: what passes as the app wrote it, and what is no answer.

use super::{
    Case,
    Step::{App, AppLeaves, AppResets, AppSees, Client, Error, Kept},
    answered, bad_answer, steps,
};

pub(super) const CASES: &[Case] = &[
    // RFC 9110 §5.3: order, case and bytes.
    answered(
        "fields in their order and case",
        "9110 §5.3",
        "HTTP/1.1 200 OK\r\nx-LoWeR: 1\r\nSet-Cookie: a=1; Expires=Thu, 01 Jan 2026 00:00:00 GMT\r\nCONTENT-LENGTH: 2\r\nX-A: 1\r\nset-cookie: b=2\r\nx-a: 2\r\nSet-Cookie: a=3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nx-LoWeR: 1\r\nSet-Cookie: a=1; Expires=Thu, 01 Jan 2026 00:00:00 GMT\r\nCONTENT-LENGTH: 2\r\nX-A: 1\r\nset-cookie: b=2\r\nx-a: 2\r\nSet-Cookie: a=3\r\n~date: <date>\r\n\r\nok",
    ),
    answered(
        "obs-text, empty values and white space",
        "9110 §5.5",
        "HTTP/1.1 200 OK\r\nX-A: caf\u{e9} \u{80}\u{ff}\r\nX-B:\r\nX-C:  a\tb \t\r\nX-D:1\r\nLocation: /a b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX-A: caf\u{e9} \u{80}\u{ff}\r\nX-B: \r\nX-C: a\tb\r\nX-D: 1\r\nLocation: /a b\r\nContent-Length: 2\r\n~date: <date>\r\n\r\nok",
    ),
    answered(
        "Date and Server of the app",
        "9110 §6.6.1",
        "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: gunicorn\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: gunicorn\r\nContent-Length: 2\r\n\r\nok",
    ),
    answered(
        "a Date that isn't one",
        "9110 §6.6.1",
        "HTTP/1.1 200 OK\r\nDate: yesterday\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nDate: yesterday\r\nContent-Length: 2\r\n\r\nok",
    ),
    answered(
        "fields that proxies like to touch",
        "9110 §7.7",
        "HTTP/1.1 200 OK\r\nVia: 1.1 x\r\nAge: 7\r\nX-Accel-Buffering: no\r\nAlt-Svc: h3=\":443\"\r\nStrict-Transport-Security: max-age=1\r\nContent-Encoding: gzip\r\nETag: W/\"a\"\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nVia: 1.1 x\r\nAge: 7\r\nX-Accel-Buffering: no\r\nAlt-Svc: h3=\":443\"\r\nStrict-Transport-Security: max-age=1\r\nContent-Encoding: gzip\r\nETag: W/\"a\"\r\nContent-Length: 2\r\n~date: <date>\r\n\r\nok",
    ),
    answered(
        "128 fields",
        "9110 §5.4",
        "HTTP/1.1 200 OK\r\n<127*X-A: 1\r\n>Content-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\n<127*X-A: 1\r\n>Content-Length: 2\r\n~date: <date>\r\n\r\nok",
    ),
    answered(
        "a head of 60 KiB",
        "9110 §5.4",
        "HTTP/1.1 200 OK\r\nX-A: <61440*a>\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX-A: <61440*a>\r\nContent-Length: 2\r\n~date: <date>\r\n\r\nok",
    ),
    // RFC 9110 §14: ranges are between client and app.
    answered(
        "a part of a resource",
        "9110 §15.3.7",
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n~date: <date>\r\n\r\nok",
    ),
    answered(
        "several parts of a resource",
        "9110 §14.6",
        "HTTP/1.1 206 Partial Content\r\nContent-Type: multipart/byteranges; boundary=x\r\nTransfer-Encoding: chunked\r\n\r\n3c\r\n--x\r\nContent-Range: bytes 0-0/9\r\n\r\no\r\n--x\r\nContent-Range: by\r\n13\r\ntes 8-8/9\r\n\r\nk--x--\r\n0\r\n\r\n",
        "HTTP/1.1 206 Partial Content\r\nContent-Type: multipart/byteranges; boundary=x\r\n~transfer-encoding: chunked\r\n~date: <date>\r\n\r\n<chunks:--x\r\nContent-Range: bytes 0-0/9\r\n\r\no\r\n--x\r\nContent-Range: bytes 8-8/9\r\n\r\nk--x-->0\r\n\r\n",
    ),
    answered(
        "a range that isn't there",
        "9110 §15.5.17",
        "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */9\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */9\r\nContent-Length: 0\r\n~date: <date>\r\n\r\n",
    ),
    // RFC 9112 §4: status lines.
    answered(
        "a reason of the app's own",
        "9112 §4",
        "HTTP/1.1 200 Fine, thanks!\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 Fine, thanks!\r\nContent-Length: 2\r\n~date: <date>\r\n\r\nok",
    ),
    answered(
        "an empty reason",
        "9112 §4",
        "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 \r\nContent-Length: 2\r\n~date: <date>\r\n\r\nok",
    ),
    answered(
        "a status that nobody registered",
        "9110 §15",
        "HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n~date: <date>\r\n\r\nok",
    ),
    bad_answer("garbage", "9112 §4", "hello\r\n\r\n"),
    bad_answer(
        "a page without a head",
        "9112 §4",
        "<html>secret of a log file</html>\r\n\r\n",
    ),
    bad_answer("another protocol", "9112 §4", "SSH-2.0-OpenSSH_9.2p1\r\n"),
    bad_answer(
        "ICY",
        "9112 §4",
        "ICY 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "HTTP/2.0",
        "9112 §2.3",
        "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "HTTP/1.2",
        "9112 §2.3",
        "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "a version in lower case",
        "9112 §2.3",
        "http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "a version of two digits",
        "9112 §2.3",
        "HTTP/1.10 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "a status of two digits",
        "9112 §4",
        "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "a status of four digits",
        "9112 §4",
        "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "a status in letters",
        "9112 §4",
        "HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "a status below 100",
        "9110 §15",
        "HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "a negative status",
        "9112 §4",
        "HTTP/1.1 -20 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "no status",
        "9112 §4",
        "HTTP/1.1\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "two blanks before the status",
        "9112 §4",
        "HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "a tab before the status",
        "9112 §4",
        "HTTP/1.1\t200 OK\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "a NUL in the reason",
        "9112 §4",
        "HTTP/1.1 200 O\0K\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "a bare CR in the reason",
        "9112 §2.2",
        "HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "a status line that ends in a bare LF",
        "9112 §2.2",
        "HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok",
    ),
    // RFC 9112 §5: fields.
    bad_answer(
        "a field that ends in a bare LF",
        "9112 §2.2",
        "HTTP/1.1 200 OK\r\nX-A: 1\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "an empty line of a bare LF",
        "9112 §2.2",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\nok",
    ),
    bad_answer(
        "a head of bare LFs",
        "9112 §2.2",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    ),
    bad_answer(
        "a bare CR in a value",
        "9112 §2.2",
        "HTTP/1.1 200 OK\r\nX-A: 1\rSet-Cookie: a=1\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "a folded line",
        "9112 §5.2",
        "HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "a folded line with a tab",
        "9112 §5.2",
        "HTTP/1.1 200 OK\r\nX-A: 1\r\n\t2\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "a blank before the first field",
        "9112 §2.2",
        "HTTP/1.1 200 OK\r\n X-A: 1\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "a blank before the colon",
        "9112 §5.1",
        "HTTP/1.1 200 OK\r\nX-A : 1\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "a blank before the colon of Content-Length",
        "9112 §5.1",
        "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    ),
    bad_answer(
        "no colon",
        "9112 §5",
        "HTTP/1.1 200 OK\r\nX-A\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "no name",
        "9112 §5",
        "HTTP/1.1 200 OK\r\n: 1\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "a name that isn't a token",
        "9110 §5.1",
        "HTTP/1.1 200 OK\r\nX(A): 1\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "a NUL in a value",
        "9110 §5.5",
        "HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "a NUL in a name",
        "9110 §5.1",
        "HTTP/1.1 200 OK\r\nX\0A: 1\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "a control byte in a value",
        "9110 §5.5",
        "HTTP/1.1 200 OK\r\nX-A: a\u{1}b\r\nContent-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "129 fields",
        "9110 §5.4",
        "HTTP/1.1 200 OK\r\n<128*X-A: 1\r\n>Content-Length: 2\r\n\r\nok",
    ),
    bad_answer(
        "a head of more than 64 KiB",
        "9110 §5.4",
        "HTTP/1.1 200 OK\r\nX-A: <66000*a>\r\nContent-Length: 2\r\n\r\nok",
    ),
    // RFC 9112 §6: framing that can be read in two ways.
    bad_answer(
        "two differing lengths",
        "9112 §6.3",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    ),
    bad_answer(
        "a list of lengths",
        "9110 §8.6",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
    ),
    bad_answer(
        "a negative length",
        "9110 §8.6",
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
    ),
    bad_answer(
        "a length with a plus sign",
        "9110 §8.6",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    ),
    bad_answer(
        "a hexadecimal length",
        "9110 §8.6",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
    ),
    bad_answer(
        "a length in letters",
        "9110 §8.6",
        "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok",
    ),
    bad_answer(
        "an empty length",
        "9110 §8.6",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok",
    ),
    bad_answer(
        "a length of 19 digits",
        "9110 §8.6",
        "HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\nok",
    ),
    bad_answer(
        "a length and chunks",
        "9112 §6.3",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    bad_answer(
        "chunks behind gzip",
        "9112 §6.1",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    bad_answer(
        "chunks twice",
        "9112 §6.1",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    bad_answer(
        "identity",
        "9112 §7",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok",
    ),
    bad_answer(
        "chunked and a comma",
        "9110 §5.6.1",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked,\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    bad_answer(
        "xchunked",
        "9112 §6.1",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    bad_answer(
        "chunks from HTTP/1.0",
        "9112 §6.1",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    // RFC 9110 §7.6.1: hop by hop.
    answered(
        "hop-by-hop fields",
        "9110 §7.6.1",
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nProxy-Connection: close\r\nUpgrade: h2c\r\nTE: trailers\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX-Kept: 1\r\nContent-Length: 2\r\n~date: <date>\r\n\r\nok",
    ),
    answered(
        "a Connection that names what the client relies on",
        "9110 §7.6.1",
        "HTTP/1.1 200 OK\r\nConnection: set-cookie, content-length\r\nSet-Cookie: a=1\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nContent-Length: 2\r\n~date: <date>\r\n\r\nok",
    ),
    // RFC 9110 §15.6.3: no answer at all.
    steps(
        "an app that closes instead of answering",
        "9110 §15.6.3",
        &[
            Client("<get>\r\n"),
            AppSees("GET / HTTP/1.1\r\n<us>\r\n"),
            AppLeaves,
            Error(502),
            Kept,
        ],
    ),
    steps(
        "an app that resets instead of answering",
        "9110 §15.6.3",
        &[
            Client("<get>\r\n"),
            AppSees("GET / HTTP/1.1\r\n<us>\r\n"),
            AppResets,
            Error(502),
            Kept,
        ],
    ),
    steps(
        "an app that closes within its head",
        "9112 §8",
        &[
            Client("<get>\r\n"),
            AppSees("GET / HTTP/1.1\r\n<us>\r\n"),
            App("HTTP/1.1 200 OK\r\nContent-Le"),
            AppLeaves,
            Error(502),
            Kept,
        ],
    ),
    steps(
        "an app that closes before the empty line",
        "9112 §8",
        &[
            Client("<get>\r\n"),
            AppSees("GET / HTTP/1.1\r\n<us>\r\n"),
            App("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"),
            AppLeaves,
            Error(502),
            Kept,
        ],
    ),
];
