//! proxy.toml as typed: every key that there is, given or not, and where.
//!
//! The keys stand here once: the reader and the schema are both made from these types, so that
//! neither knows a key that the other doesn't. Nothing is decided here.

use std::{path::PathBuf, time::Duration};

use bytesize::ByteSize;
use http::HeaderValue;
use ipnet::IpNet;
use schemars::JsonSchema;
use toml::{Spanned, de::DeValue};

use super::{
    Address, Balance, HostHeader, LogFormat, LogLevel, Origin,
    leaf::{Count, FilePattern, NameServer},
    limits::RateLimit,
    names::{EditableHeader, HealthHost, HealthPath, Tenant},
    reader::{At, Field, FromToml, Many, Named, Place, Reader, Table, Tables, table_from_toml},
};
use crate::route::{HostPattern, PathPrefix};

/// Makes of each struct a table of proxy.toml whose keys are its fields.
macro_rules! tables {
    ($(
        $(#[$meta:meta])*
        struct $name:ident { $( $(#[$field_meta:meta])* $field:ident: $type:ty, )* }
    )*) => { $(
        #[derive(Debug, Default, JsonSchema)]
        $(#[$meta])*
        #[schemars(deny_unknown_fields)]
        pub(super) struct $name {
            $(
                $(#[$field_meta])*
                #[schemars(default)]
                pub(super) $field: Field<$type>,
            )*
        }

        impl Table for $name {
            const KEYS: &'static [&'static str] = &[$(stringify!($field)),*];

            fn set(
                &mut self,
                key: &str,
                value: &Spanned<DeValue<'_>>,
                place: Place<'_>,
                reader: &mut Reader<'_>,
            ) -> bool {
                match key {
                    $(stringify!($field) => self.$field = Field::read(value, place, reader),)*
                    _ => return false,
                }
                true
            }

            fn meant(&mut self, key: &str) {
                match key {
                    $(stringify!($field) if self.$field.is_absent() => self.$field = Field::Wrong,)*
                    _ => {}
                }
            }
        }

        impl FromToml for $name {
            fn from_toml(
                value: &Spanned<DeValue<'_>>,
                place: Place<'_>,
                reader: &mut Reader<'_>,
            ) -> Option<Self> {
                table_from_toml(value, place, reader)
            }
        }
    )* };
}

tables! {
    /// proxy.toml: which host leads to which containers.
    #[schemars(title = "hostler's proxy.toml")]
    struct RawConfig {
        /// Where the edge listens: an IP address with a port, or `unix:` and a path; one or a list.
        #[schemars(extend("default" = "0.0.0.0:8080"))]
        listen: Many<Address>,
        /// Further files with `[routes.NAME]` and nothing else, such as a file a tenant; relative to this file.
        #[schemars(extend("default" = []))]
        include: Many<FilePattern>,
        /// Networks of the proxies in front of this one, whose word about the client is taken.
        #[schemars(extend("default" = []))]
        trusted_proxies: Many<IpNet>,
        /// Whether connections from `trusted_proxies` begin with a PROXY header (version 1 or 2) that names the client.
        #[schemars(extend("default" = false))]
        proxy_protocol: At<bool>,
        /// Where the names of upstreams are looked up: an IP address, with or without a port; one or a list. Unless given,
        /// where the system's configuration says.
        nameservers: Many<NameServer>,
        /// What operators and machines ask the edge itself.
        admin: RawAdmin,
        /// What the edge tells.
        log: RawLog,
        /// What is kept of how much each tenant was asked.
        usage: RawUsage,
        /// How the edge ends.
        shutdown: RawShutdown,
        /// Limits of the edge as a whole.
        limits: RawLimits,
        /// Keys for every route that doesn't say otherwise.
        defaults: RawDefaults,
        /// The tenants, each with its hosts and its upstream.
        routes: Named<Tenant, RawRoute>,
    }

    /// A file that another one includes.
    struct RawInclude {
        /// Some of the tenants.
        routes: Named<Tenant, RawRoute>,
    }

    /// What operators and machines ask the edge itself.
    struct RawAdmin {
        /// Where health and readiness are answered; never reachable through `listen` above.
        #[schemars(extend("default" = "127.0.0.1:9180"))]
        listen: At<Address>,
    }

    /// What the edge tells.
    struct RawLog {
        /// How lines look; text on a terminal and json elsewhere unless given.
        format: At<LogFormat>,
        /// The least severe of the edge's own events that are told.
        #[schemars(extend("default" = "info"))]
        level: At<LogLevel>,
        /// Whether each request gets a line.
        #[schemars(extend("default" = true))]
        access: At<bool>,
    }

    /// What is kept of how much each tenant was asked.
    struct RawUsage {
        /// The file that keeps each tenant's requests, bytes and time by the hour; relative to this file. None unless given.
        path: At<PathBuf>,
    }

    /// How the edge ends.
    struct RawShutdown {
        /// How long requests in flight may take to finish.
        #[schemars(extend("default" = "30s"))]
        grace: At<Duration>,
    }

    /// Limits of the edge as a whole.
    struct RawLimits {
        /// Client connections at one time.
        #[schemars(extend("default" = 20_000))]
        connections: At<Count>,
        /// The head of a request, all its headers together.
        #[schemars(extend("default" = "32KiB"))]
        headers_bytes_max: At<ByteSize>,
        /// How long a client may take to send the head of a request.
        #[schemars(extend("default" = "10s"))]
        header_read: At<Duration>,
        /// How long a client connection may stay open between two requests.
        #[schemars(extend("default" = "75s"))]
        keepalive: At<Duration>,
        /// Requests that one client connection may carry.
        #[schemars(extend("default" = 10_000))]
        keepalive_requests: At<Count>,
    }

    /// Keys for every route that doesn't say otherwise.
    struct RawDefaults {
        /// The Host that the app is told: `preserve` (as the client sent it), `upstream`, or a host.
        #[schemars(extend("default" = "preserve"))]
        host: At<HostHeader>,
        /// Changes to the headers of requests, after those that the edge makes itself.
        request_headers: Box<RawHeaderEdits>,
        /// Changes to the headers of responses.
        response_headers: Box<RawHeaderEdits>,
        /// How long the edge waits for an app.
        timeouts: Box<RawTimeouts>,
        /// What the requests of a tenant may take.
        limits: Box<RawTenantLimits>,
        /// Whether a name is looked up again once a connection stands, so that no other container can have got it. Only
        /// for names whose answers rotate, such as large public pools, is `false` the right thing.
        #[schemars(extend("default" = true))]
        verify_address: At<bool>,
        /// How long a request waits for an upstream that is away, counted from when it went away; `0s` for not at all.
        #[schemars(extend("default" = "10s"))]
        hold: At<Duration>,
        /// How many further times a request is tried where that can do no harm, 0 to 10.
        #[schemars(extend("default" = 1, "minimum" = 0))]
        retries: At<Count>,
        /// Which of several endpoints a request goes to: `least_requests` (of two that are drawn the one with fewer requests
        /// in flight), `round_robin`, or `client_ip` (each client to one and the same).
        #[schemars(extend("default" = "least_requests"))]
        balance: At<Balance>,
        /// How the endpoints of `upstream` are asked whether they are healthy; they aren't unless there is a `path`.
        health: Box<RawHealth>,
        /// Networks of the clients that may ask; all may unless given.
        allow: Many<IpNet>,
        /// Networks of clients that may not, whatever `allow` says.
        deny: Many<IpNet>,
    }

    /// A tenant.
    #[schemars(extend("required" = ["hosts", "upstream"]))]
    struct RawRoute {
        /// The hosts that lead here: `thor.polls.local`, or `*.thor.polls.local` for all below; ports don't count.
        hosts: Many<HostPattern>,
        /// Where requests go: `http://HOST:PORT` or `unix:PATH`; one or a list.
        upstream: Many<Origin>,
        /// Paths that go elsewhere; the longest prefix wins.
        paths: Tables<RawPath>,
        /// The Host that the app is told: `preserve` (as the client sent it), `upstream`, or a host.
        host: At<HostHeader>,
        /// Changes to the headers of requests, after those that the edge makes itself.
        request_headers: Box<RawHeaderEdits>,
        /// Changes to the headers of responses.
        response_headers: Box<RawHeaderEdits>,
        /// How long the edge waits for the app.
        timeouts: Box<RawTimeouts>,
        /// What the requests of this tenant may take.
        limits: Box<RawTenantLimits>,
        /// Whether a name is looked up again once a connection stands, so that no other container can have got it. Only
        /// for names whose answers rotate, such as large public pools, is `false` the right thing.
        #[schemars(extend("default" = true))]
        verify_address: At<bool>,
        /// How long a request waits for an upstream that is away, counted from when it went away; `0s` for not at all.
        #[schemars(extend("default" = "10s"))]
        hold: At<Duration>,
        /// How many further times a request is tried where that can do no harm, 0 to 10.
        #[schemars(extend("default" = 1, "minimum" = 0))]
        retries: At<Count>,
        /// Which of several endpoints a request goes to: `least_requests` (of two that are drawn the one with fewer requests
        /// in flight), `round_robin`, or `client_ip` (each client to one and the same).
        #[schemars(extend("default" = "least_requests"))]
        balance: At<Balance>,
        /// How the endpoints of `upstream` are asked whether they are healthy; they aren't unless there is a `path`.
        health: Box<RawHealth>,
        /// Networks of the clients that may ask; all may unless given.
        allow: Many<IpNet>,
        /// Networks of clients that may not, whatever `allow` says.
        deny: Many<IpNet>,
    }

    /// Paths of a route that go elsewhere.
    #[schemars(extend("required" = ["prefix", "upstream"]))]
    struct RawPath {
        /// How the path begins: `/static` is for `/static` and all below it, `/static/` for what is below.
        prefix: At<PathPrefix>,
        /// Where these requests go.
        upstream: Many<Origin>,
        /// Whether the prefix is taken off before the request is sent.
        #[schemars(extend("default" = false))]
        strip: At<bool>,
    }

    /// Changes to headers: first remove, then set, then add.
    struct RawHeaderEdits {
        /// Headers that have this value and no other.
        set: Named<EditableHeader, At<HeaderValue>>,
        /// Headers beside those of the same name that are there.
        add: Named<EditableHeader, Many<HeaderValue>>,
        /// Headers that are taken out.
        remove: Many<EditableHeader>,
    }

    /// How the endpoints of an upstream are asked whether they are healthy.
    struct RawHealth {
        /// What is asked for by GET; an answer of 2xx or 3xx is good.
        path: At<HealthPath>,
        /// From one check to the next, 100ms to 1h.
        #[schemars(extend("default" = "5s"))]
        interval: At<Duration>,
        /// How long the answer may take, the connection included; at most 1m.
        #[schemars(extend("default" = "2s"))]
        timeout: At<Duration>,
        /// So many good answers in a row bring an endpoint back, 1 to 100.
        #[schemars(extend("default" = 1))]
        healthy: At<Count>,
        /// So many checks in a row without a good answer put an endpoint out, 1 to 100.
        #[schemars(extend("default" = 3))]
        unhealthy: At<Count>,
        /// The Host that is asked by; the first of the route's hosts that is no wildcard unless given.
        host: At<HealthHost>,
    }

    /// What the requests of a tenant may take.
    struct RawTenantLimits {
        /// The body of a request; a larger one gets 413.
        #[schemars(extend("default" = "100MiB"))]
        body: At<ByteSize>,
        /// Requests in flight at one time, from their heads to the last bytes of their responses; further ones wait.
        #[schemars(extend("default" = 512))]
        requests: At<Count>,
        /// Requests that wait for that; further ones get 503. 0 for none.
        #[schemars(extend("default" = 512, "minimum" = 0))]
        queue: At<Count>,
        /// How long a request waits at most; then it gets 503.
        #[schemars(extend("default" = "5s"))]
        queue_wait: At<Duration>,
        /// Connections to the apps at one time, idle ones too; requests wait for one as long as `queue_wait`.
        connections: At<Count>,
        /// How often the tenant may be asked: `100/s`, or `100/s burst 20`; more gets 429. `none` for no limit.
        #[schemars(extend("default" = "none"))]
        rate: At<RateLimit>,
        /// How often each client may ask, by its address; an IPv6 network of 64 bits is one client.
        #[schemars(extend("default" = "none"))]
        rate_per_client: At<RateLimit>,
    }

    /// How long the edge waits for an app.
    struct RawTimeouts {
        /// For a connection, its look-up included.
        #[schemars(extend("default" = "2s"))]
        connect: At<Duration>,
        /// For the head of a response.
        #[schemars(extend("default" = "60s"))]
        response: At<Duration>,
        /// Between two pieces of a body, either way.
        #[schemars(extend("default" = "60s"))]
        idle: At<Duration>,
        /// Between two pieces on a WebSocket or another upgraded connection, either way.
        #[schemars(extend("default" = "1h"))]
        tunnel_idle: At<Duration>,
    }
}
