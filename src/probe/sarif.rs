//! The report in SARIF 2.1.0 (OASIS), which code scanning services read.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{Finding, Report, kind::Severity};

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// How many tokens and requests a result names.
const SHOWN: usize = 20;
/// What is encoded in a path, because SARIF requires a URI: `src/my api.js` is not one.
const NOT_IN_PATHS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_').remove(b'~').remove(b'@');

/// The report. A service that shows results needs a file for each: `file` is where tokens are checked.
pub(crate) fn sarif(report: &Report, file: &str) -> Value {
    let rules: Vec<Value> = report.findings.iter().map(rule).collect();
    let results: Vec<Value> = report.findings.iter().map(|finding| result(report, finding, file)).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "sealwright probe",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "results": results,
            "invocations": [{ "executionSuccessful": !report.stopped && report.limited == 0 }],
        }],
    })
}

/// The id of the rule: a kind can have a hole and a note.
fn id(finding: &Finding) -> String {
    format!("{}-{}", finding.kind, finding.severity)
}

fn rule(finding: &Finding) -> Value {
    let lines: String = finding.lines.iter().map(|line| format!("\n\n{}: {}", line.library, line.line)).collect();
    // The scale of GitHub: from 9 critical, from 7 high, from 4 medium.
    let security_severity = match finding.severity {
        Severity::Hole => "9.5",
        Severity::Weakness => "5.5",
        Severity::Note => "1.0",
    };
    json!({
        "id": id(finding),
        "shortDescription": { "text": format!("The API {}", finding.title) },
        "fullDescription": { "text": finding.why },
        "help": { "text": format!("{}{lines}", finding.fix) },
        "defaultConfiguration": { "level": level(finding.severity) },
        "properties": { "tags": ["security"], "security-severity": security_severity },
    })
}

fn result(report: &Report, finding: &Finding, file: &str) -> Value {
    let text = format!("{} {}: the API {}: {}. {}", report.method, report.url, finding.title, finding.shown(SHOWN), finding.fix);
    json!({
        "ruleId": id(finding),
        "level": level(finding.severity),
        "message": { "text": text },
        "locations": [{ "physicalLocation": {
            "artifactLocation": { "uri": utf8_percent_encode(file, NOT_IN_PATHS).to_string() },
            "region": { "startLine": 1 },
        } }],
        "partialFingerprints": { "sealwrightProbe/v1": format!("{} {} {}", report.method, report.url, id(finding)) },
    })
}

const fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Hole => "error",
        Severity::Weakness => "warning",
        Severity::Note => "note",
    }
}
