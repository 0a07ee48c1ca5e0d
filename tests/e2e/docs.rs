//! The API's page under `sealwright demo`, in a real browser: a newcomer gets a first token, by the keyboard alone if need be.

#[expect(dead_code, reason = "shared with the other stories")]
mod page;
#[expect(dead_code, reason = "shared with the other stories")]
mod world;

use std::{env, process::Command};

use page::Seen;
use tempfile::TempDir;
use world::{Process, program};

struct Demo {
    process: Process,
    origin: String,
    folder: TempDir,
}

impl Demo {
    fn start() -> Self {
        let mut demo = Command::new(program("sealwright"));
        let process = Process::start(demo.args(["demo", "--listen", "127.0.0.1:0"]), "Ctrl-C ends the demo");
        let origin = process.line("issues tokens at ").unwrap().replace("Sealwright issues tokens at ", "");
        Self { process, origin, folder: TempDir::new().unwrap() }
    }

    async fn open(&self, width: i64) -> Seen {
        let seen = Seen::open(&self.origin, &self.folder.path().join(width.to_string())).await;
        seen.wide(width).await;
        seen.goto("/docs").await;
        // Swagger UI has read the description.
        seen.says("/oauth/token").await;
        seen
    }
}

#[tokio::test]
async fn a_newcomer_presses_one_button_and_sees_a_token_and_that_it_is_genuine() {
    let demo = Demo::start();
    let seen = demo.open(1200).await;
    seen.picture("docs", 1200).await;
    seen.no_faults_but(&[]);
    seen.click("#first-form button").await;
    seen.says("Genuine: made by the key").await;
    let claims: serde_json::Value = serde_json::from_str(&seen.text_of("#token-claims").await).unwrap();
    assert_eq!((&claims["sub"], &claims["aud"]), (&"billing".into(), &"https://orders.example".into()));
    let header: serde_json::Value = serde_json::from_str(&seen.text_of("#token-header").await).unwrap();
    assert_eq!(header["typ"], "at+jwt");
    assert_eq!(seen.text_of("#token-text").await.split('.').count(), 3);
    seen.evaluate("scrollTo(0, 0)").await;
    seen.picture("docs-token", 1200).await;
    seen.picture("docs-token", 390).await;
    seen.wide(1200).await;

    // A user's token, by the same button.
    seen.click("input[value=password]").await;
    seen.click("#first-form button").await;
    seen.says("auth_time").await;
    seen.says("Genuine: made by the key").await;
    seen.no_faults_but(&[]);

    // What is wrong is said in the server's own words.
    seen.type_into("#client-secret", "sw_wrong").await;
    seen.click("#first-form button").await;
    seen.says("401 invalid_client: The client could not be authenticated.").await;
    seen.no_faults_but(&["status of 401"]);

    // A signature of somebody else's is not called genuine.
    let forged = "(async () => { const parts = document.querySelector('#token-text').textContent.split('.');
        const header = JSON.parse(document.querySelector('#token-header').textContent);
        parts[1] = btoa(JSON.stringify({ sub: 'admin' })).replace(/=+$/, '');
        return (await checkSignature(header, parts))[0] })()";
    assert_eq!(seen.evaluate(forged).await, false);
    seen.close().await;
    assert!(!demo.process.said().contains("eyJ"), "no token in the log");
}

#[tokio::test]
async fn swagger_ui_tries_a_request_against_the_server_itself() {
    let demo = Demo::start();
    let seen = demo.open(1200).await;
    let token = ".opblock-post[id$='Token'], .opblock-post";
    seen.click(&format!("{} .opblock-summary-control", token.split(", ").last().unwrap())).await;
    seen.says("Execute").await;
    seen.evaluate("document.querySelector('.opblock-post').scrollIntoView()").await;
    seen.picture("docs-operation", 1200).await;
    seen.picture("docs-operation", 390).await;
    seen.wide(1200).await;
    seen.evaluate("document.querySelector('.opblock-post .execute').scrollIntoView({ block: 'center' })").await;
    seen.click(".opblock-post .execute").await;
    seen.says("access_token\": \"eyJ").await;
    seen.no_faults_but(&[]);
    seen.close().await;
}

#[tokio::test]
async fn everybody_can_use_it_by_tab_and_enter_and_on_a_phone() {
    let demo = Demo::start();
    for width in [1200, 390] {
        let seen = demo.open(width).await;
        // Opened as far as it opens.
        seen.evaluate("document.querySelectorAll('.opblock-summary-control[aria-expanded=false]').forEach(each => each.click())").await;
        seen.click("#first-form button").await;
        seen.says("Genuine: made by the key").await;
        seen.picture("docs-open", width).await;
        let unreached = unreached_by_tab(&seen).await;
        assert!(unreached.is_empty(), "at {width} px Tab never comes to: {unreached:#?}");
        let findings = findings_of_axe(&seen).await;
        assert!(findings.is_empty(), "at {width} px: {findings:#?}");
        seen.no_faults_but(&[]);
        seen.close().await;
    }
    // The keyboard alone: to the button by Tab, and Enter.
    let seen = demo.open(390).await;
    for _ in 0..20 {
        seen.press("Tab").await;
        if seen.evaluate("document.activeElement.textContent").await == "Get a token" {
            seen.press("Enter").await;
            break;
        }
    }
    seen.says("Genuine: made by the key").await;
    seen.close().await;
}

/// The controls that can be seen and that Tab does not come to. Of the choices of one group, it comes to one.
async fn unreached_by_tab(seen: &Seen) -> Vec<String> {
    let controls = "window.controls = [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex=\"0\"]')]
        .filter(each => each.checkVisibility({ visibilityProperty: true }) && !each.disabled && each.tabIndex >= 0)
        .filter(each => each.type !== 'radio' || each.checked);
        window.reached = new Set(); document.activeElement.blur(); window.scrollTo(0, 0); window.controls.length";
    let count = seen.evaluate(controls).await.as_u64().unwrap();
    assert!(count > 20, "{count}");
    for _ in 0..count * 2 + 20 {
        seen.press("Tab").await;
        if seen.evaluate("window.reached.add(document.activeElement); window.controls.every(each => window.reached.has(each))").await
            == true
        {
            break;
        }
    }
    let left = "window.controls.filter(each => !window.reached.has(each)).map(each => each.outerHTML.slice(0, 200))";
    serde_json::from_value(seen.evaluate(left).await).unwrap()
}

/// What axe-core calls serious or critical.
async fn findings_of_axe(seen: &Seen) -> Vec<String> {
    let axe = std::fs::read_to_string(env::var_os("E2E_AXE").expect("tests/e2e/run says where axe-core is")).unwrap();
    seen.evaluate(&format!("{axe}; 0")).await;
    let run = "axe.run(document, { resultTypes: ['violations'] }).then(result => result.violations
        .filter(each => ['serious', 'critical'].includes(each.impact))
        .flatMap(each => each.nodes.map(node => each.id + ': ' + node.target.join(' ') + ': ' + node.html.slice(0, 160) + ' ' + (node.any[0]?.message ?? ''))))";
    serde_json::from_value(seen.evaluate(run).await).unwrap()
}
