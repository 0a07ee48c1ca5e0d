//! The management listener, for operators: metrics and health, on a separate listener.

use std::{fmt, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    hosts::Hosts,
    listeners::{End, Service},
};
use crate::server::{
    edge::{ConnectionLimits, MemoryBudget},
    meters::ConnectionMeters,
};

/// The listener for metrics and health checks at `addr`, which requests may name by `names` too.
pub(crate) fn management(router: Router, addr: SocketAddr, names: Vec<String>) -> Service {
    let hosts = Hosts::new(addr.ip(), names, "If it should be, add the name to management_hosts.");
    Service {
        router: hosts.guard(router),
        tls: None,
        limits: ConnectionLimits::FEW_CALLERS,
        proxies: Arc::default(),
        meters: ConnectionMeters::default(),
        // It reads no request bodies.
        budget: MemoryBudget::new(0, Default::default()),
        end: End::WithProcess,
    }
}

/// The answer to `GET /metrics`.
pub(crate) fn metrics_answer(encoded: Result<String, fmt::Error>) -> Response {
    match encoded {
        Ok(text) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
