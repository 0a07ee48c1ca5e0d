//! `sealwright token verify` makes the checks of an API, and says when it could not make one.

use std::process::Output;

use sealwright::verifier::testing::{Behavior, Issuer};
use serde_json::Value;

use crate::support::AUDIENCE;

async fn verify(issuer: &Issuer, token: &str) -> (Output, Value) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_sealwright"));
    command.current_dir(folder.path()).args(["token", "verify", token, "--issuer", issuer.url(), "--audience", AUDIENCE, "--json"]);
    let output = command.output().await.unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap();
    (output, report)
}

#[tokio::test]
async fn sl4_a_token_whose_status_list_cannot_be_fetched_is_not_called_valid() {
    let issuer = Issuer::start().await.unwrap();
    let token = issuer.token(AUDIENCE).revocable().sign().unwrap();
    let (output, report) = verify(&issuer, &token).await;
    assert!(output.status.success() && report["verified"] == true, "{report}");

    issuer.answer_status_list(Behavior::Status(503));
    let (output, report) = verify(&issuer, &token).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("could not be verified"), "{said}");
    assert_eq!((&report["verified"], &report["reason"]), (&false.into(), &"status_unavailable".into()));

    issuer.answer_status_list(Behavior::Normal);
    issuer.revoke(&token).unwrap();
    let (_, report) = verify(&issuer, &token).await;
    assert_eq!(report["reason"], "revoked");
}
