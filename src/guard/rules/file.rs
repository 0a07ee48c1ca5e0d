//! The rule file.

use std::{fs::File, io::Read, path::Path};

use toml::de::DeTable;

use super::{
    RuleFileError, Rules, TrustedIssuer,
    rule::Rule,
    table::{Lines, Table},
};

const MAX_LEN: usize = 1024 * 1024;
/// Every two rules are compared, so the time grows with the square.
const MAX_RULES: usize = 2000;
const MAX_ISSUERS: usize = 64;

const KEYS: [&str; 2] = ["issuer", "rule"];

/// The content of a rule file.
#[derive(Debug, Clone)]
pub(crate) struct RuleFile {
    /// Empty only if no rule needs a token.
    pub(crate) issuers: Vec<TrustedIssuer>,
    pub(crate) rules: Rules,
}

impl RuleFile {
    /// Reads a file of at most 1 MiB.
    pub(crate) fn read(path: &Path) -> Result<Self, RuleFileError> {
        let refuse = |why: String| RuleFileError::whole(why).in_file(path);
        let mut bytes = Vec::new();
        // One byte more than the maximum is enough to detect a file that is too large.
        let read = File::open(path).and_then(|file| file.take(MAX_LEN as u64 + 1).read_to_end(&mut bytes));
        read.map_err(|error| refuse(format!("it cannot be read: {error}")))?;
        if bytes.len() > MAX_LEN {
            return Err(refuse("it is larger than 1 MiB".to_owned()));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Self::parse(&text).map_err(|error| error.in_file(path)),
            Err(error) => {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
                Err(RuleFileError::at(line, "it is not UTF-8").in_file(path))
            }
        }
    }

    /// Parses the text of a file. Refuses what is unknown, and rules that cannot decide a request, or by which it would be unclear what one needs.
    pub(crate) fn parse(text: &str) -> Result<Self, RuleFileError> {
        let lines = Lines::of(text);
        let document = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |span| lines.line(span.start));
            RuleFileError::at(line, format!("this is not TOML: {}", error.message()))
        })?;
        let file = Table::new(document.get_ref(), &lines, 1);
        file.require_known("the file", &KEYS)?;
        let issuers = issuers(file.tables("issuer")?)?;
        let rules = file.tables("rule")?;
        if rules.is_empty() {
            return Err(RuleFileError::whole("there is no [[rule]], so every request would be denied"));
        }
        if let Some(beyond) = rules.get(MAX_RULES) {
            return Err(RuleFileError::at(
                beyond.line,
                format!("there are more than {MAX_RULES} rules: use names and rests in their paths, or a guard for each part of the API"),
            ));
        }
        let rules = rules.into_iter().map(Rule::read).collect::<Result<Vec<_>, _>>()?;
        check_together(&issuers, &rules)?;
        Ok(Self { issuers, rules: Rules::new(rules)? })
    }
}

fn issuers(tables: Vec<Table<'_>>) -> Result<Vec<TrustedIssuer>, RuleFileError> {
    let mut issuers: Vec<TrustedIssuer> = Vec::new();
    for table in tables {
        if issuers.len() == MAX_ISSUERS {
            return Err(RuleFileError::at(table.line, format!("there are more than {MAX_ISSUERS} issuers")));
        }
        let issuer = TrustedIssuer::read(table)?;
        if let Some(other) = issuers.iter().find(|other| other.issuer == issuer.issuer) {
            let reason = format!("the issuer {} is at line {} too: an issuer has one audience here", issuer.issuer, other.line);
            return Err(RuleFileError::at(issuer.line, reason));
        }
        issuers.push(issuer);
    }
    Ok(issuers)
}

fn check_together(issuers: &[TrustedIssuer], rules: &[Rule]) -> Result<(), RuleFileError> {
    if issuers.is_empty()
        && let Some(rule) = rules.iter().find(|rule| rule.needs_token())
    {
        return Err(RuleFileError::at(rule.line, "this rule needs a token, and there is no [[issuer]] whose tokens are accepted"));
    }
    // A subject is unique only within its issuer (RFC 7519 section 4.1.2): one issuer's user could have the subject of another's.
    if issuers.len() > 1
        && let Some(rule) = rules.iter().find(|rule| rule.has_owner())
    {
        let reason = "a rule cannot name an owner where there are several issuers, because a subject is unique only within its issuer: compare both in the API";
        return Err(RuleFileError::at(rule.line, reason));
    }
    Ok(())
}
