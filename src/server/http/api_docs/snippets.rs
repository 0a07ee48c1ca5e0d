//! How an API checks tokens, for the page: the snippets of the guides, which the tests run as they are printed there.

use serde_json::{Value, json};

use crate::protocol::Issuer;

const LANGUAGES: &str = include_str!("../../../../docs/verifying-in-another-language.md");
const FROM_ZERO: &str = include_str!("../../../../docs/securing-an-api.md");
const RULES: &str = include_str!("../../../../examples/behind_guard/rules.toml");

/// What the guides write in place of the values of a server and its APIs. The page replaces it.
const ISSUER: &str = "http://localhost:8080";
const AUDIENCE: &str = "https://orders.example";
const API: &str = "http://127.0.0.1:9000";

/// A way to protect an API.
struct Tab {
    name: &'static str,
    parts: &'static [Part],
}

/// A part of a tab, from top to bottom.
enum Part {
    Text(&'static str),
    /// A text that a demo does not show.
    TextOfServer(&'static str),
    /// Commands for a terminal.
    Commands(&'static str),
    /// Commands that only a demo shows.
    DemoCommands(&'static str),
    /// A block of a guide: what it is called, the guide, the text after which it comes there, and how many blocks are between.
    Block(&'static str, &'static str, &'static str, usize),
    /// Commands of a guide that call the API, after this text.
    Calls(&'static str, &'static str),
    /// A whole file.
    File(&'static str, &'static str),
}

use Part::{Block, Calls, Commands, DemoCommands, File, Text, TextOfServer};

static TABS: [Tab; 7] = [
    Tab {
        name: "Node",
        parts: &[
            Commands("npm install jose\nexport ISSUER=http://localhost:8080 AUDIENCE=https://orders.example"),
            Block("tokens.mjs", LANGUAGES, "<!-- check: jose -->", 0),
            Text(
                "For each request: await check(token, 'orders:read'), with what follows Bearer in Authorization and the scope of the \
                 operation. When it throws, answer with refusal(error, scope). Without a token, answer 401 with WWW-Authenticate: Bearer.",
            ),
        ],
    },
    Tab {
        name: "Python",
        parts: &[
            Commands("pip install 'PyJWT[crypto]'\nexport ISSUER=http://localhost:8080 AUDIENCE=https://orders.example"),
            Block("tokens.py", LANGUAGES, "<!-- check: pyjwt -->", 0),
            Text(
                "For each request: check(token, \"orders:read\"), with what follows Bearer in Authorization and the scope of the \
                 operation. When it raises, answer with refusal(error, scope). Without a token, answer 401 with WWW-Authenticate: Bearer.",
            ),
        ],
    },
    Tab {
        name: "Go",
        parts: &[
            Text("In the folder of a module, which go mod init makes:"),
            Commands(
                "go get github.com/lestrrat-go/jwx/v3 github.com/lestrrat-go/httprc/v3\nexport ISSUER=http://localhost:8080 \
                 AUDIENCE=https://orders.example",
            ),
            Block("tokens.go", LANGUAGES, "<!-- check: jwx -->", 0),
            Block("answers.go", LANGUAGES, "<!-- answers: go -->", 0),
            Text("Each route names the scope that it requires. list and create are handlers of your API (http.Handler):"),
            Block("main.go, in main()", LANGUAGES, "## Go: the answers", 0),
        ],
    },
    Tab {
        name: "Java",
        parts: &[
            Text("The dependency is org.springframework.security:spring-security-oauth2-jose, version 7."),
            Commands("export ISSUER=http://localhost:8080 AUDIENCE=https://orders.example"),
            Block("AccessTokens.java", LANGUAGES, "<!-- check: spring -->", 0),
            Text(
                "For each request: AccessTokens.check(token, \"orders:read\"), with what follows Bearer in Authorization and the scope \
                 of the operation. When it throws, answer with AccessTokens.refusal(error, scope). Without a token, answer 401 with \
                 WWW-Authenticate: Bearer.",
            ),
        ],
    },
    Tab {
        name: "Rust",
        parts: &[
            Text(
                "For axum; hyper and tonic take the same layer. Run this in a folder that holds the repository of Sealwright as sealwright:",
            ),
            Block("Terminal", FROM_ZERO, "## 1. An open API", 0),
            Block("Terminal", FROM_ZERO, "## 4. Require tokens", 0),
            Block("orders/src/main.rs", FROM_ZERO, "## 4. Require tokens", 1),
            Block("Terminal", FROM_ZERO, "## 4. Require tokens", 2),
        ],
    },
    Tab {
        name: "curl",
        parts: &[
            TextOfServer("In place of http://127.0.0.1:9000, write the address of your API."),
            Text("An API answers a request without a token with 401:"),
            Calls(FROM_ZERO, "A request without a token is now refused:"),
            Text(
                "With a token that may only read, an order gets 403. The file billing.secret has the secret of the client billing, and jq \
                 is installed:",
            ),
            DemoCommands("(umask 077; printf '%s\\n' '{secret}' > billing.secret)"),
            Calls(FROM_ZERO, "## 7. Scopes limit what the app can do"),
        ],
    },
    Tab {
        name: "guard",
        parts: &[
            Text("For an API in any language, without code for tokens: sealwright guard checks them in front of it, by a file of rules."),
            File("rules.toml", RULES),
            Text("Start it with the program of this server, by its path if that is not in PATH:"),
            Commands("sealwright guard --rules rules.toml --upstream http://127.0.0.1:3000 --listen 127.0.0.1:8090"),
            Text(
                "Your API listens on port 3000 of this machine, where only the guard reaches it. It reads who calls from \
                 X-Token-Subject, X-Token-Client and X-Token-Scope. Behind nginx, Caddy, HAProxy, Traefik or Envoy, write --gateway in \
                 place of --upstream.",
            ),
        ],
    },
];

/// The tabs for the page, and what it replaces in them.
pub(super) fn with_issuer(issuer: &Issuer) -> Value {
    let tabs = TABS.iter().map(|tab| json!({ "name": tab.name, "parts": tab.parts.iter().map(in_json).collect::<Vec<_>>() }));
    json!({
        "issuer": issuer.as_str(),
        "written": { "issuer": ISSUER, "audience": AUDIENCE, "api": API },
        "tabs": tabs.collect::<Vec<_>>(),
    })
}

fn in_json(part: &Part) -> Value {
    const TERMINAL: &str = "Terminal";
    let found = |guide, after, between| block(guide, after, between).expect("the guide is built in, and a test finds the block");
    let code = |title: &str, code: &str| json!({ "title": title, "code": code.trim_end() });
    match *part {
        Text(text) => json!({ "text": text }),
        TextOfServer(text) => json!({ "text": text, "notDemo": true }),
        Commands(commands) => code(TERMINAL, commands),
        DemoCommands(commands) => json!({ "title": TERMINAL, "code": commands, "onlyDemo": true }),
        Block(title, guide, after, between) => code(title, found(guide, after, between)),
        Calls(guide, after) => json!({ "title": TERMINAL, "code": found(guide, after, 0).trim_end(), "callsApi": true }),
        File(name, text) => code(name, text),
    }
}

/// The text of a block of code in a guide.
fn block(guide: &'static str, after: &str, between: usize) -> Option<&'static str> {
    const FENCE: &str = "```";
    let (_, rest) = guide.split_once(after)?;
    // Every second part is within a block, and begins with the name of its language.
    let (_, text) = rest.split(FENCE).nth(2 * between + 1)?.split_once('\n')?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_snippet_is_found_in_its_guide() {
        let snippets = with_issuer(&"https://auth.example/a".parse().unwrap());
        let codes = |name: &str| {
            let tab = snippets["tabs"].as_array().unwrap().iter().find(|tab| tab["name"] == name).unwrap();
            tab["parts"].as_array().unwrap().iter().filter_map(|part| part["code"].as_str()).collect::<Vec<_>>().join("\n")
        };
        for (name, begins, has) in [
            ("Node", "npm install jose", "jwtVerify(token, keys"),
            ("Python", "pip install", "jwt.decode_complete(token"),
            ("Go", "go get", "http.Handle(\"POST /orders\""),
            ("Java", "export", "record Refusal"),
            ("Rust", "cargo new", ".audience(\"https://orders.example\").build()?;"),
            ("curl", "curl", "# 403"),
            ("guard", "[[issuer]]", "sealwright guard --rules rules.toml"),
        ] {
            let code = codes(name);
            assert!(code.starts_with(begins) && code.contains(has) && !code.contains("```"), "{name}: {code}");
            assert!(name == "Java" || code.contains(ISSUER) || code.contains("ISSUER="), "{name} names the issuer: {code}");
        }
        assert_eq!(snippets["issuer"], "https://auth.example/a");
        assert_eq!(codes("Go").matches("package main").count(), 2);
    }

    #[test]
    fn a_block_that_does_not_exist_is_not_found() {
        let guide = "# A\n```sh\none\n```\ntext\n```sh\ntwo\n```\n";
        assert_eq!(
            [block(guide, "# A", 0), block(guide, "# A", 1), block(guide, "text", 0)],
            [Some("one\n"), Some("two\n"), Some("two\n")]
        );
        assert_eq!([block(guide, "# A", 2), block(guide, "# B", 0)], [None, None]);
    }
}
