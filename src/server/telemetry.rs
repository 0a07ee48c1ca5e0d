//! Logs: short text on a terminal, JSON otherwise; logging never blocks. Traces, if an endpoint is configured.

mod lines;
mod sampling;
mod targets;
mod terminal;

use std::{
    io::{self, IsTerminal},
    net::IpAddr,
    panic::{self, PanicHookInfo},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use anstream::{AutoStream, ColorChoice};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    KeyValue,
    propagation::{Extractor, Injector, TextMapPropagator},
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
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, LevelFilter, filter_fn},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use super::{
    caller_text,
    settings::{self, Setting, Values, setting},
};
use lines::{Lines, LinesGuard};
use terminal::TerminalLines;

pub(crate) use lines::lines_dropped;
pub(crate) use sampling::{Noise, admits, lines_left_out};
pub(crate) use targets::{ALERT, SECURITY};

/// Time limit for sending the remaining spans at the end.
const LAST_SPANS: Duration = Duration::from_secs(3);
/// Time limit for the receiver of spans.
const EXPORT_TIME_LIMIT: Duration = Duration::from_secs(5);
/// The filter for spans: our own, including database statements.
const TRACED: &str = "off,sealwright=debug";

/// The span of each check of a token. It is left out of log lines: its outcome is known only at its end, and the line of the request has it, too.
const CHECK_OF_A_TOKEN: &str = "verify_token";

/// The settings of logging.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) filter: Filter,
    pub(crate) format: Format,
    /// The receiver of spans (OTLP over HTTP).
    pub(crate) otlp: Option<OtlpEndpoint>,
}

impl Policy {
    pub(crate) const SETTINGS: &'static [Setting] = &[
        setting("log", Some("info"), "the log filter", "off, error, warn, info, debug, trace, or a list such as info,sqlx=warn"),
        setting("log_format", Some("auto"), "the log format; auto is text on a terminal and JSON otherwise", "auto, text or json"),
        setting(
            "otlp_endpoint",
            None,
            "the base URL for sending spans by OTLP over HTTP (to /v1/traces); by default none are sent",
            "an http or https URL, such as http://127.0.0.1:4318",
        ),
    ];

    pub(crate) fn read(values: &Values) -> Result<Self, settings::Error> {
        Ok(Self {
            filter: values.parse("log", |text| Filter::parse(text).map_err(Some))?,
            format: values.parse("log_format", |text| Format::parse(text).ok_or(None))?,
            otlp: values.parse_if_any("otlp_endpoint", |text| OtlpEndpoint::parse(text).ok_or(None))?,
        })
    }
}

/// The filter for log events; valid.
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
        let valid = matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none() && url.fragment().is_none();
        valid.then(|| Self(text.trim_end_matches('/').to_owned()))
    }
}

/// The log format.
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

/// Sends the remaining spans and log lines when it is dropped.
#[derive(Debug)]
#[must_use = "later log lines are lost if this is dropped early"]
pub(crate) struct Telemetry {
    traces: Option<SdkTracerProvider>,
    /// Dropped last, so that messages about the traces are still written.
    _lines: LinesGuard,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.traces.take().map(|traces| traces.shutdown_with_timeout(LAST_SPANS)) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Why logging or tracing could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("tracing could not start: {0}")]
    Traces(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("the thread that writes the log could not be started: {0}")]
    Thread(io::Error),
}

/// Writes the events of this process to standard error and sends its spans as the policy says. Only the first call has an effect.
///
/// Must not be called on a runtime's thread if spans are sent: their HTTP client has its own runtime.
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
    } else if terminal {
        events.with_ansi(AutoStream::choice(&io::stderr()) != ColorChoice::Never).event_format(TerminalLines).boxed()
    } else {
        events.with_ansi(false).boxed()
    };
    let traces = policy.otlp.as_ref().map(traces).transpose()?;
    let spans = traces.as_ref().map(|traces| {
        TRACING.store(true, Relaxed);
        tracing_opentelemetry::layer().with_tracer(traces.tracer("sealwright")).with_filter(EnvFilter::new(TRACED))
    });
    let shown = filter_fn(|metadata| metadata.is_event() || metadata.name() != CHECK_OF_A_TOKEN).with_max_level_hint(LevelFilter::TRACE);
    let filter = EnvFilter::new(&policy.filter.0).and(shown);
    // A program that embeds us may have set up logging already; it keeps its own.
    let registry = tracing_subscriber::registry().with(events.with_filter(filter)).with(spans);
    let _ = registry.try_init();
    panic::set_hook(Box::new(log_panic));
    Ok(Telemetry { traces, _lines: guard })
}

/// Logs a panic as an event, with the request that it happened in, instead of as plain text between log lines.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    // The text of a panic may quote a caller.
    tracing::error!(place, "panic: {}", caller_text::words(panic.payload_as_str().unwrap_or("no message")));
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
    // The caller decides the trace id, but not whether the trace is recorded.
    Ok(SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOn).with_batch_exporter(exporter).with_resource(resource).build())
}

/// Whether spans are sent.
static TRACING: AtomicBool = AtomicBool::new(false);

/// The span of a request. Its attributes are filled in only if spans are sent.
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

/// Makes the span of a request part of the caller's trace (W3C Trace Context). Does nothing unless spans are sent.
pub(crate) fn continue_trace(span: &Span, headers: &HeaderMap, method: &str, route: &str) {
    if TRACING.load(Relaxed) {
        // A span that is not recorded cannot have a parent, and needs none.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&Headers(headers)));
        span.record("otel.name", format!("{method} {route}"));
        span.record("otel.kind", "server");
        span.record("http.route", route);
    }
}

/// Makes what a request to another server causes there part of the current span (W3C Trace Context). Does nothing unless spans are sent: the
/// caller's headers then pass.
pub(crate) fn pass_on_trace(headers: &mut HeaderMap) {
    if TRACING.load(Relaxed) {
        TraceContextPropagator::new().inject_context(&Span::current().context(), &mut HeadersToSend(headers));
    }
}

/// Adds the outcome of the request to its span.
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
    /// `tracestate` contains the caller's text and is sent with the spans (W3C Trace Context section 3.3).
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok()).filter(|value| !caller_text::holds_secret(value))
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct HeadersToSend<'a>(&'a mut HeaderMap);

impl Injector for HeadersToSend<'_> {
    fn set(&mut self, key: &str, value: String) {
        let Ok(name) = HeaderName::try_from(key) else { return };
        match HeaderValue::try_from(value) {
            Ok(value) if !value.is_empty() => drop(self.0.insert(name, value)),
            // There is no `tracestate`, or one of the caller's that contains a secret.
            _ => drop(self.0.remove(name)),
        }
    }
}
