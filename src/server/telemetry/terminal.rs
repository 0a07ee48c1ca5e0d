//! Log lines for a person at a terminal: short, with their parts one below the other. The other formats hold everything; here a line leaves out
//! what repeats its status, and the request id unless the request failed.

use std::fmt::{self, Debug};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use crate::{
    clock::{Clock, SystemClock},
    server::caller_text,
};

/// The width of the column of messages. Longer ones are not cut.
const MESSAGE_WIDTH: usize = 32;

/// Formats events as `03:12:45Z INFO  POST /oauth/token                 200 token.issued client=billing took=1.2ms`. Times are UTC.
#[derive(Debug)]
pub(super) struct TerminalLines;

impl<S, N> FormatEvent<S, N> for TerminalLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (dim, color, end) =
            if writer.has_ansi_escapes() { ("\x1b[2m", color(*event.metadata().level()), "\x1b[0m") } else { ("", "", "") };
        let of_day = SystemClock.now().seconds().rem_euclid(24 * 3600);
        let (hours, minutes, seconds) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        write!(writer, "{dim}{hours:02}:{minutes:02}:{seconds:02}Z{end} {color}{:<5}{end} ", event.metadata().level().as_str())?;
        let mut line = Line::default();
        event.record(&mut line);
        writeln!(writer, "{line}")
    }
}

const fn color(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[34m",
    }
}

/// The parts of a line after its level.
#[derive(Default)]
struct Line {
    message: String,
    status: Option<u64>,
    fields: Vec<(&'static str, String)>,
}

impl Line {
    /// Whether a field says something that neither the message nor the status says.
    fn is_shown(&self, field: &str, value: &str) -> bool {
        match field {
            "outcome" | "at_s" => false,
            "event" => !self.message.starts_with(value),
            "target" => !self.message.ends_with(value),
            "request.id" => self.status.is_none_or(|status| status >= 500),
            // The bridge from the `log` crate adds these.
            _ => !field.starts_with("log."),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = self.fields.iter().filter(|(name, value)| self.is_shown(name, value)).peekable();
        if fields.peek().is_none() && self.status.is_none() {
            return f.write_str(&self.message);
        }
        write!(f, "{:<MESSAGE_WIDTH$}", self.message)?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        for (name, value) in fields {
            match *name {
                "event" => write!(f, " {value}")?,
                "client.id" => write!(f, " client={value}")?,
                "user.id" => write!(f, " user={value}")?,
                name => write!(f, " {name}={value}")?,
            }
        }
        Ok(())
    }
}

impl Visit for Line {
    fn record_i64(&mut self, field: &Field, value: i64) {
        match u64::try_from(value) {
            Ok(value) => self.record_u64(field, value),
            Err(_) => self.fields.push((field.name(), value.to_string())),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "http.status" => self.status = Some(value),
            "duration_us" => self.fields.push(("took", format!("{}.{}ms", value / 1000, value / 100 % 10))),
            name => self.fields.push((name, value.to_string())),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let value = caller_text::printable(value);
        match field.name() {
            "message" => self.message = value.into_owned(),
            name => self.fields.push((name, quoted(&value))),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// The value of a field, in quotation marks if it could be taken for other fields: a caller may have sent it.
fn quoted(value: &str) -> String {
    if value.is_empty() || value.contains([' ', '"', '=', '\\']) {
        format!("\"{}\"", value.replace('\\', r"\\").replace('"', r#"\""#))
    } else {
        value.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_look_like_other_fields() {
        assert_eq!(quoted("billing"), "billing");
        assert_eq!(quoted(r#"x" 200 client="y"#), r#""x\" 200 client=\"y""#);
        assert_eq!(quoted(r"a\"), r#""a\\""#);
        assert_eq!(quoted(""), "\"\"");
    }

    fn line(message: &str, status: Option<u64>, fields: &[(&'static str, &str)]) -> String {
        let fields = fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Line { message: message.to_owned(), status, fields }.to_string()
    }

    #[test]
    fn a_line_of_a_request_shows_status_event_and_client_below_those_of_the_line_above() {
        let request = [("outcome", "ok"), ("event", "token.issued"), ("client.id", "billing"), ("request.id", "7f")];
        assert_eq!(line("POST /oauth/token", Some(200), &request), "POST /oauth/token                200 token.issued client=billing");
        assert_eq!(line("GET /docs", Some(200), &[("outcome", "ok")]), "GET /docs                        200");
        let failed = line("POST /oauth/token", Some(500), &request);
        assert!(failed.ends_with(" 500 token.issued client=billing request.id=7f"), "{failed}");
        assert_eq!(line("stopped", None, &[]), "stopped");
        let change = [("event", "client.create"), ("actor", "uid"), ("target", "billing"), ("at_s", "1"), ("outcome", "ok")];
        assert_eq!(line("client.create billing", None, &change), "client.create billing            actor=uid");
        assert_eq!(line("the database can be read again", None, &[("log.target", "x")]), "the database can be read again");
    }
}
