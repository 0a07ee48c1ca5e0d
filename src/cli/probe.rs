//! `sealwright probe`: attacks the user's own API with hostile tokens, and says what to change.

use std::{
    fmt::{Display, Write},
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use clap::{
    Args,
    builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser},
};
use http::{HeaderName, HeaderValue, Method, header::AUTHORIZATION};
use serde_json::Value;
use url::Url;

use super::{
    SettingFlags,
    error::Error,
    output::{Output, Screen, positive_duration, say, table, warn},
    process::{Stop, stop_signal},
};
use crate::{
    probe::{self, Certificate, Finding, Library, Options, Report, Severity, Unprobed},
    protocol::{Issuer, ScopeToken},
};

/// How many tokens and requests the table and the text name.
const IN_TABLE: usize = 2;
const IN_TEXT: usize = 8;

#[derive(Debug, Args)]
#[command(after_long_help = "Exit codes: 0 nothing to fix, 1 holes or weaknesses, 2 a mistake in the command line, or a file that \
    cannot be written, 3 the API could not be probed, or not in full: for example, it is down, public, redirects, is not configured for the \
    probe's issuer, or limits requests; or the probe cannot answer for the issuer.")]
pub(super) struct Probe {
    /// The URL of a request that needs a token
    #[arg(value_name = "URL")]
    url: Url,
    /// The audience that the API requires
    #[arg(long, value_name = "URI", value_parser = NonEmptyStringValueParser::new())]
    audience: String,
    /// The scope token that the request needs
    #[arg(long, value_name = "SCOPE")]
    scope: Option<ScopeToken>,
    /// A scope token of the API that is not sufficient for the request
    #[arg(long, value_name = "SCOPE", requires = "scope")]
    other_scope: Option<ScopeToken>,
    /// The issuer that the API is configured with; the probe answers in its place
    #[arg(long, value_name = "URL", value_parser = checked::<Issuer>)]
    issuer: String,
    /// Where the probe answers as the issuer, if that is not the address in --issuer
    #[arg(long, value_name = "ADDRESS", value_parser = checked::<SocketAddr>)]
    listen: Option<String>,
    /// A certificate chain with which the probe answers, for an issuer with https
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<String>,
    /// The private key of the certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<String>,
    /// A further path at which the probe serves its keys, for an API that fetches them there
    #[arg(long, value_name = "PATH", value_parser = path)]
    jwks_path: Option<String>,
    /// Publish no keys of other types and algorithms beside those that sign
    #[arg(long)]
    plain_keys: bool,
    /// The method of the request
    #[arg(long, default_value = "GET")]
    method: Method,
    /// A header that the request needs; repeatable
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// The body of the request
    #[arg(long, value_name = "TEXT")]
    body: Option<String>,
    /// The media type of the body
    #[arg(long, value_name = "TYPE", default_value = "application/json")]
    content_type: HeaderValue,
    /// A claim that every token must have for the API, as text or JSON; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = claim)]
    claim: Vec<(String, Value)>,
    /// How long to wait until the API answers and has fetched the keys
    #[arg(long, value_name = "DURATION", default_value = "35s", value_parser = positive_duration)]
    wait: Duration,
    /// How long the API may take for an answer
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = positive_duration)]
    time_limit: Duration,
    /// The most requests per second [default: 500 on this machine, 50 elsewhere]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: Option<u32>,
    /// Probe an API that is not on this machine; only your own
    #[arg(long)]
    this_api_is_mine: bool,
    /// Fail for notes too
    #[arg(long)]
    strict: bool,
    /// Print the line to change in this library
    #[arg(long, value_name = "NAME", value_parser = library())]
    library: Option<Library>,
    /// Write the result as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the result in SARIF 2.1.0
    #[arg(long, value_name = "FILE")]
    sarif: Option<PathBuf>,
    /// The file to which code scanning attaches the results
    #[arg(long, value_name = "FILE", default_value = "README.md", requires = "sarif")]
    sarif_location: String,
    /// Send nothing: print the token of this name as a curl command, and answer as the issuer until Ctrl-C; `list` prints the names
    #[arg(long, value_name = "NAME", conflicts_with_all = ["junit", "sarif"])]
    show: Option<String>,
    #[command(flatten)]
    output: Output,
}

impl Probe {
    pub(super) async fn run(self, _: SettingFlags) -> Result<(), Error> {
        let options = self.options()?;
        if let Some(name) = &self.show {
            let probe = probe::Probe::prepare(options, self.this_api_is_mine).await?;
            return if name == "list" { list(&probe) } else { show(&probe, name).await };
        }
        let name = format!("{} {}", self.method, options.shown_url());
        match self.attack(options).await {
            Ok(report) => self.report(report),
            Err(why) => {
                self.leave_no_old_result(&name, &why)?;
                Err(why.into())
            }
        }
    }

