//! Fields of requests: their grammar, their order and case, and which of them end at the edge.

use super::{Case, reaches, refused};

pub(super) const CASES: &[Case] = &[
    // RFC 9112 §2.2, §5: lines.
    refused(
        "a field that ends in a bare LF",
        "9112 §2.2",
        400,
        "<get>X-A: 1\n\r\n",
    ),
    refused(
        "a field that ends in a bare LF, a second request hidden in the next",
        "9112 §2.2",
        400,
        "<get>X-A: 1\nX-B: 2\r\n\r\n",
    ),
    refused(
        "an empty line of a bare LF",
        "9112 §2.2",
        400,
        "<get>X-A: 1\r\n\n",
    ),
    refused(
        "a field that ends in CR CR LF",
        "9112 §2.2",
        400,
        "<get>X-A: 1\r\r\n\r\n",
    ),
    refused(
        "a bare CR in a value",
        "9112 §2.2",
        400,
        "<get>X-A: 1\rX-B: 2\r\n\r\n",
    ),
    refused(
        "a bare CR in a name",
        "9112 §2.2",
        400,
        "<get>X-\rA: 1\r\n\r\n",
    ),
    refused(
        "an end of CR alone",
        "9112 §2.2",
        400,
        "<get>X-A: 1\r\n\rX-B: 2\r\n\r\n",
    ),
    refused(
        "a line that is folded with a blank",
        "9112 §5.2",
        400,
        "<get>X-A: 1\r\n 2\r\n\r\n",
    ),
    refused(
        "a line that is folded with a tab",
        "9112 §5.2",
        400,
        "<get>X-A: 1\r\n\t2\r\n\r\n",
    ),
    refused(
        "a folded Host",
        "9112 §5.2",
        400,
        "GET / HTTP/1.1\r\nHost:\r\n <host>\r\n\r\n",
    ),
    refused(
        "a folded Transfer-Encoding",
        "9112 §5.2",
        400,
        "<post>Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    ),
    refused(
        "a blank before the first field",
        "9112 §2.2",
        400,
        "GET / HTTP/1.1\r\n Host: <host>\r\n\r\n",
    ),
    refused(
        "a blank before the first field, Host behind it",
        "9112 §2.2",
        400,
        "GET / HTTP/1.1\r\n X-A: 1\r\nHost: <host>\r\n\r\n",
    ),
    refused(
        "a line of a blank before the first field",
        "9112 §2.2",
        400,
        "GET / HTTP/1.1\r\n \r\nHost: <host>\r\n\r\n",
    ),
    // RFC 9112 §5.1: names.
    refused(
        "a blank before the colon",
        "9112 §5.1",
        400,
        "<get>X-A : 1\r\n\r\n",
    ),
    refused(
        "a tab before the colon",
        "9112 §5.1",
        400,
        "<get>X-A\t: 1\r\n\r\n",
    ),
    refused(
        "a blank before the colon of Host",
        "9112 §5.1",
        400,
        "GET / HTTP/1.1\r\nHost : <host>\r\n\r\n",
    ),
    refused(
        "a blank before the colon of Content-Length",
        "9112 §5.1",
        400,
        "<post>Content-Length : 5\r\n\r\nhello",
    ),
    refused(
        "a blank before the colon of Transfer-Encoding",
        "9112 §5.1",
        400,
        "<post>Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ),
    refused("no name", "9112 §5.1", 400, "<get>: 1\r\n\r\n"),
    refused("no colon", "9112 §5.1", 400, "<get>X-A\r\n\r\n"),
    refused(
        "a blank within a name",
        "9110 §5.1",
        400,
        "<get>X A: 1\r\n\r\n",
    ),
    refused(
        "a bracket in a name",
        "9110 §5.6.2",
        400,
        "<get>X(A): 1\r\n\r\n",
    ),
    refused(
        "a slash in a name",
        "9110 §5.6.2",
        400,
        "<get>X/A: 1\r\n\r\n",
    ),
    refused(
        "an at sign in a name",
        "9110 §5.6.2",
        400,
        "<get>X@A: 1\r\n\r\n",
    ),
    refused(
        "a quote in a name",
        "9110 §5.6.2",
        400,
        "<get>\"X\": 1\r\n\r\n",
    ),
    refused(
        "a NUL in a name",
        "9110 §5.6.2",
        400,
        "<get>X\0A: 1\r\n\r\n",
    ),
    refused(
        "a control byte in a name",
        "9110 §5.6.2",
        400,
        "<get>X\u{1}A: 1\r\n\r\n",
    ),
    refused(
        "obs-text in a name",
        "9110 §5.6.2",
        400,
        "<get>X-\u{e9}: 1\r\n\r\n",
    ),
    refused(
        "DEL in a name",
        "9110 §5.6.2",
        400,
        "<get>X\u{7f}: 1\r\n\r\n",
    ),
    reaches(
        "every character of a token in a name",
        "9110 §5.6.2",
        "<get>!#$%&'*+-.^`|~9aZ: 1\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>!#$%&'*+-.^`|~9aZ: 1\r\n\r\n",
    ),
    // RFC 9110 §5.5: values.
    refused(
        "a NUL in a value",
        "9110 §5.5",
        400,
        "<get>X-A: a\0b\r\n\r\n",
    ),
    refused(
        "a control byte in a value",
        "9110 §5.5",
        400,
        "<get>X-A: a\u{1}b\r\n\r\n",
    ),
    refused(
        "an escape byte in a value",
        "9110 §5.5",
        400,
        "<get>X-A: \u{1b}[2J\r\n\r\n",
    ),
    refused(
        "a vertical tab in a value",
        "9110 §5.5",
        400,
        "<get>X-A: a\u{b}b\r\n\r\n",
    ),
    refused(
        "DEL in a value",
        "9110 §5.5",
        400,
        "<get>X-A: a\u{7f}b\r\n\r\n",
    ),
    reaches(
        "a tab within a value",
        "9110 §5.5",
        "<get>X-A: a\tb\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>X-A: a\tb\r\n\r\n",
    ),
    reaches(
        "blanks within a value",
        "9110 §5.5",
        "<get>X-A: a   b\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>X-A: a   b\r\n\r\n",
    ),
    reaches(
        "obs-text in a value",
        "9110 §5.5",
        "<get>X-A: caf\u{e9} \u{80}\u{ff}\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>X-A: caf\u{e9} \u{80}\u{ff}\r\n\r\n",
    ),
    reaches(
        "an empty value",
        "9112 §5",
        "<get>X-A:\r\nX-B: \r\n\r\n",
        "GET / HTTP/1.1\r\n<us>X-A: \r\nX-B: \r\n\r\n",
    ),
    reaches(
        "a value of white space",
        "9112 §5.1",
        "<get>X-A: \t \r\n\r\n",
        "GET / HTTP/1.1\r\n<us>X-A: \r\n\r\n",
    ),
    reaches(
        "white space around a value",
        "9112 §5.1",
        "<get>X-A: \t 1 \t \r\nX-B:2\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>X-A: 1\r\nX-B: 2\r\n\r\n",
    ),
    reaches(
        "a colon in a value",
        "9112 §5",
        "<get>X-A: a: b\r\nX-B::\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>X-A: a: b\r\nX-B: :\r\n\r\n",
    ),
    reaches(
        "quotes and commas in a value",
        "9110 §5.6.4",
        "<get>Cookie: a=\"x, y\"; b=,,\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>Cookie: a=\"x, y\"; b=,,\r\n\r\n",
    ),
    // RFC 9110 §5.3: order; names keep their case, which some apps look at.
    reaches(
        "names in any case",
        "9110 §5.1",
        "<get>x-LoWeR: 1\r\nACCEPT: */*\r\nuser-agent: x\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>x-LoWeR: 1\r\nACCEPT: */*\r\nuser-agent: x\r\n\r\n",
    ),
    reaches(
        "fields of one name among others",
        "9110 §5.3",
        "<get>X-A: 1\r\nX-B: 1\r\nX-A: 2\r\nx-a: 3\r\nX-B: 2\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>X-A: 1\r\nX-B: 1\r\nX-A: 2\r\nx-a: 3\r\nX-B: 2\r\n\r\n",
    ),
    reaches(
        "several cookies",
        "6265 §5.4",
        "<get>Cookie: a=1\r\nCookie: b=2\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>Cookie: a=1\r\nCookie: b=2\r\n\r\n",
    ),
    reaches(
        "fields before Host",
        "9110 §7.2",
        "GET / HTTP/1.1\r\nX-A: 1\r\nHost: <host>\r\nX-B: 2\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>X-A: 1\r\nX-B: 2\r\n\r\n",
    ),
    reaches(
        "end-to-end fields that proxies like to touch",
        "9110 §7.7",
        "<get>Accept-Encoding: gzip;q=0, br\r\nVia: 1.0 a\r\nMax-Forwards: 0\r\nRange: bytes=0-1\r\nIf-None-Match: \"a\"\r\nCache-Control: no-cache\r\nOrigin: null\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>Accept-Encoding: gzip;q=0, br\r\nVia: 1.0 a\r\nMax-Forwards: 0\r\nRange: bytes=0-1\r\nIf-None-Match: \"a\"\r\nCache-Control: no-cache\r\nOrigin: null\r\n\r\n",
    ),
    reaches(
        "a browser's head",
        "9110 §5.3",
        "GET /polls/?page=2 HTTP/1.1\r\nHost: <host>\r\nConnection: keep-alive\r\nsec-ch-ua: \"A\";v=\"1\"\r\nUpgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11)\r\n\
         Accept: text/html,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate\r\nCookie: csrftoken=a; sessionid=b\r\n\r\n",
        "GET /polls/?page=2 HTTP/1.1\r\n<us>sec-ch-ua: \"A\";v=\"1\"\r\nUpgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11)\r\n\
         Accept: text/html,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate\r\nCookie: csrftoken=a; sessionid=b\r\n\r\n",
    ),
    // RFC 9110 §7.6.1: what concerns one connection.
    reaches(
        "hop-by-hop fields",
        "9110 §7.6.1",
        "<get>Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nTE: gzip\r\nUpgrade: foo/1\r\nHTTP2-Settings: AAMA\r\nX-Kept: 1\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>X-Kept: 1\r\n\r\n",
    ),
    reaches(
        "hop-by-hop fields in capitals",
        "9110 §7.6.1",
        "<get>KEEP-ALIVE: timeout=5\r\nPROXY-CONNECTION: keep-alive\r\nX-Kept: 1\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>X-Kept: 1\r\n\r\n",
    ),
    reaches(
        "a field that Connection names",
        "9110 §7.6.1",
        "<get>Connection: X-Mine\r\nX-Mine: 1\r\nX-Kept: 1\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>X-Kept: 1\r\n\r\n",
    ),
    reaches(
        "a field that Connection names further down and in another case",
        "9110 §7.6.1",
        "<get>x-MINE: 1\r\nX-Kept: 1\r\nX-Mine: 2\r\nconnection: keep-alive ,\tx-mine\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>X-Kept: 1\r\n\r\n",
    ),
    reaches(
        "several Connection fields with empty members",
        "9110 §5.6.1",
        "<get>Connection: ,X-A,,\r\nConnection: X-B\r\nX-A: 1\r\nX-B: 1\r\nX-C: 1\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>X-C: 1\r\n\r\n",
    ),
    reaches(
        "a Connection that names what the app relies on",
        "9110 §7.6.1",
        "<get>Connection: host, cookie, authorization, x-real-ip, x-forwarded-for, x-request-id\r\nCookie: a=1\r\nAuthorization: Bearer t\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>Cookie: a=1\r\nAuthorization: Bearer t\r\n\r\n",
    ),
    reaches(
        "TE: trailers",
        "9110 §10.1.4",
        "<get>TE: trailers\r\nConnection: TE\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>~connection: te\r\n~te: trailers\r\n\r\n",
    ),
    reaches(
        "TE: trailers among others",
        "9110 §10.1.4",
        "<get>TE: gzip;q=0.5, trailers\r\nConnection: TE\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>~connection: te\r\n~te: trailers\r\n\r\n",
    ),
    reaches(
        "a TE that Connection doesn't name",
        "9110 §10.1.4",
        "<get>TE: trailers\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>\r\n",
    ),
    // What a client says of itself, and names that WSGI folds into others.
    reaches(
        "claims of a stranger",
        "7239 §8.1",
        "<get>X-Real-IP: 6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-FORWARDED-HOST: evil\r\nx-forwarded-port: 6\r\nX-Request-Id: mine\r\nForwarded: for=6.6.6.6\r\n\
         True-Client-IP: 6.6.6.6\r\nX-Kept: 1\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>X-Kept: 1\r\n\r\n",
    ),
    reaches(
        "underscore twins of what the edge writes",
        "3875 §4.1.18",
        "<get>X_Real_IP: 6.6.6.6\r\nX_FORWARDED_FOR: 6.6.6.6\r\nX-Forwarded_Proto: https\r\nx_request_id: mine\r\nX_Kept: 1\r\n\r\n",
        "GET / HTTP/1.1\r\n<us>X_Kept: 1\r\n\r\n",
    ),
];
