//! From the first token to a protected API, in a real browser: the next step at the API of the demo, and the snippets of the guides.

use std::{path::Path, process::Command};

use tempfile::TempDir;

use crate::{
    docs::{Demo, findings_of_axe, read, unreached_by_tab},
    page::Seen,
    world::{ORDERS, World},
};

/// What the guides write in place of a server's values.
const WRITTEN: [&str; 2] = ["http://localhost:8080", "https://orders.example"];

/// Runs what the page shows as commands, in a folder, and returns the output.
fn run(commands: &str, folder: &Path) -> String {
    let done = Command::new("bash").args(["-ec", commands]).current_dir(folder).output().unwrap();
    assert!(done.status.success() && done.stderr.is_empty(), "{commands}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

fn guide(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

/// The code that the selected tab shows, block by block.
async fn code(seen: &Seen) -> Vec<String> {
    let shown = "[...document.querySelectorAll('#panels > :not([hidden]) pre')].map(each => each.textContent)";
    serde_json::from_value(seen.evaluate(shown).await).unwrap()
}

async fn open_tab(seen: &Seen, name: &str) {
    seen.shows("#languages", name).await;
    seen.evaluate(&format!("document.querySelector('#language-{}').click()", name.to_lowercase())).await;
}

#[tokio::test]
async fn a_newcomer_opens_the_issuer_and_sends_the_first_token_to_the_api_of_the_demo() {
    let (demo, folder) = (Demo::start(), TempDir::new().unwrap());
    let seen = demo.open(1200).await;
    // A browser that opens the issuer's URL comes to the page.
    seen.goto("/").await;
    seen.becomes("location.pathname === '/docs'").await;
    seen.says("/oauth/token").await;
    for name in ["billing", "shop", "alice", "orders-api"] {
        seen.shows("#demo-roles", name).await;
    }
    assert_eq!(seen.evaluate("document.querySelector('#client-note').checkVisibility()").await, false);
    seen.click("#first-form button").await;
    seen.says("Genuine: made by the published key").await;
    let command = seen.text_of("#next-command").await;
    assert_eq!(run(&command, folder.path()), r#"[{"id":1,"item":"a desk"}]"#);
    seen.evaluate("document.querySelector('#next-command').scrollIntoView({ block: 'center' })").await;
    for width in [1200, 600, 390] {
        seen.picture("docs-next-step", width).await;
    }
    // A user signs in to the web shop, which is another client. The token is another one, and the command has it.
    seen.wide(1200).await;
    seen.click("input[value=password]").await;
    seen.becomes("document.querySelector('#client-id').value === 'shop'").await;
    seen.click("#first-form button").await;
    seen.says("auth_time").await;
    let of_user = seen.text_of("#next-command").await;
    assert_ne!(of_user, command);
    assert_eq!(run(&of_user, folder.path()), r#"[{"id":1,"item":"a desk"}]"#);
    // What a person typed stays when the choice changes.
    seen.type_into("#client-id", "typed").await;
    seen.click("input[value=client_credentials]").await;
    assert_eq!(seen.evaluate("document.querySelector('#client-id').value").await, "typed");
    seen.no_faults_but(&[]);
    seen.close().await;
}

#[tokio::test]
async fn every_tab_has_the_code_of_its_guide_with_this_issuer() {
    let demo = Demo::start();
    let seen = demo.open(1200).await;
    let guides =
        guide("docs/verifying-in-another-language.md") + &guide("docs/securing-an-api.md") + &guide("examples/behind_guard/rules.toml");
    for (name, blocks) in [("Node", 2), ("Python", 2), ("Go", 4), ("Java", 2), ("Rust", 4), ("curl", 3), ("guard", 2)] {
        open_tab(&seen, name).await;
        let code = code(&seen).await;
        assert_eq!(code.len(), blocks, "{name}: {code:?}");
        let all = code.join("\n");
        assert!(all.contains(&demo.origin) && !all.contains(WRITTEN[0]), "{name}: {all}");
        // But for the commands that set it up, it is the code that `tests/interop/run` and `tests/from_zero/run` run.
        let api = all.split("http://127.0.0.1:").nth(1).filter(|_| name == "curl").map(|rest| rest.split('/').next().unwrap());
        let of_guide = |block: &&String| {
            let block = block.replace(&demo.origin, WRITTEN[0]);
            guides.contains(&match api {
                Some(port) => block.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:9000"),
                None => block,
            })
        };
        assert!(code.iter().filter(of_guide).count() >= blocks - 1, "{name}: {all}");
    }
    seen.no_faults_but(&[]);
    seen.close().await;
}

#[tokio::test]
async fn the_commands_of_the_curl_tab_run_against_the_demo() {
    let (demo, folder) = (Demo::start(), TempDir::new().unwrap());
    let seen = demo.open(1200).await;
    open_tab(&seen, "curl").await;
    let commands = code(&seen).await;
    // One shell for all of them, in the order of the page, which says what they print.
    let printed = run(&commands.join("\n"), folder.path());
    assert_eq!(printed.lines().collect::<Vec<_>>(), ["401", "403"], "{commands:?}");
    seen.close().await;
}

#[tokio::test]
async fn the_tabs_can_be_used_by_keyboard_and_on_a_phone() {
    let demo = Demo::start();
    for width in [1200, 390] {
        let seen = demo.open(width).await;
        seen.tab_to("#language-node").await;
        let is_open = |name: &str| {
            let panel = format!("document.querySelector('#language-{name}-panel').checkVisibility()");
            format!("document.activeElement.matches('#language-{name}') && {panel}")
        };
        for (key, name) in
            [("ArrowRight", "python"), ("ArrowLeft", "node"), ("ArrowLeft", "guard"), ("ArrowRight", "node"), ("ArrowRight", "python")]
        {
            seen.press(key).await;
            seen.becomes(&is_open(name)).await;
        }
        // Tab leaves the list, and reaches the code.
        seen.press("Tab").await;
        seen.becomes("!!document.activeElement.closest('#language-python-panel')").await;
        seen.evaluate("document.querySelector('#protect').scrollIntoView()").await;
        seen.picture("docs-protect", width).await;
        let unreached = unreached_by_tab(&seen).await;
        assert!(unreached.is_empty(), "at {width} px, Tab never reaches: {unreached:#?}");
        assert_eq!(findings_of_axe(&seen).await, Vec::<String>::new());
        seen.no_faults_but(&[]);
        seen.close().await;
    }
}

#[tokio::test]
async fn a_real_server_says_where_a_client_comes_from_and_fills_in_the_audience_of_a_token() {
    let world = World::begin();
    world.run(&["resource", "create", "https://stock.example", "--scope", "stock:read"]);
    let client = world.run(&["client", "create", "keeper", "--grant", "client_credentials", "--allow", "https://stock.example=stock:read"]);
    let seen = Seen::open(&world.issuer, &world.folder.path().join("browser")).await;
    seen.wide(390).await;
    read(&seen).await;
    seen.says("sealwright client create").await;
    seen.picture("docs-of-a-server", 390).await;
    assert_eq!(seen.evaluate("document.querySelector('#demo-note').checkVisibility()").await, false);
    open_tab(&seen, "Python").await;
    let before = code(&seen).await.join("\n");
    assert!(before.contains(&format!("ISSUER={} AUDIENCE={ORDERS}", world.issuer)), "{before}");
    seen.type_into("#client-id", "keeper").await;
    seen.type_into("#client-secret", client["secret"]["value"].as_str().unwrap()).await;
    seen.click("#first-form button").await;
    seen.says("Genuine: made by the published key").await;
    seen.shows("#next-text", "Send it to the API https://stock.example").await;
    let after = code(&seen).await.join("\n");
    assert!(after.contains(&format!("ISSUER={} AUDIENCE=https://stock.example", world.issuer)) && !after.contains(ORDERS), "{after}");
    open_tab(&seen, "curl").await;
    assert!(!code(&seen).await.join("\n").contains("sw_"), "no secret is shown");
    seen.no_faults_but(&[]);
    seen.close().await;
}