    async fn attack(&self, options: Options) -> Result<Report, Unprobed> {
        let url = options.shown_url();
        let probe = probe::Probe::prepare(options, self.this_api_is_mine).await?;
        let waits = || warn(&format!("waiting for {url}: it does not answer yet, or refuses the probe's token"));
        probe.run(waits).await
    }

    fn options(&self) -> Result<Options, Error> {
        if self.url.host_str().is_none() || !["http", "https"].contains(&self.url.scheme()) {
            return Err(invalid("URL", &"it must begin with http:// or https://"));
        }
        if !self.url.username().is_empty() || self.url.password().is_some() {
            return Err(invalid("URL", &"it must not contain a user name or a password, which every report would show"));
        }
        if self.other_scope.is_some() && self.other_scope == self.scope {
            return Err(invalid("--other-scope", &"it must be another one than --scope"));
        }
        // `serve` has options of these names too, and clap demands one type for all of a name: there they are texts.
        let issuer = self.issuer.parse::<Issuer>().map_err(|error| invalid("--issuer", &error))?;
        let certificate = self.tls_cert.as_ref().zip(self.tls_key.as_ref());
        let certificate = certificate.map(|(chain, key)| Certificate { chain: chain.into(), key: key.into() });
        let listen = match &self.listen {
            Some(address) => address.parse::<SocketAddr>().map_err(|error| invalid("--listen", &error))?,
            None => address_of(&issuer, certificate.is_some())?,
        };
        Ok(Options {
            url: self.url.clone(),
            method: self.method.clone(),
            headers: self.header.clone(),
            body: self.body.clone(),
            content_type: self.content_type.clone(),
            issuer,
            listen,
            certificate,
            jwks_path: self.jwks_path.clone(),
            plain_keys: self.plain_keys,
            audience: self.audience.clone(),
            scope: self.scope.clone(),
            other_scope: self.other_scope.clone(),
            claims: self.claim.clone(),
            wait: self.wait,
            time_limit: self.time_limit,
            rate: self.rate,
        })
    }

    fn report(&self, mut report: Report) -> Result<(), Error> {
        if let Some(library) = self.library {
            report.keep_library(library);
        }
        // Before the files, so that one that cannot be written does not cost the result.
        self.output.print(&report, |report| self.for_people(report))?;
        // Both are tried.
        let (junit, sarif) = (self.write_junit(&report), self.write_sarif(&report));
        let written = junit.and(sarif);
        if report.fails(self.strict) {
            if let Err(error) = written {
                warn(&error.to_string());
            }
            return Err(Error::ProbeFound(verdict(&report)));
        }
        written?;
        match report.limited {
            0 => Ok(()),
            count => Err(Unprobed::Limited { count }.into()),
        }
    }

    fn write_junit(&self, report: &Report) -> Result<(), Error> {
        let Some(file) = &self.junit else { return Ok(()) };
        write(file, &probe::junit(report, self.strict).map_err(|error| unwritten(file, &error))?)
    }

    fn write_sarif(&self, report: &Report) -> Result<(), Error> {
        let Some(file) = &self.sarif else { return Ok(()) };
        // Code scanning closes every alert that is not in the file, so it must not be there unless the run was complete.
        if report.stopped || report.limited > 0 {
            return remove(file);
        }
        write(file, &format!("{:#}\n", probe::sarif(report, &self.sarif_location)))
    }

    /// Writes the files of a run without a result. Those of an earlier run would be taken for its own.
    fn leave_no_old_result(&self, name: &str, why: &Unprobed) -> Result<(), Error> {
        if why.is_of_usage() {
            return Ok(());
        }
        if let Some(file) = &self.junit {
            let text = probe::junit_of_unprobed(name, why);
            write(file, &text.map_err(|error| unwritten(file, &error))?)?;
        }
        self.sarif.as_deref().map_or(Ok(()), remove)
    }

    fn for_people(&self, report: &Report) -> Screen {
        let mut summary = report.summary();
        for open in &report.not_checked {
            // Writing to a String cannot fail.
            let _ = write!(summary, "\nNot checked: {}: {}.", open.what, open.why);
        }
        if report.findings.is_empty() {
            let refused = if report.limited == 0 { "Every hostile token was refused." } else { "Nothing was let through." };
            return Screen::from(format!("{summary}\n{refused}"));
        }
        let rows = report.findings.iter().map(|finding| {
            let severity = finding.severity.to_string();
            [severity, finding.kind.to_string(), format!("it {}", finding.title), finding.shown(IN_TABLE)]
        });
        let details: String = report.findings.iter().map(|finding| format!("\n{}\n", self.details(finding))).collect();
        Screen::from(summary + "\n").above(table(["SEVERITY", "KIND", "THE API", "LET THROUGH"], rows)).above(details)
    }

