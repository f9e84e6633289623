//! What one tenant's requests may take: whether a request is let in at all. Pure; it counts nothing and waits for nothing.

use crate::{config::TenantLimits, error::ProxyError, http1::RequestHead};

/// Whether a tenant takes a request, as far as its head says how large it is. A body of unknown length is counted while
/// it comes (`upstream::upload`).
///
/// # Errors
/// What the client is told instead.
pub(crate) fn admit(limits: &TenantLimits, head: &RequestHead) -> Result<(), ProxyError> {
    let bytes_max = limits.body_bytes_max;
    match head.body.remaining() {
        Some(length) if length > bytes_max => Err(ProxyError::BodyTooLarge { bytes_max }),
        Some(_) | None => Ok(()),
    }
}
