//! Requests that are no HTTP: hyper answers them before any route sees them, and says why here alone.

use std::{error::Error, net::IpAddr};

use crate::server::telemetry::{self, Noise};

/// Writes the line of a request that could not be read, if that is what ended a connection. What hyper says of it is its own words.
pub(super) fn log(error: &(dyn Error + 'static), peer: IpAddr) {
    let Some(error) = error.downcast_ref::<hyper::Error>().filter(|error| error.is_parse()) else { return };
    if !telemetry::admits(Noise::Unreadable, peer) {
        return;
    }
    // As hyper answers it.
    let status = if error.is_parse_too_large() { 431 } else { 400 };
    tracing::info!(
        http.status = status,
        outcome = "refused",
        event = "request.unreadable",
        cause = %error,
        source = %peer,
        "a request could not be read: its first line or its headers are not valid HTTP"
    );
}
