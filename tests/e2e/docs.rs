//! The API page of `sealwright demo` in a real browser: a newcomer gets a first token, also with the keyboard alone.

use std::{env, process::Command};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    page::Seen,
    world::{Process, free_port, program},
};

pub(crate) struct Demo {
    process: Process,
    pub(crate) origin: String,
    folder: TempDir,
}

impl Demo {
    pub(crate) fn start() -> Self {
        Self::start_at(0)
    }

    fn start_at(port: u16) -> Self {
        let folder = TempDir::new().unwrap();
        // The process is killed, so the files that it would delete at its end are deleted with the folder.
        let mut demo = Command::new(program("sealwright"));
        let process = Process::start(
            demo.env("TMPDIR", folder.path()).args(["demo", "--listen", &format!("127.0.0.1:{port}")]),
            "Ctrl-C ends the demo",
        );
        let origin = process.line("issues tokens at ").unwrap().replace("Sealwright issues tokens at ", "");
        Self { process, origin, folder }
    }

    pub(crate) async fn open(&self, width: i64) -> Seen {
        let seen = Seen::open(&self.origin, &self.folder.path().join(width.to_string())).await;
        seen.wide(width).await;
        seen.intercept().await;
        read(&seen).await;
        seen
    }
}

pub(crate) async fn read(seen: &Seen) {
    seen.goto("/docs").await;
    // Swagger UI has loaded the description.
    seen.says("/oauth/token").await;
}

/// The claims of the token that the page shows.
async fn claims(seen: &Seen) -> Value {
    serde_json::from_str(&seen.text_of("#token-claims").await).unwrap()
}

/// What Swagger UI shows of the last answer to `POST /oauth/token`.
const ANSWER: &str = "[id$=issueToken] .live-responses-table .response";

#[tokio::test]
async fn a_newcomer_presses_one_button_and_sees_a_verified_token() {
    let demo = Demo::start();
    let seen = demo.open(1200).await;
    seen.picture("docs", 1200).await;
    seen.no_faults_but(&[]);
    seen.click("#first-form button").await;
    seen.says("Genuine: made by the published key").await;
    let claims = claims(&seen).await;
    assert_eq!((&claims["sub"], &claims["aud"]), (&"billing".into(), &"https://orders.example".into()));
    let header: Value = serde_json::from_str(&seen.text_of("#token-header").await).unwrap();
    assert_eq!(header["typ"], "at+jwt");
    assert_eq!(seen.text_of("#token-text").await.split('.').count(), 3);
    seen.evaluate("scrollTo(0, 0)").await;
    seen.picture("docs-token", 1200).await;
    seen.picture("docs-token", 600).await;
    seen.picture("docs-token", 390).await;
    seen.wide(1200).await;

    // The same button gets a token for a user.
    seen.click("input[value=password]").await;
    seen.click("#first-form button").await;
    seen.says("auth_time").await;
    seen.says("Genuine: made by the published key").await;
    seen.no_faults_but(&[]);

    // The page shows the error text of the server.
    seen.type_into("#client-secret", "sw_wrong").await;
    seen.click("#first-form button").await;
    seen.says("401 invalid_client: The client could not be authenticated.").await;
    seen.no_faults_but(&["status of 401"]);

    // A signature by another key is not reported as valid.
    let forged = "(async () => { const parts = document.querySelector('#token-text').textContent.split('.');
        const header = JSON.parse(document.querySelector('#token-header').textContent);
        const { checkSignature } = await import('/docs/first-token.js');
        parts[1] = btoa(JSON.stringify({ sub: 'admin' })).replace(/=+$/, '');
        return (await checkSignature(header, parts))[0] })()";
    assert_eq!(seen.evaluate(forged).await, false);
    seen.close().await;
    assert!(!demo.process.said().contains("eyJ"), "no token in the log");
}

