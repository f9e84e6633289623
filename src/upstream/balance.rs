//! Which of an upstream's endpoints a request is to go to. It only chooses: where the chosen one can't be reached, the
//! dial goes on to the others.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use super::endpoint::Endpoint;
use crate::config::Balance;

/// One of `endpoints`: of those that can be used and haven't failed lately, else of those that can be used, if any can.
pub(super) fn choose<'e>(
    endpoints: &'e [Arc<Endpoint>],
    balance: Balance,
    client: &[u8],
    turn: &AtomicU32,
    random: &mut fastrand::Rng,
) -> Option<&'e Arc<Endpoint>> {
    let ready = |endpoint: &&Arc<Endpoint>| endpoint.is_usable() && !endpoint.is_aside();
    let aside_too = !endpoints.iter().any(|endpoint| ready(&endpoint));
    let candidates = || {
        let can = move |endpoint: &&Arc<Endpoint>| {
            endpoint.is_usable() && (aside_too || !endpoint.is_aside())
        };
        endpoints.iter().filter(can)
    };
    let count = candidates().count();
    if count == 0 {
        return None;
    }
    // Should one change its state meanwhile, the request merely has no preference.
    let nth = |index: usize| candidates().nth(index);
    match balance {
        Balance::LeastRequests if count == 1 => nth(0),
        Balance::LeastRequests => {
            let first = random.usize(..count);
            let other = random.usize(..count - 1);
            let second = if other < first { other } else { other + 1 };
            let (first, second) = (nth(first)?, nth(second)?);
            Some(if second.in_flight() < first.in_flight() {
                second
            } else {
                first
            })
        }
        Balance::RoundRobin => nth(turn.fetch_add(1, Ordering::Relaxed) as usize % count),
        // Rendezvous hashing: each client ranks the endpoints by weights of its own, so that one more, or one less, moves
        // no client but its own.
        Balance::ClientIp => {
            let client = hash(client);
            let weight = |endpoint: &&Arc<Endpoint>| mix(endpoint.hash() ^ client);
            candidates().max_by_key(weight)
        }
    }
}

/// The same in every process and every version: a restart moves no client. FNV-1a.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

/// Spreads what differs in a few bits over all of them (the finalizer of SplitMix64).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, net::SocketAddr};

    use tokio::time::Instant;

    use super::super::endpoint::Claim;
    use super::*;

    fn endpoints(count: u8) -> Vec<Arc<Endpoint>> {
        let endpoint = |last| {
            let address: SocketAddr = ([10, 0, 0, last], 8000).into();
            Arc::new(Endpoint::new(0, Some(address), address.to_string()))
        };
        (1..=count).map(endpoint).collect()
    }

    /// Chooses `times` times for as many clients; how often each was chosen, and by whom.
    fn chosen(
        endpoints: &[Arc<Endpoint>],
        balance: Balance,
        times: usize,
    ) -> HashMap<String, Vec<usize>> {
        let turn = AtomicU32::new(0);
        let mut random = fastrand::Rng::with_seed(7);
        let mut chosen: HashMap<String, Vec<usize>> = HashMap::new();
        for client in 0..times {
            let ip = format!("192.0.{}.{}", client / 256, client % 256);
            let endpoint = choose(endpoints, balance, ip.as_bytes(), &turn, &mut random).unwrap();
            chosen
                .entry(endpoint.text().to_owned())
                .or_default()
                .push(client);
        }
        chosen
    }

    const ALL: [Balance; 3] = [
        Balance::LeastRequests,
        Balance::RoundRobin,
        Balance::ClientIp,
    ];

    #[test]
    fn each_policy_uses_all_alike() {
        for balance in ALL {
            let chosen = chosen(&endpoints(4), balance, 4000);
            assert_eq!(chosen.len(), 4);
            for (endpoint, clients) in chosen {
                let share = clients.len();
                assert!(
                    (800..=1200).contains(&share),
                    "{balance:?} {endpoint} {share}"
                );
            }
        }
        let exact = chosen(&endpoints(4), Balance::RoundRobin, 4000);
        assert!(exact.values().all(|clients| clients.len() == 1000));
    }

    #[test]
    fn of_two_the_one_with_fewer_requests_in_flight_is_taken() {
        let endpoints = endpoints(2);
        let mut claim = Claim::new(Arc::clone(&endpoints[0]));
        claim.begin();
        let chosen = chosen(&endpoints, Balance::LeastRequests, 100);
        assert_eq!(chosen[endpoints[1].text()].len(), 100);
    }

    #[test]
    fn one_that_is_out_is_never_chosen_and_one_that_failed_lately_only_where_nothing_else_is() {
        for balance in ALL {
            let endpoints = endpoints(3);
            let now = Instant::now();
            endpoints[0].flunked(1, "503", now);
            endpoints[1].failed("refused", now);
            assert_eq!(
                chosen(&endpoints, balance, 50)[endpoints[2].text()].len(),
                50
            );
            endpoints[2].flunked(1, "503", now);
            assert_eq!(
                chosen(&endpoints, balance, 50)[endpoints[1].text()].len(),
                50
            );
            endpoints[1].flunked(1, "503", now);
            let turn = AtomicU32::new(0);
            let mut random = fastrand::Rng::new();
            assert!(choose(&endpoints, balance, b"192.0.2.1", &turn, &mut random).is_none());
        }
    }

    #[test]
    fn one_more_endpoint_moves_only_its_share_of_the_clients() {
        let (before, after) = (
            chosen(&endpoints(4), Balance::ClientIp, 1000),
            chosen(&endpoints(5), Balance::ClientIp, 1000),
        );
        let new = endpoints(5)[4].text().to_owned();
        for (endpoint, clients) in &after {
            if *endpoint != new {
                let kept = |client: &usize| before[endpoint].contains(client);
                assert!(
                    clients.iter().all(kept),
                    "{endpoint} has clients of another"
                );
            }
        }
        let moved = after[&new].len();
        assert!((130..=270).contains(&moved), "{moved} of 1000 moved");
    }

    #[test]
    fn hashes_are_the_same_after_a_restart() {
        assert_eq!(hash(b"192.0.2.1"), 5_552_405_930_031_864_309);
    }
}
