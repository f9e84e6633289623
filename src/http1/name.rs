//! The names of fields that mean something to an edge. Sorting a name once, when its head is read, is what lets
//! everything after it ask without comparing text.

/// What a field is to us. The order is that of nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Name {
    Accept,
    Authorization,
    Connection,
    ContentLength,
    Cookie,
    Date,
    Expect,
    Host,
    SetCookie,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    XForwardedFor,
    XForwardedHost,
    XForwardedPort,
    XForwardedProto,
    XRealIp,
    XRequestId,
    /// One more that concerns one connection alone (RFC 9110 §7.6.1).
    HopByHop,
    /// Says something about the client that only a trusted proxy may say.
    Claim,
    /// Would be taken for one of the above by an app that reads `_` as `-`, as WSGI and CGI do.
    Twin,
    /// Of no concern, but must not follow a body (RFC 9110 §6.5.1).
    NoTrailer,
    Other,
}

/// The longest name that is known.
const BYTES_MAX: usize = 25;
const FOLDED_BYTES: usize = 32;

impl Name {
    /// Sorts a field by its name, in whatever case.
    pub(crate) fn of(name: &[u8]) -> Self {
        let mut folded = [0; FOLDED_BYTES];
        if name.len() > BYTES_MAX {
            return Self::of_long(name);
        }
        folded[..name.len()].copy_from_slice(name);
        // All of it at once, and not byte by byte: a page of a browser has two dozen names. Of what may stand in a name,
        // this makes letters small, and nothing else a letter, a digit or a dash.
        let mut has_twin = false;
        for byte in &mut folded {
            has_twin |= *byte == b'_';
            *byte |= 0x20;
        }
        if has_twin {
            return Self::of_twin(&name.to_ascii_lowercase());
        }
        Self::of_folded(&folded[..name.len()])
    }

    /// The name is in lower case.
    fn of_folded(name: &[u8]) -> Self {
        match name {
            b"host" => Self::Host,
            b"accept" => Self::Accept,
            b"cookie" => Self::Cookie,
            b"connection" => Self::Connection,
            b"content-length" => Self::ContentLength,
            b"transfer-encoding" => Self::TransferEncoding,
            b"authorization" => Self::Authorization,
            b"date" => Self::Date,
            b"expect" => Self::Expect,
            b"set-cookie" => Self::SetCookie,
            b"te" => Self::Te,
            b"trailer" => Self::Trailer,
            b"upgrade" => Self::Upgrade,
            b"keep-alive"
            | b"proxy-connection"
            | b"proxy-authenticate"
            | b"proxy-authorization"
            | b"proxy-authentication-info"
            | b"http2-settings" => Self::HopByHop,
            b"forwarded"
            | b"client-ip"
            | b"true-client-ip"
            | b"cf-connecting-ip"
            | b"cf-connecting-ipv6"
            | b"fastly-client-ip"
            | b"front-end-https" => Self::Claim,
            b"cache-control" | b"content-encoding" | b"content-range" | b"content-type"
            | b"max-forwards" | b"range" => Self::NoTrailer,
            [b'x', b'-', rest @ ..] => Self::of_extension(rest),
            _ => Self::Other,
        }
    }

    /// The same for what follows `x-`.
    fn of_extension(rest: &[u8]) -> Self {
        match rest {
            b"real-ip" => Self::XRealIp,
            b"forwarded-for" => Self::XForwardedFor,
            b"forwarded-proto" => Self::XForwardedProto,
            b"forwarded-host" => Self::XForwardedHost,
            b"forwarded-port" => Self::XForwardedPort,
            b"request-id" => Self::XRequestId,
            [b'f', b'o', b'r', b'w', b'a', b'r', b'd', b'e', b'd', ..] => Self::Claim,
            b"client-ip"
            | b"cluster-client-ip"
            | b"original-forwarded-for"
            | b"originating-ip"
            | b"remote-ip"
            | b"remote-addr"
            | b"scheme"
            | b"url-scheme" => Self::Claim,
            _ => Self::Other,
        }
    }

