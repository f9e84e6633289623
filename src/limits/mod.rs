//! Whether a request is let in, by the limits of its tenant. Pure: it is told what is in flight, and what time it is.

pub(crate) mod gate;
pub(crate) mod rate;

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;

use crate::{
    bulkhead::Bulkhead,
    config::{Policy, TenantLimits},
    error::ProxyError,
    http1::RequestHead,
};

/// Whether a tenant takes a request of this client, as far as its head says how large it is. A body of unknown length is
/// counted while it comes (`upstream::upload`).
///
/// # Errors
/// What the client is told instead.
#[inline]
pub(crate) fn accept(
    policy: &Policy,
    client: IpAddr,
    head: &RequestHead,
) -> Result<(), ProxyError> {
    let is_in = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&client));
    if !policy.allow.is_empty() && !is_in(&policy.allow) || is_in(&policy.deny) {
        return Err(ProxyError::Forbidden);
    }
    let bytes_max = policy.limits.body_bytes_max;
    match head.body.remaining() {
        Some(length) if length > bytes_max => Err(ProxyError::BodyTooLarge { bytes_max }),
        Some(_) | None => Ok(()),
    }
}

/// Whether the request comes in keeping with the rates: its client's, and the tenant's as a whole. What its client may not
/// ask isn't counted against the tenant.
///
/// # Errors
/// What the client is told instead.
#[inline]
pub(crate) fn pace(
    limits: &TenantLimits,
    bulkhead: &Bulkhead,
    client: IpAddr,
    now: impl FnOnce() -> Duration,
) -> Result<(), ProxyError> {
    if limits.rate.is_none() && limits.rate_per_client.is_none() {
        return Ok(());
    }
    let now = now();
    if let Some(rate) = limits.rate_per_client {
        let paced = bulkhead.pace_client(client, rate, now);
        paced.map_err(|wait| ProxyError::ClientRateLimited { wait })?;
    }
    if let Some(rate) = limits.rate {
        let paced = bulkhead.pace(rate, now);
        paced.map_err(|wait| ProxyError::RateLimited { wait })?;
    }
    Ok(())
}
