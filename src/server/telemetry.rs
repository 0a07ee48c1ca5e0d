//! Logs: text on a terminal, JSON otherwise, and never in the way of the work. Traces, when somebody listens.

mod lines;
mod sampling;
mod targets;

use std::{
    io::{self, IsTerminal},
    net::IpAddr,
    panic::{self, PanicHookInfo},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use axum::http::{HeaderMap, HeaderName};
use opentelemetry::{
    KeyValue,
    propagation::{Extractor, TextMapPropagator},
    trace::TracerProvider,
};
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use tracing::{Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use super::caller_text;
use lines::{Lines, LinesGuard};

pub(crate) use lines::lines_dropped;
pub(crate) use sampling::{Noise, admits, lines_left_out};
pub(crate) use targets::{ALERT, SECURITY};

/// How long the spans that are left may take to be sent at the end.
const LAST_SPANS: Duration = Duration::from_secs(3);
/// How long the receiver of spans may take to answer.
const EXPORT_TIME_LIMIT: Duration = Duration::from_secs(5);
/// What is traced: our own rooms, down to the statements of the database.
const TRACED: &str = "off,sealwright=debug";

/// What logging obeys.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) filter: Filter,
    pub(crate) format: Format,
    /// Where spans are sent: the base of an OTLP receiver over HTTP.
    pub(crate) otlp: Option<OtlpEndpoint>,
}

/// Which events are logged; parsed.
#[derive(Debug, Clone)]
pub(crate) struct Filter(String);

impl Filter {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        EnvFilter::try_new(text).map(|_| Self(text.to_owned())).map_err(|error| error.to_string())
    }
}

/// The base URL of an OTLP receiver, such as `http://127.0.0.1:4318`.
#[derive(Debug, Clone)]
pub(crate) struct OtlpEndpoint(String);

impl OtlpEndpoint {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let url = url::Url::parse(text).ok()?;
        let lawful = matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none() && url.fragment().is_none();
        lawful.then(|| Self(text.trim_end_matches('/').to_owned()))
    }
}

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Auto,
    Text,
    Json,
}

impl Format {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }
}

/// Sends what is left when it is dropped.
#[derive(Debug)]
#[must_use = "what is logged last is lost when this is dropped early"]
pub(crate) struct Telemetry {
    traces: Option<SdkTracerProvider>,
    /// Dropped last: what the traces have to say is still written.
    _lines: LinesGuard,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.traces.take().map(|traces| traces.shutdown_with_timeout(LAST_SPANS)) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Why there are no logs or no traces.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("spans cannot be sent: {0}")]
    Traces(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("the thread that writes the log could not be started: {0}")]
    Thread(io::Error),
}

/// Sends the events of this process to standard error, and its spans where the policy says. The first call counts.
///
/// Must not be called on a thread of a runtime when spans are sent: their HTTP client has a runtime of its own.
pub(crate) fn init(policy: &Policy) -> Result<Telemetry, Error> {
    let terminal = io::stderr().is_terminal();
    let json = match policy.format {
        Format::Auto => !terminal,
        Format::Text => false,
        Format::Json => true,
    };
    let (writer, guard) = Lines::to_stderr(json).map_err(Error::Thread)?;
    let events = fmt::layer().with_writer(writer).with_target(false);
    let events = if json {
        events.json().flatten_event(true).with_current_span(false).with_span_list(true).boxed()
    } else {
        events.with_ansi(terminal).boxed()
    };
    let traces = policy.otlp.as_ref().map(traces).transpose()?;
    let spans = traces.as_ref().map(|traces| {
        TRACING.store(true, Relaxed);
        tracing_opentelemetry::layer().with_tracer(traces.tracer("sealwright")).with_filter(EnvFilter::new(TRACED))
    });
    // Somebody who embeds us may have set up logging already; theirs stands.
    let registry = tracing_subscriber::registry().with(events.with_filter(EnvFilter::new(&policy.filter.0))).with(spans);
    let _ = registry.try_init();
    panic::set_hook(Box::new(log_panic));
    Ok(Telemetry { traces, _lines: guard })
}

/// A panic is an event as any other, with the request that it happened in, and not a text amid the lines of a log.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    // The text of a panic may repeat what could not be handled.
    tracing::error!(place, "panic: {}", caller_text::words(panic.payload_as_str().unwrap_or("without a text")));
}

fn traces(endpoint: &OtlpEndpoint) -> Result<SdkTracerProvider, Error> {
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_headers([("user-agent".to_owned(), concat!("sealwright/", env!("CARGO_PKG_VERSION")).to_owned())].into())
        .with_endpoint(format!("{}/v1/traces", endpoint.0))
        .with_timeout(EXPORT_TIME_LIMIT)
        .build()?;
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_service_name("sealwright").with_attribute(version).build();
    // Whoever calls decides which trace it is, and not whether anybody sees it.
    Ok(SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOn).with_batch_exporter(exporter).with_resource(resource).build())
}

/// Whether spans are sent.
static TRACING: AtomicBool = AtomicBool::new(false);

/// The span of a request. What a trace is searched by is filled in when somebody listens.
pub(crate) fn request_span(id: &str, source: IpAddr) -> Span {
    tracing::info_span!(
        "request",
        request.id = id,
        %source,
        otel.name = Empty,
        otel.kind = Empty,
        otel.status_code = Empty,
        http.route = Empty,
        http.response.status_code = Empty,
        client.id = Empty,
    )
}

/// Makes the span of a request a part of the trace that its caller says it belongs to (W3C Trace Context). Nothing is done when
/// nobody listens.
pub(crate) fn continue_trace(span: &Span, headers: &HeaderMap, method: &str, route: &str) {
    if TRACING.load(Relaxed) {
        // A span that nobody records cannot have a parent, and needs none.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&Headers(headers)));
        span.record("otel.name", format!("{method} {route}"));
        span.record("otel.kind", "server");
        span.record("http.route", route);
    }
}

/// How the request ended, for its span.
pub(crate) fn end_trace(span: &Span, status: u16, client: Option<&str>) {
    if TRACING.load(Relaxed) {
        span.record("http.response.status_code", i64::from(status));
        if let Some(client) = client {
            span.record("client.id", client);
        }
        if status >= 500 {
            span.record("otel.status_code", "ERROR");
        }
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    /// `tracestate` is text of the caller's own that goes where the spans go (W3C Trace Context section 3.3).
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok()).filter(|value| !caller_text::holds_secret(value))
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}
