//! Where an upstream is now, and how each of its addresses does: by the word of the edge that runs, or if none does by a
//! dial of its own.

use std::sync::Arc;

use futures_util::future::join_all;
use http::StatusCode;
use tokio::time;

use super::answer::{EdgeAsked, EndpointSeen, Health, Resolved};
use crate::{
    admin::routes::{EndpointShown, Routes, UpstreamShown},
    cli::ask,
    config::{Address, Policy},
    snapshot::Route,
    upstream::{
        Upstream,
        endpoint::{Endpoint, State},
        resolve::{Age, Resolver},
    },
};

/// The origins of one of a route's upstreams, for no longer each than a request would wait to know.
pub(super) async fn look(
    route: &Route,
    prefix: Option<String>,
    upstream: &Upstream,
    resolver: &Resolver,
    admin: &Address,
) -> (Vec<Resolved>, EdgeAsked) {
    let (asked, known) = ask_edge(route, prefix, upstream, admin);
    let policy = &route.policy;
    let looked_up = (0..upstream.origins().len()).map(async |origin| {
        let name = upstream.origins()[origin].to_string();
        let (found, error) = match look_up(origin, upstream, policy, resolver).await {
            Ok(found) => (found, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let endpoints = match &known {
            Some(known) => as_the_edge_has_it(&name, &found, &known.endpoints),
            None => {
                let dialled = found
                    .iter()
                    .map(|endpoint| dialled(endpoint, upstream, policy, resolver));
                join_all(dialled).await
            }
        };
        Resolved {
            origin: name,
            endpoints,
            error,
        }
    });
    (join_all(looked_up).await, asked)
}

async fn look_up(
    origin: usize,
    upstream: &Upstream,
    policy: &Policy,
    resolver: &Resolver,
) -> Result<Vec<Arc<Endpoint>>, String> {
    let wait = policy.timeouts.connect;
    let found = time::timeout(wait, upstream.look_up(origin, Age::FromNow, resolver)).await;
    match found {
        Ok(found) => found.map_err(|error| error.to_string()),
        Err(_) => Err(format!(
            "none within {}, which is timeouts.connect",
            humantime::format_duration(wait)
        )),
    }
}

/// What the edge that runs knows of the upstream; none if no edge answers.
fn ask_edge(
    route: &Route,
    prefix: Option<String>,
    upstream: &Upstream,
    admin: &Address,
) -> (EdgeAsked, Option<UpstreamShown>) {
    let target = format!("/routes?tenant={}", route.tenant());
    let no_edge = |why: String| {
        let asked = EdgeAsked {
            address: admin.to_string(),
            answers: false,
            note: Some(why),
        };
        (asked, None)
    };
    if matches!(admin, Address::Tcp(address) if address.port() == 0) {
        return no_edge("it has a port of the system's choice".to_owned());
    }
    let routes = match ask::ask(admin, &target) {
        Ok((StatusCode::OK, body)) => match serde_json::from_slice::<Routes>(&body) {
            Ok(routes) => routes.routes,
            Err(_) => return no_edge("what answers is no edge".to_owned()),
        },
        Ok((StatusCode::NOT_FOUND, body)) if body == b"no such tenant\n" => Vec::new(),
        Ok((status, _)) => return no_edge(format!("it answers {}", status.as_u16())),
        Err(error) => return no_edge(error.to_string()),
    };
    let origins: Vec<_> = upstream.origins().iter().map(ToString::to_string).collect();
    let same = |shown: &UpstreamShown| shown.prefix == prefix && shown.origins == origins;
    let upstreams = routes.into_iter().flat_map(|route| route.upstreams);
    let known = upstreams.into_iter().find(same);
    let note = known
        .is_none()
        .then(|| "it serves another configuration, without this upstream".to_owned());
    let asked = EdgeAsked {
        address: admin.to_string(),
        answers: true,
        note,
    };
    let nothing = UpstreamShown {
        prefix,
        origins,
        checked: false,
        away_ms: None,
        endpoints: Vec::new(),
    };
    (asked, Some(known.unwrap_or(nothing)))
}

/// Those that are found now, and then those that the edge alone knows.
fn as_the_edge_has_it(
    origin: &str,
    found: &[Arc<Endpoint>],
    known: &[EndpointShown],
) -> Vec<EndpointSeen> {
    let of_origin = || known.iter().filter(|shown| shown.origin == origin);
    let found_now = found.iter().map(|endpoint| {
        let address = endpoint.text();
        match of_origin().find(|shown| shown.address == address) {
            Some(shown) => EndpointSeen::of(shown),
            None => EndpointSeen::alone(address, Health::Unused, None),
        }
    });
    let is_found = |shown: &&EndpointShown| {
        found
            .iter()
            .any(|endpoint| endpoint.text() == shown.address)
    };
    let others = of_origin().filter(|shown| !is_found(shown));
    found_now.chain(others.map(EndpointSeen::of)).collect()
}

async fn dialled(
    endpoint: &Arc<Endpoint>,
    upstream: &Upstream,
    policy: &Policy,
    resolver: &Resolver,
) -> EndpointSeen {
    let wait = policy.timeouts.connect;
    let (health, error) = match time::timeout(wait, upstream.answers(endpoint, resolver)).await {
        Ok(Ok(())) => (Health::Answers, None),
        Ok(Err(error)) => (Health::Silent, Some(error.to_string())),
        Err(_) => {
            let wait = humantime::format_duration(wait);
            (Health::Silent, Some(format!("nothing within {wait}")))
        }
    };
    EndpointSeen::alone(endpoint.text(), health, error)
}

impl EndpointSeen {
    fn of(shown: &EndpointShown) -> Self {
        let health = match shown.state {
            State::Up => Health::Up,
            State::Aside => Health::Aside,
            State::Out => Health::Out,
        };
        Self {
            address: shown.address.clone(),
            health,
            in_flight: Some(shown.in_flight),
            aside_ms: (health == Health::Aside).then_some(shown.aside_ms),
            // What went wrong before all was well again explains nothing.
            error: shown.last_error.clone().filter(|_| health != Health::Up),
        }
    }

    fn alone(address: &str, health: Health, error: Option<String>) -> Self {
        Self {
            address: address.to_owned(),
            health,
            in_flight: None,
            aside_ms: None,
            error,
        }
    }
}