#[tokio::test]
async fn swagger_ui_tries_requests_against_the_server_itself() {
    let demo = Demo::start();
    let seen = demo.open(1200).await;
    seen.click("[id$=issueToken] .opblock-summary-control").await;
    seen.says("Execute").await;
    for width in [1200, 600, 390] {
        seen.wide(width).await;
        seen.evaluate("document.querySelector('[id$=issueToken]').scrollIntoView()").await;
        seen.picture("docs-operation", width).await;
    }
    seen.wide(1200).await;
    execute(&seen, "issueToken", "access_token\": \"eyJ").await;

    // Without a login there is no refresh token, and no example value is sent instead.
    seen.choose("[id$=issueToken] [data-property-name=grant_type] select", "refresh_token").await;
    execute(&seen, "issueToken", "The parameter refresh_token is missing.").await;
    seen.no_faults_but(&["status of 400"]);

    // A user signs in, refreshes with the token that the page now holds, and signs out with it.
    seen.choose("[id$=issueToken] [data-property-name=grant_type] select", "password").await;
    execute(&seen, "issueToken", "refresh_token").await;
    let first = seen.text_of(ANSWER).await;
    seen.choose("[id$=issueToken] [data-property-name=grant_type] select", "refresh_token").await;
    execute(&seen, "issueToken", "access_token").await;
    let second = seen.text_of(ANSWER).await;
    assert!(second.contains("refresh_token") && first != second, "{second}");
    seen.no_faults_but(&[]);
    seen.click("[id$=revokeToken] .opblock-summary-control").await;
    execute(&seen, "revokeToken", "200").await;
    execute(&seen, "issueToken", "The refresh token is invalid or has expired.").await;
    seen.no_faults_but(&["status of 400"]);

    // What a person types is sent: a secret in the form in addition to that of Authorize is refused.
    seen.type_into("[id$=issueToken] [data-property-name=client_secret] input", "sw_typed").await;
    execute(&seen, "issueToken", "The client authenticates both in the header and in the body. Use one of them.").await;
    seen.no_faults_but(&["status of 400"]);
    seen.close().await;
}

/// Presses the button of the operation, and waits until its answer contains `text`.
async fn execute(seen: &Seen, operation: &str, text: &str) {
    let clear = format!("document.querySelector('[id$={operation}] .btn-clear')?.click()");
    seen.evaluate(&clear).await;
    seen.evaluate(&format!("document.querySelector('[id$={operation}] .execute').scrollIntoView({{ block: 'center' }})")).await;
    seen.click(&format!("[id$={operation}] .execute")).await;
    seen.shows(&format!("[id$={operation}] .live-responses-table .response"), text).await;
}

#[tokio::test]
async fn every_link_of_the_contents_scrolls_to_its_section_and_moves_the_focus() {
    let demo = Demo::start();
    let seen = demo.open(390).await;
    let links = seen.evaluate("[...document.querySelectorAll('#contents a')].map(each => each.getAttribute('href'))").await;
    let links: Vec<String> = serde_json::from_value(links).unwrap();
    assert!(links.len() > 8, "{links:?}");
    for link in &links {
        seen.evaluate("scrollTo(0, 0); document.activeElement.blur()").await;
        seen.tab_to(&format!("#contents a[href='{link}']")).await;
        seen.press("Enter").await;
        seen.becomes(&format!("location.hash === '{link}' && {}", in_sight(link))).await;
        seen.press("Tab").await;
        let further =
            format!("document.querySelector('{link}').compareDocumentPosition(document.activeElement) & Node.DOCUMENT_POSITION_FOLLOWING");
        assert_ne!(seen.evaluate(&further).await, 0, "{link}: Tab continues from there");
    }
    // The URL of a section can be shared.
    seen.leave().await;
    seen.goto(&format!("/docs{}", links.last().unwrap())).await;
    seen.becomes(&in_sight(links.last().unwrap())).await;
    seen.no_faults_but(&[]);
    seen.close().await;
}

/// Whether this section is visible, as far up as the end of the page allows.
fn in_sight(place: &str) -> String {
    format!("((top) => top > -2 && top < innerHeight)(document.querySelector('{place}')?.getBoundingClientRect().top)")
}

