//! Which request methods the edge forwards: the registered ones and PURGE.
//!
//! A method that no one registered is a typing error or a probe, and apps are known to treat it as
//! GET. CONNECT is registered, but it asks for a tunnel to a place that the client names.
//! Pure: it never looks at anything but the method.

use http::Method;

/// What a refusal's `Allow` says: the methods that apps commonly serve. The rest of [`FORWARDED`] is
/// WebDAV and the like; it is let through and not advertised.
pub(crate) const ALLOW: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// IANA's registry of methods (RFC 9110 §16.1.1) without CONNECT and HTTP/2's PRI, and with PURGE,
/// which caches made a custom. In byte order.
const FORWARDED: [&str; 39] = [
    "ACL",
    "BASELINE-CONTROL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LABEL",
    "LINK",
    "LOCK",
    "MERGE",
    "MKACTIVITY",
    "MKCALENDAR",
    "MKCOL",
    "MKREDIRECTREF",
    "MKWORKSPACE",
    "MOVE",
    "OPTIONS",
    "ORDERPATCH",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "PUT",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "TRACE",
    "UNBIND",
    "UNCHECKOUT",
    "UNLINK",
    "UNLOCK",
    "UPDATE",
    "UPDATEREDIRECTREF",
    "VERSION-CONTROL",
];

pub(crate) fn is_forwarded(method: &Method) -> bool {
    // The common ones first: http compares them as numbers.
    matches!(
        *method,
        Method::GET | Method::POST | Method::HEAD | Method::PUT | Method::DELETE
    ) || FORWARDED.binary_search(&method.as_str()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_methods_pass_and_others_do_not() {
        for (method, forwarded) in [
            ("GET", true),
            ("PATCH", true),
            ("OPTIONS", true),
            ("PROPFIND", true),
            ("PURGE", true),
            ("CONNECT", false),
            ("PRI", false),
            ("get", false),
            ("GETS", false),
            ("FOO", false),
        ] {
            let parsed = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(is_forwarded(&parsed), forwarded, "{method}");
        }
    }

    #[test]
    fn the_table_is_in_order_and_holds_what_allow_says() {
        assert!(FORWARDED.is_sorted());
        for method in ALLOW.split(", ") {
            assert!(FORWARDED.contains(&method), "{method}");
        }
    }
}
