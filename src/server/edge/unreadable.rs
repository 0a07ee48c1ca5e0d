//! Requests that are not valid HTTP. hyper answers them before they reach a route, so they are logged here.

use std::{error::Error, net::IpAddr};

use crate::server::telemetry::{self, Noise};

/// Writes the log line if a connection ended because a request could not be parsed. hyper's error texts do not repeat the request.
pub(super) fn log(error: &(dyn Error + 'static), peer: IpAddr) {
    let Some(error) = error.downcast_ref::<hyper::Error>().filter(|error| error.is_parse()) else { return };
    if !telemetry::admits(Noise::Unreadable, peer) {
        return;
    }
    // The status that hyper sends.
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
