use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::{
    cli::{
        Operator,
        error::Error,
        output::{rfc3339, say},
        terminal::report,
    },
    clock::Timestamp,
    server::{
        caller_text::printable,
        commands::Keys,
        keys::{self, ExportedKey},
    },
};

/// Print the public keys, for verifiers that cannot fetch them
///
/// Standard error says until when they suffice.
#[derive(Debug, Args)]
pub(in crate::cli) struct Export {
    /// The ids of the keys; without any, all that are published
    #[arg(value_name = "KID", allow_hyphen_values = true)]
    kids: Vec<String>,
    /// The JWK set as the server serves it, or a block of PEM for each key
    #[arg(long, value_enum, default_value_t = Format::Jwks)]
    format: Format,
    /// The file to write; it must not exist yet. Without this, standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Jwks,
    Pem,
}

impl Export {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Error> {
        let now = operator.act.now;
        let export = operator.commands.keys().export(&self.kids, now).await?;
        let text = match self.format {
            Format::Jwks => String::from_utf8_lossy(&export.jwks).into_owned(),
            Format::Pem => export.keys.iter().map(|key| block(key, now)).collect::<Vec<_>>().join("\n\n"),
        };
        match &self.output {
            Some(path) => drop(Keys::write_export(path, format!("{text}\n").as_bytes())?),
            None => say(&text)?,
        }
        report(&note(&export));
        Ok(())
    }
}

/// The block of a key, below lines that explain it (RFC 7468 section 5.2).
fn block(key: &ExportedKey, now: Timestamp) -> String {
    let ExportedKey { row, pem } = key;
    let until = |time: Option<Timestamp>| time.map(|time| format!(" until {}", rfc3339(time))).unwrap_or_default();
    format!(
        "kid: {}\nalg: {}\nstate at {}: {}\nsigns: from {}{}\npublished: from {}{}\n{}",
        row.kid,
        row.algorithm,
        rfc3339(now),
        row.state(now),
        rfc3339(row.activates_at),
        until(row.retires_at),
        rfc3339(row.published_at),
        until(row.expires_at),
        pem.trim_end(),
    )
}

/// What the reader of an export has to know.
fn note(export: &keys::Export) -> String {
    let (count, published) = (export.keys.len(), export.published);
    match export.complete_until {
        _ if count < published => {
            format!("this is {count} of {published} published keys: tokens that the others sign cannot be verified with it")
        }
        _ if !export.damaged.is_empty() => {
            let unreadable = || "one whose id cannot be read".to_owned();
            let kids = export.damaged.iter().map(|kid| kid.as_deref().map_or_else(unreadable, |kid| printable(kid).into_owned()));
            format!(
                "not complete: damaged keys are left out: {}. Servers that had opened them before the damage still publish them and may sign with them, and their successors may sign at any moment: export again when `sealwright key list` shows those",
                kids.collect::<Vec<_>>().join(", ")
            )
        }
        Some(until) => format!(
            "complete until {}: from then on another key may sign, so export again before. A key that is rotated by hand is replaced earlier, two hours after its successor is published at the earliest; one that is lost or compromised, at once. Export again also after `resource update --alg` or `resource create --alg`: an algorithm that was not in use gets a key of its own",
            rfc3339(until)
        ),
        None => {
            "an algorithm in use has no key now, and the next one may sign at any moment: export again when `sealwright key list` shows it"
                .to_owned()
        }
    }
}
