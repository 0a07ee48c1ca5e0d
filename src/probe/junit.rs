//! The report as JUnit XML, which CI systems show: one test per kind.

use std::time::Duration;

use quick_junit::{NonSuccessKind, SerializeError, TestCase, TestCaseStatus, TestSuite};

use super::{
    Report,
    kind::{Kind, Severity},
    unprobed::Unprobed,
};

/// How many tokens and requests a failure names.
const SHOWN: usize = 20;
const CLASS: &str = "sealwright.probe";

/// The report in the format of JUnit. A note fails its test only if `strict`.
pub(crate) fn junit(report: &Report, strict: bool) -> Result<String, SerializeError> {
    let mut suite = TestSuite::new(format!("{} {}", report.method, report.url));
    suite.set_time(Duration::from_secs_f64(report.seconds));
    for kind in Kind::ALL {
        let mut test = TestCase::new(kind.name(), TestCaseStatus::success());
        test.set_classname(CLASS);
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
        } else if let Some(doubt) = report.doubt(*kind) {
            // A test that passes would say that the API was asked.
            let mut status = TestCaseStatus::skipped();
            status.set_message(doubt);
            test.status = status;
        }
        if !notes.is_empty() {
            test.set_system_out(notes.join("\n\n"));
        }
        suite.add_test_case(test);
    }
    document(suite)
}

/// The same of an API that could not be probed: a CI system that finds no file, or that of an earlier run, would show the wrong thing.
pub(crate) fn junit_of_unprobed(request: &str, why: &Unprobed) -> Result<String, SerializeError> {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_type("unprobed").set_message("the API could not be probed").set_description(why.to_string());
    let mut test = TestCase::new("unprobed", status);
    test.set_classname(CLASS);
    let mut suite = TestSuite::new(request);
    suite.add_test_case(test);
    document(suite)
}

fn document(suite: TestSuite) -> Result<String, SerializeError> {
    let mut document = quick_junit::Report::new("sealwright probe");
    document.add_test_suite(suite);
    document.to_string()
}
