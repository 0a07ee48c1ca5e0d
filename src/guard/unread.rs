//! The bodies of refused requests.

use axum::{body::Body, http::request::Parts};

use crate::server::{edge::Charge, process};

/// Reads and drops the body of a refused request, unless its memory is needed.
pub(super) async fn discard(body: Body, parts: &Parts, charge: &Charge) {
    let wait = charge.wait();
    tokio::select! {
        () = process::discard(body, parts) => {}
        () = wait.evicted() => {}
    }
}
