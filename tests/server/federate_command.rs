//! `sealwright federate`.

use serde_json::{Value, json};

use crate::support::{Backend, Finished, TestApp, on_sqlite};

on_sqlite![
    wi3_a_document_to_paste_names_the_issuer_the_audience_and_the_client,
    wi3_a_document_is_printed_only_for_a_client_that_gets_such_tokens_from_an_issuer_that_others_reach,
];

const ISSUER: &str = "https://auth.example/tenant";

fn federate(app: &TestApp, arguments: &[&str]) -> Finished {
    app.run(&[&["federate"], arguments, &["--client", "billing", "--issuer", ISSUER]].concat())
}

fn document(app: &TestApp, arguments: &[&str]) -> (String, String) {
    let finished = federate(app, arguments).succeeded();
    (finished.stdout, finished.stderr.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Resources of these names, at which `billing` is allowed.
fn allow(app: &TestApp, audiences: &[&str]) {
    for audience in audiences {
        app.run(&["resource", "create", audience, "--not-a-uri", "--scope", "assume"]).succeeded();
        app.run(&["client", "update", "billing", "--allow", &format!("{audience}=assume")]).succeeded();
    }
}

async fn wi3_a_document_to_paste_names_the_issuer_the_audience_and_the_client(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    app.client("billing");
    let pool = "projects/42/locations/global/workloadIdentityPools/sealwright";
    let provider = format!("//iam.googleapis.com/{pool}/providers/sealwright");
    allow(&app, &["sts.amazonaws.com", &provider, "api://AzureADTokenExchange", "vault", "kubernetes", "urn:o'brien"]);

    let (aws, steps) = document(&app, &["aws", "--account", "123456789012"]);
    let statement = &serde_json::from_str::<Value>(&aws).unwrap()["Statement"][0];
    assert_eq!(statement["Principal"]["Federated"], "arn:aws:iam::123456789012:oidc-provider/auth.example/tenant");
    let condition = json!({ "auth.example/tenant:aud": "sts.amazonaws.com", "auth.example/tenant:sub": "billing" });
    assert_eq!(statement["Condition"], json!({ "StringEquals": condition }));
    for part in [
        format!("create-open-id-connect-provider --url {ISSUER} --client-id-list sts.amazonaws.com"),
        format!("sealwright token get --issuer {ISSUER} --client billing --resource sts.amazonaws.com"),
    ] {
        assert!(steps.contains(&part), "{part}: {steps}");
    }

    let (azure, _) = document(&app, &["azure"]);
    let expected = json!({
        "name": "sealwright-billing",
        "issuer": ISSUER,
        "subject": "billing",
        "audiences": ["api://AzureADTokenExchange"],
    });
    assert_eq!(serde_json::from_str::<Value>(&azure).unwrap(), expected);

    let account = "billing@example-project.iam.gserviceaccount.com";
    let (gcp, _) = document(&app, &["gcp", "--project", "42", "--service-account", account]);
    for part in [
        "gcloud iam workload-identity-pools create sealwright --project=42 --location=global",
        "create-oidc sealwright --project=42",
        &format!("--issuer-uri={ISSUER} --allowed-audiences={provider}"),
        r"--attribute-condition='assertion.sub == '\''billing'\'''",
        &format!("add-iam-policy-binding {account}"),
        &format!("--member=principal://iam.googleapis.com/{pool}/subject/billing"),
    ] {
        assert!(gcp.contains(part), "{part}: {gcp}");
    }

    let (vault, _) = document(&app, &["vault"]);
    for part in [format!("oidc_discovery_url={ISSUER} bound_issuer={ISSUER}"), "bound_audiences=vault bound_subject=billing".to_owned()] {
        assert!(vault.contains(&part), "{part}: {vault}");
    }
    let (vault, _) = document(&app, &["vault", "--audience", "urn:o'brien"]);
    assert!(vault.contains(r"bound_audiences='urn:o'\''brien'"), "{vault}");

    let (kubernetes, steps) = document(&app, &["kubernetes"]);
    for line in [
        "apiVersion: apiserver.config.k8s.io/v1",
        r#"    url: "https://auth.example/tenant""#,
        r#"    audiences: ["kubernetes"]"#,
        r#"    requiredValue: "billing""#,
        r#"      prefix: "sealwright:""#,
    ] {
        assert!(kubernetes.lines().any(|other| other == line), "{line}: {kubernetes}");
    }
    assert!(steps.contains("--user=sealwright:billing"), "{steps}");
}

async fn wi3_a_document_is_printed_only_for_a_client_that_gets_such_tokens_from_an_issuer_that_others_reach(backend: Backend) {
    let app = TestApp::start(backend).await.with_orders();
    app.client("billing");
    federate(&app, &["vault"]).failed_saying(&[
        "the client billing gets no tokens for vault: there is no such resource",
        "resource create vault --not-a-uri --scope SCOPE",
        "client update billing --allow vault=SCOPE",
    ]);
    federate(&app, &["vault", "--audience", "https://files.example"])
        .failed_saying(&["resource create https://files.example --scope SCOPE"]);
    app.run(&["resource", "create", "vault", "--not-a-uri", "--scope", "sign-in", "--alg", "ES256"]).succeeded();
    federate(&app, &["vault"])
        .failed_saying(&["no tokens for vault: allow it there with `sealwright client update billing --allow vault=SCOPE`"]);
    app.run(&["client", "update", "billing", "--allow", "vault=sign-in"]).succeeded();
    let warned = federate(&app, &["vault"]).succeeded().stderr;
    assert!(warned.contains("signed with ES256: not all clouds accept that"), "{warned}");

    let mistyped = app.run(&["federate", "vault", "--client", "biling", "--issuer", ISSUER]);
    mistyped.failed_saying(&["there is no client biling; did you mean billing?"]);
    app.run(&["federate", "vault", "--client", "billing"]).failed_saying(&["the issuer is missing", "--issuer"]);
    for local in ["http://localhost:8080", "https://127.0.0.1:8443", "https://localhost"] {
        let here = app.run(&["federate", "vault", "--client", "billing", "--issuer", local]);
        here.failed_saying(&[local, "the https URL that others reach"]);
    }
    app.run(&["client", "update", "billing", "--remove-grant", "client_credentials"]).succeeded();
    federate(&app, &["vault"]).failed_saying(&["gets no tokens for itself", "--add-grant client_credentials"]);
    app.run(&["client", "update", "billing", "--add-grant", "client_credentials"]).succeeded();
    app.run(&["client", "disable", "billing"]).succeeded();
    federate(&app, &["vault"]).failed_saying(&["the client billing is disabled"]);
    app.run(&["client", "enable", "billing"]).succeeded();
    app.run(&["resource", "update", "vault", "--alg", "Ed25519"]).succeeded();
    federate(&app, &["vault"]).failed_saying(&["signed with Ed25519, which none of these accepts", "resource update vault --alg RS256"]);
    for audience in ["urn:a,urn:b", "@vault", "-"] {
        federate(&app, &["vault", &format!("--audience={audience}")]).failed_saying(&["would not reach the other side as one value"]);
    }
    allow(&app, &["sts.amazonaws.com"]);
    let with_port = ["federate", "aws", "--account", "123456789012", "--client", "billing", "--issuer", "https://auth.example:8443"];
    app.run(&with_port).failed_saying(&["AWS accepts no issuer with a port"]);
    for wrong in [&["aws", "--account", "12"][..], &["aws"], &["gcp", "--project", "my-project", "--service-account", "a@b"]] {
        assert_eq!(federate(&app, wrong).status.code(), Some(2), "{wrong:?}");
    }
}