    /// A finding in full.
    fn details(&self, finding: &Finding) -> String {
        let mut text = format!(
            "{}: {}\n  sent: {}\n  why: {}\n  fix: {}",
            finding.severity,
            finding.kind,
            finding.shown(IN_TEXT),
            finding.why,
            finding.fix
        );
        if self.library.is_some() {
            for line in &finding.lines {
                let _ = write!(text, "\n  {}: {}", line.library, line.line);
            }
        } else if !finding.lines.is_empty() {
            let names: Vec<&str> = finding.lines.iter().map(|line| line.library.name()).collect();
            let _ = write!(text, "\n  the line to change: --library {}", names.join(", "));
        }
        text
    }
}

fn invalid(option: &'static str, why: &dyn Display) -> Error {
    Error::ProbeOption { option, why: why.to_string() }
}

/// What was found, in a sentence.
fn verdict(report: &Report) -> String {
    let counted = |severity, one: &str, many: &str| match report.count(severity) {
        0 => None,
        1 => Some(format!("1 {one}")),
        count => Some(format!("{count} {many}")),
    };
    let counts = [
        counted(Severity::Hole, "hole", "holes"),
        counted(Severity::Weakness, "weakness", "weaknesses"),
        counted(Severity::Note, "note", "notes"),
    ];
    counts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn list(probe: &probe::Probe) -> Result<(), Error> {
    let names: Vec<String> = probe.all_tokens()?.into_iter().map(|shown| shown.name).collect();
    say(&names.join("\n"))
}

async fn show(probe: &probe::Probe, name: &str) -> Result<(), Error> {
    let shown = probe.token_named(name)?;
    let shutdown = stop_signal(&[Stop::Interrupt, Stop::Terminate], || ())?;
    say(&probe.as_command(&shown.token))?;
    shutdown.await;
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<(), Error> {
    fs::write(file, text).map_err(|error| unwritten(file, &error))
}

fn remove(file: &Path) -> Result<(), Error> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritten(file, &error)),
        _ => Ok(()),
    }
}

fn unwritten(file: &Path, why: &dyn Display) -> Error {
    Error::ProbeFile { file: file.to_owned(), why: why.to_string() }
}

/// The address at which the API looks for the issuer.
fn address_of(issuer: &Issuer, has_certificate: bool) -> Result<SocketAddr, Error> {
    let refuse = |why: &str| invalid("--listen", &format_args!("it is needed, because {why}"));
    let url = Url::parse(issuer.as_str()).map_err(|_| refuse("--issuer names no address"))?;
    if url.scheme() == "https" && !has_certificate {
        return Err(refuse(
            "the issuer begins with https://. Configure the API with an issuer such as http://127.0.0.1:9000 for the probe, or give a \
             certificate that the API trusts (--tls-cert, --tls-key), or put what terminates TLS in front and say here where it forwards to",
        ));
    }
    let port = url.port_or_known_default().unwrap_or(80);
    match url.host() {
        Some(url::Host::Ipv4(ip)) if ip.is_loopback() => Ok((ip, port).into()),
        Some(url::Host::Ipv6(ip)) if ip.is_loopback() => Ok((ip, port).into()),
        Some(url::Host::Domain("localhost")) => Ok((Ipv4Addr::LOCALHOST, port).into()),
        _ => Err(refuse("the issuer is not at an address of this machine: say where the probe answers for it, such as 127.0.0.1:9000")),
    }
}

/// The text, if it is one of this type.
fn checked<T: FromStr<Err: Display>>(text: &str) -> Result<String, String> {
    text.parse::<T>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let parsed = text.split_once(':').and_then(|(name, value)| Some((name.trim().parse().ok()?, value.trim().parse().ok()?)));
    match parsed {
        Some((name, _)) if name == AUTHORIZATION => Err("the probe sets Authorization itself".to_owned()),
        Some(header) => Ok(header),
        None => Err("expected NAME: VALUE".to_owned()),
    }
}

fn claim(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| "expected NAME=VALUE".to_owned())?;
    Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| Value::from(value))))
}

fn path(text: &str) -> Result<String, String> {
    if text.starts_with('/') { Ok(text.to_owned()) } else { Err("expected a path that begins with a slash".to_owned()) }
}

fn library() -> impl TypedValueParser<Value = Library> {
    PossibleValuesParser::new(Library::ALL.iter().map(|library| library.name())).try_map(|name| name.parse::<Library>())
}