    /// Of long names only the beginning can matter.
    #[cold]
    fn of_long(name: &[u8]) -> Self {
        let beginning: Vec<u8> = name
            .iter()
            .take(BYTES_MAX)
            .map(u8::to_ascii_lowercase)
            .collect();
        match (
            dashed(&beginning).starts_with(b"x-forwarded"),
            name.contains(&b'_'),
        ) {
            (true, true) => Self::Twin,
            (true, false) => Self::Claim,
            (false, _) => Self::Other,
        }
    }

    /// A name with an underscore, in lower case.
    #[cold]
    fn of_twin(name: &[u8]) -> Self {
        match Self::of_folded(&dashed(name)) {
            Self::Other
            | Self::NoTrailer
            | Self::Accept
            | Self::Authorization
            | Self::Cookie
            | Self::Date
            | Self::Expect
            | Self::SetCookie
            | Self::Trailer => Self::Other,
            Self::Connection
            | Self::ContentLength
            | Self::Host
            | Self::Te
            | Self::TransferEncoding
            | Self::Upgrade
            | Self::XForwardedFor
            | Self::XForwardedHost
            | Self::XForwardedPort
            | Self::XForwardedProto
            | Self::XRealIp
            | Self::XRequestId
            | Self::HopByHop
            | Self::Claim
            | Self::Twin => Self::Twin,
        }
    }

    /// Whether a field may follow a body (RFC 9110 §6.5.1): none that frames, routes, authenticates or modifies a
    /// message.
    pub(crate) fn may_be_trailer(self) -> bool {
        matches!(self, Self::Other | Self::Accept | Self::Date)
    }

    /// Whether a field concerns one connection and ends here, in either direction. `Trailer` isn't among them: what it
    /// announces is relayed.
    pub(crate) fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::HopByHop | Self::Connection | Self::Upgrade | Self::Te | Self::TransferEncoding
        )
    }
}

fn dashed(name: &[u8]) -> Vec<u8> {
    let dash = |&byte: &u8| if byte == b'_' { b'-' } else { byte };
    name.iter().map(dash).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_whatever_their_case() {
        for (name, expected) in [
            ("host", Name::Host),
            ("Content-Length", Name::ContentLength),
            ("TRANSFER-ENCODING", Name::TransferEncoding),
            ("Proxy-Authentication-Info", Name::HopByHop),
            ("X-Real-IP", Name::XRealIp),
            ("X-Forwarded", Name::Claim),
            ("X-Forwarded-Whatever-It-May-Be-Called", Name::Claim),
            ("X-Original-Forwarded-For", Name::Claim),
            ("X_Forwarded_For", Name::Twin),
            ("x-forwarded_for", Name::Twin),
            ("X_Forwarded-Whatever-It-May-Be-Called", Name::Twin),
            ("Content_Length", Name::Twin),
            ("X_Custom", Name::Other),
            ("Set_Cookie", Name::Other),
            ("X-Forwarder", Name::Other),
            ("Content-Type", Name::NoTrailer),
            ("Some-Field-With-A-Name-That-Is-Rather-Long", Name::Other),
            ("", Name::Other),
        ] {
            assert_eq!(Name::of(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn folding_all_at_once_is_folding_each() {
        // Every byte that a name may have, in every place of every name that is known.
        let token = (0..=u8::MAX)
            .filter(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte));
        let token: Vec<u8> = token.collect();
        let known: &[&[u8]] = &[
            b"host",
            b"te",
            b"connection",
            b"content-length",
            b"transfer-encoding",
            b"cf-connecting-ipv6",
            b"x-forwarded-for",
            b"x-real-ip",
            b"proxy-authentication-info",
        ];
        for name in known {
            for at in 0..name.len() {
                for byte in &token {
                    let mut changed = name.to_vec();
                    changed[at] = *byte;
                    let lower = changed.to_ascii_lowercase();
                    let expected = if lower.contains(&b'_') {
                        Name::of_twin(&lower)
                    } else {
                        Name::of_folded(&lower)
                    };
                    assert_eq!(Name::of(&changed), expected, "{changed:?}");
                }
            }
        }
    }
}