#[tokio::test]
async fn credentials_are_entered_by_keyboard_in_a_dialog_that_keeps_the_focus() {
    let demo = Demo::start();
    for width in [1200, 390] {
        let seen = demo.open(width).await;
        let in_dialog = "!!document.activeElement.closest('dialog')";
        seen.tab_to(".btn.authorize").await;
        seen.press("Enter").await;
        seen.says("Available authorizations").await;
        assert_eq!(seen.evaluate(in_dialog).await, true, "the focus moves into the dialog");
        seen.press("Escape").await;
        seen.becomes("!document.querySelector('dialog')").await;
        assert_eq!(seen.evaluate("document.activeElement.matches('.btn.authorize')").await, true, "the focus returns");

        seen.press("Enter").await;
        seen.says("Logout").await;
        seen.picture("docs-authorized", width).await;
        assert_eq!(findings_of_axe(&seen).await, Vec::<String>::new());
        seen.tab_to("dialog .auth.button").await;
        seen.press("Enter").await;
        seen.shows("dialog .authorize", "Authorize").await;
        seen.picture("docs-authorize", width).await;
        assert_eq!(findings_of_axe(&seen).await, Vec::<String>::new());
        // Nothing behind the dialog can be reached: Tab wraps from its end to its beginning.
        for _ in 0..12 {
            seen.press("Tab").await;
            assert_eq!(seen.evaluate(&format!("document.activeElement === document.body || {in_dialog}")).await, true);
        }
        seen.tab_to("#auth-basic-username").await;
        seen.type_text("billing").await;
        seen.tab_to("#auth-basic-password").await;
        seen.type_text("sw_wrong").await;
        seen.press("Enter").await;
        seen.says("Logout").await;
        seen.becomes("document.activeElement.matches('dialog .auth.button')").await;
        seen.press("Escape").await;

        // The credentials of the dialog are sent, and the browser does not ask for a password itself.
        seen.tab_to("[id$=issueToken] .opblock-summary-control").await;
        seen.press("Enter").await;
        // The form is shown, with the values that the button sends.
        seen.becomes("!!document.querySelector('[id$=issueToken] [data-property-name=grant_type] select')").await;
        seen.tab_to("[id$=issueToken] .execute").await;
        seen.press("Enter").await;
        seen.shows(ANSWER, "invalid_client").await;
        // The button can be pressed again.
        seen.becomes("document.activeElement.matches('.execute')").await;
        seen.tab_to("[id$=issueToken] .btn-clear").await;
        seen.press("Enter").await;
        seen.becomes("document.activeElement.matches('.execute') && !document.querySelector('.btn-clear')").await;
        seen.no_faults_but(&["status of 401"]);

        // A phone in landscape has no Escape key.
        seen.sized(320, 256).await;
        seen.evaluate("document.querySelector('.btn.authorize').click()").await;
        seen.shows("dialog", "Logout").await;
        for button in [".close-modal", ".btn-done"] {
            let shown = format!(
                "(each => {{ each.scrollIntoView(); const {{ top, bottom }} = each.getBoundingClientRect(); return top >= 0 && bottom <= innerHeight }})(document.querySelector('dialog {button}'))"
            );
            assert_eq!(seen.evaluate(&shown).await, true, "{button} can be scrolled to");
        }
        seen.close().await;
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_from_the_server_is_reported() {
    let demo = Demo::start();
    let seen = demo.open(390).await;
    let faults = ["status of 5", "Failed to load"];
    seen.instead(Some(("/oauth/token", 502, "<html>Bad gateway</html>")));
    seen.click("#first-form button").await;
    seen.shows("#outcome", "502, which is not an answer of the token endpoint").await;
    seen.instead(Some(("/oauth/token", 200, r#"{"access_token":"opaque","expires_in":60}"#)));
    seen.click("#first-form button").await;
    seen.shows("#outcome", "200, which is not an answer of the token endpoint").await;
    seen.instead(Some(("/.well-known/jwks.json", 503, "{}")));
    seen.click("#first-form button").await;
    seen.shows("#token-signature", "Not checked: the published keys are not available (503).").await;
    seen.shows("#outcome", "A token for orders:read").await;
    seen.instead(None);
    seen.click("#first-form button").await;
    seen.shows("#token-signature", "Genuine").await;
    seen.no_faults_but(&faults);
    // Swagger UI shows the answer.
    seen.click("[id$=issueToken] .opblock-summary-control").await;
    seen.shows("[id$=issueToken] [data-property-name=grant_type]", "refresh_token").await;
    seen.instead(Some(("/oauth/token", 200, "<html>Sign in to this network</html>")));
    execute(&seen, "issueToken", "Sign in to this network").await;
    seen.instead(Some(("/openapi.json", 503, "")));
    seen.goto("/docs").await;
    seen.says("The description cannot be shown: the server answered 503.").await;
    seen.evaluate("document.querySelector('#reference').scrollIntoView()").await;
    seen.picture("docs-without-description", 390).await;
    seen.no_faults_but(&faults);
    seen.close().await;
}

#[tokio::test]
async fn a_token_of_another_demo_at_the_same_address_is_not_checked_with_the_keys_of_the_first() {
    let port = free_port();
    let first = Demo::start_at(port);
    let seen = first.open(1200).await;
    seen.click("#first-form button").await;
    seen.says("Genuine: made by the published key").await;
    let before = claims(&seen).await;
    let Demo { process, folder: _kept, .. } = first;
    drop(process);
    let _second = Demo::start_at(port);
    read(&seen).await;
    seen.click("#first-form button").await;
    seen.says("Genuine: made by the published key").await;
    assert_ne!(before["jti"], claims(&seen).await["jti"]);
    seen.no_faults_but(&[]);
    seen.close().await;
}

#[tokio::test]
async fn the_page_can_be_used_with_tab_and_enter_and_on_a_phone() {
    let demo = Demo::start();
    for width in [1200, 390] {
        let seen = demo.open(width).await;
        // With all sections open.
        seen.evaluate("document.querySelectorAll('.opblock-summary-control[aria-expanded=false]').forEach(each => each.click())").await;
        seen.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)").await;
        seen.click("#first-form button").await;
        seen.says("Genuine: made by the published key").await;
        seen.evaluate("document.querySelectorAll('.execute').forEach(each => each.click())").await;
        seen.shows(ANSWER, "access_token").await;
        seen.evaluate("document.querySelectorAll('button[data-name=model]').forEach(each => each.click())").await;
        seen.becomes("!!document.querySelector('.json-schema-2020-12-expand-deep-button')").await;
        seen.evaluate("document.querySelectorAll('.json-schema-2020-12-expand-deep-button').forEach(each => each.click())").await;
        seen.picture("docs-open", width).await;
        let deaf = deaf_to_keys(&seen).await;
        assert!(deaf.is_empty(), "at {width} px, these react to clicks but not to keys: {deaf:#?}");
        let unreached = unreached_by_tab(&seen).await;
        assert!(unreached.is_empty(), "at {width} px, Tab never reaches: {unreached:#?}");
        let findings = findings_of_axe(&seen).await;
        assert!(findings.is_empty(), "at {width} px: {findings:#?}");
        // There is no token to revoke yet, and no status list with the id of the example.
        seen.no_faults_but(&["status of 400", "status of 404"]);
        seen.close().await;
    }
    // With the keyboard alone: Tab to the button, then Enter.
    let seen = demo.open(390).await;
    for _ in 0..20 {
        seen.press("Tab").await;
        if seen.evaluate("document.activeElement.textContent").await == "Get a token" {
            seen.press("Enter").await;
            break;
        }
    }
    seen.says("Genuine: made by the published key").await;
    seen.close().await;
}

/// Elements that react to clicks without being a control, a part of one, or the container of one that does the same.
async fn deaf_to_keys(seen: &Seen) -> Vec<String> {
    let listeners = "(() => { const controls = 'a[href], button, input, select, textarea, summary';
        const clicked = each => Object.entries(each).some(([name, props]) => name.startsWith('__reactProps$') && props?.onClick);
        const all = [...document.querySelectorAll('#swagger-ui *')].filter(each => each.checkVisibility() && clicked(each));
        window.clicked = all.length;
        return all.filter(each => !each.closest(controls) && !each.querySelector(controls))
            // The only tab: selecting it changes nothing.
            .filter(each => !each.matches('.opblock-section-header .tab-item:only-child'))
            .map(each => each.outerHTML.slice(0, 200)) })()";
    let deaf = serde_json::from_value(seen.evaluate(listeners).await).unwrap();
    assert!(seen.evaluate("window.clicked").await.as_u64().unwrap() > 20);
    deaf
}

/// The visible controls that Tab does not reach. Of the choices of one group, it reaches one.
pub(crate) async fn unreached_by_tab(seen: &Seen) -> Vec<String> {
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

/// The serious and critical findings of axe-core.
pub(crate) async fn findings_of_axe(seen: &Seen) -> Vec<String> {
    let axe = std::fs::read_to_string(env::var_os("E2E_AXE").expect("tests/e2e/run says where axe-core is")).unwrap();
    seen.evaluate(&format!("{axe}; 0")).await;
    let run = "axe.run(document, { resultTypes: ['violations'] }).then(result => result.violations
        .filter(each => ['serious', 'critical'].includes(each.impact))
        .flatMap(each => each.nodes.map(node => each.id + ': ' + node.target.join(' ') + ': ' + node.html.slice(0, 160) + ' ' + (node.any[0]?.message ?? ''))))";
    serde_json::from_value(seen.evaluate(run).await).unwrap()
}
