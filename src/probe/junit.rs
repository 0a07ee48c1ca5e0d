//! The report as JUnit XML, which CI systems show: one test per kind.

use quick_junit::{NonSuccessKind, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::{
    Report,
    kind::{Kind, Severity},
};

/// How many tokens and requests a failure names.
const SHOWN: usize = 20;

/// The report in the format of JUnit. A note fails its test only if `strict`.
pub(crate) fn junit(report: &Report, strict: bool) -> Result<String, SerializeError> {
    let mut suite = TestSuite::new(format!("{} {}", report.method, report.url));
    for kind in Kind::ALL {
        let mut test = TestCase::new(kind.name(), TestCaseStatus::success());
        test.set_classname("sealwright.probe");
        let mut notes = Vec::new();
        let mut failures = Vec::new();
        for finding in report.findings.iter().filter(|finding| finding.kind == *kind) {
            let lines: String = finding.lines.iter().map(|line| format!("\n{}: {}", line.library, line.line)).collect();
            let text =
                format!("{}: {}\n{}\n{}\n{}{lines}", finding.severity, finding.title, finding.shown(SHOWN), finding.why, finding.fix);
            if strict || finding.severity != Severity::Note { failures.push(text) } else { notes.push(text) }
        }
        if !failures.is_empty() {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_type(kind.name()).set_message(format!("the API {}", kind.title())).set_description(failures.join("\n\n"));
            test.status = status;
        }
        if !notes.is_empty() {
            test.set_system_out(notes.join("\n\n"));
        }
        suite.add_test_case(test);
    }
    let mut document = quick_junit::Report::new("sealwright probe");
    document.add_test_suite(suite);
    document.to_string()
}
