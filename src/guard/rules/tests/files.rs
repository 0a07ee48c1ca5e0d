//! Which files are accepted, and what is said about the others.

use std::time::Duration;

use super::{ISSUER, RuleFile, rules};
use crate::{protocol::Algorithm, verifier::Revocation};

fn refused(text: &str) -> String {
    RuleFile::parse(text).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn gd3_a_mistake_in_a_rule_is_refused_with_its_line_and_what_to_change() {
    for (text, line, words) in [
        ("[[rule]]\npath = \"/a\"\nscop = \"x\"", 6, &["no key \"scop\"", "did you mean scope?"][..]),
        ("[[rule]]\nmethod = [\"GET\"]\npath = \"/a\"", 5, &["did you mean methods?"]),
        ("[[rule]]\npath = \"/a\"\nxyz = 1", 6, &["no key \"xyz\"", "caller, methods, owner, path, public, scope"]),
        ("[[rules]]\npath = \"/a\"", 4, &["the file has no key \"rules\"", "did you mean rule?"]),
        ("[rule]\npath = \"/a\"", 4, &["[[rule]]"]),
        ("rule = 7", 4, &["an issuer has no key \"rule\""]),
        ("[[rule]]\npath = /a", 5, &["not TOML"]),
        ("[[rule]]\npath = \"/a\"\npath = \"/b\"", 6, &["not TOML", "duplicate key"]),
        ("[[rule]]\npath = 7", 5, &["path must be a text"]),
        ("[[rule]]\npath = \"/a\"\nmethods = \"GET\"", 6, &["methods must be a list"]),
        ("[[rule]]\npath = \"/a\"\nmethods = [\"GET\",\n7]", 7, &["methods must be a list"]),
        ("[[rule]]\npath = \"/a\"\npublic = \"true\"", 6, &["public must be true or false"]),
        ("[[rule]]\nscope = \"x\"", 4, &["no path"]),
        ("\n\n[[rule]]\npath = \"orders\"", 7, &["\"orders\"", "does not begin with a slash"]),
        ("[[rule]]\npath = \"/a%2Fb\"", 5, &["encoded characters"]),
        ("[[rule]]\npath = \"/a\"\nmethods = []", 6, &["empty list"]),
        ("[[rule]]\npath = \"/a\"\nmethods = [\"GTE\"]", 6, &["\"GTE\"", "did you mean GET?"]),
        ("[[rule]]\npath = \"/a\"\nmethods = [\"get\"]", 6, &["did you mean GET?"]),
        ("[[rule]]\npath = \"/a\"\nmethods = [\"CONNECT\"]", 6, &["not a method that a rule can name"]),
        ("[[rule]]\npath = \"/a\"\nmethods = [\"GET\", \"GET\"]", 6, &["GET is listed twice"]),
        ("[[rule]]\npath = \"/a\"\nscope = \"\"", 6, &["leave scope out"]),
        ("[[rule]]\npath = \"/a\"\nscope = \"a  b\"", 6, &["no token can have the scope"]),
        ("[[rule]]\npath = \"/a\"\nscope = \"caf\u{e9}\"", 6, &["no token can have the scope", "ASCII"]),
        ("[[rule]]\npath = \"/a\"\nscope = \"a b a\"", 6, &["twice"]),
        ("[[rule]]\npath = \"/a\"\ncaller = \"usr\"", 6, &["did you mean user?"]),
        ("[[rule]]\npath = \"/a\"\nscope = \"x\"\npublic = true", 6, &["a public rule", "no scope"]),
        ("[[rule]]\npath = \"/a\"\npublic = true\ncaller = \"user\"", 7, &["a public rule", "no caller"]),
        ("[[rule]]\npath = \"/{id}\"\npublic = true\nowner = \"id\"", 7, &["a public rule", "no owner"]),
        ("[[rule]]\npath = \"/{id}\"\nowner = \"user\"", 6, &["no segment {user}"]),
        ("[[rule]]\npath = \"/{*id}\"\nowner = \"id\"", 6, &["must be one segment"]),
        ("[[rule]]\npath = \"/{id}\"\nowner = \"id\"\ncaller = \"client\"", 6, &["only a user can be the owner"]),
        ("[[rule]]\npath = \"/{a}\"\n[[rule]]\npath = \"/{b}\"", 6, &["this rule is never reached", "line 4", "every method"]),
        (
            "[[rule]]\npath = \"/a\"\n[[rule]]\npath = \"/a\"\nmethods = [\"GET\"]",
            6,
            &["this rule is never reached", "line 4", "every method"],
        ),
        (
            "[[rule]]\npath = \"/a\"\nmethods = [\"GET\"]\n[[rule]]\npath = \"/a\"\nmethods = [\"POST\", \"HEAD\"]",
            7,
            &["HEAD of this rule is never reached", "line 4", "for GET, HEAD (GET includes HEAD)"],
        ),
        ("[[rule]]\npath = \"/a\"\n[[rule]]\npath = \"/A\"\nscope = \"x\"", 6, &["only in case or a trailing slash", "line 4"]),
        ("[[rule]]\npath = \"/{a}/\"\n[[rule]]\npath = \"/{b}\"\nscope = \"x\"", 6, &["only in case or a trailing slash", "line 4"]),
        (
            "[[rule]]\npath = \"/static/{*path}\"\npublic = true\n[[rule]]\npath = \"/{tenant}/Admin\"\nmethods = [\"GET\"]",
            7,
            &[
                "/{tenant}/Admin",
                "line 4, /static/{*path}",
                "both match /static/admin",
                "GET needs something else",
                "add a rule for /static/admin",
            ],
        ),
        (
            "[[rule]]\npath = \"/{a}/b/{*rest}\"\n[[rule]]\npath = \"/a/{b}/{c}\"\nscope = \"x\"",
            6,
            &["line 4", "both match /a/b/{name2}", "every method needs something else"],
        ),
    ] {
        let refused = refused(&format!("{ISSUER}{text}"));
        assert!(refused.starts_with(&format!("line {line}: ")), "{text}\n{refused}");
        for words in words {
            assert!(refused.contains(words), "{text}\n{refused}\n{words}");
        }
    }
}

#[test]
fn gd3_a_mistake_in_an_issuer_is_refused_with_its_line_and_what_to_change() {
    const RULE: &str = "\n[[rule]]\npath = \"/a\"\n";
    for (text, line, words) in [
        ("", 2, "there is no [[issuer]]"),
        ("[[issuer]]\nissuer = \"https://a.example\"", 1, "this issuer has no audience"),
        ("[[issuer]]\naudience = \"x\"", 1, "this issuer has no issuer"),
        ("[[issuer]]\nissuer = \"a.example\"\naudience = \"x\"", 2, "invalid issuer"),
        ("[[issuer]]\nissuer = \"https://a.example\"\naudience = \"\"", 3, "the name of the API"),
        ("[[issuer]]\nissuer = \"https://a.example\"\naudience = \"x\"\nalgorithms = [\"HS256\"]", 4, "\"HS256\""),
        ("[[issuer]]\nissuer = \"https://a.example\"\naudience = \"x\"\nalgorithms = []", 4, "empty list"),
        ("[[issuer]]\nissuer = \"https://a.example\"\naudience = \"x\"\njwks_uri = \"http://a.example/keys\"", 4, "https"),
        ("[[issuer]]\nissuer = \"https://a.example\"\naudience = \"x\"\nrevocation = \"strikt\"", 4, "did you mean strict?"),
        ("[[issuer]]\nissuer = \"https://a.example\"\naudience = \"x\"\njwks_url = \"x\"", 4, "did you mean jwks_uri?"),
        (
            "[[issuer]]\nissuer = \"https://a.example\"\naudience = \"x\"\n[[issuer]]\nissuer = \"https://a.example\"\naudience = \"y\"",
            4,
            "at line 1 too",
        ),
    ] {
        let refused = refused(&format!("{text}{RULE}"));
        assert!(refused.starts_with(&format!("line {line}: ")) && refused.contains(words), "{text}\n{refused}");
    }
    let two = ISSUER.to_owned() + &ISSUER.replace("auth.example", "other.example");
    assert!(RuleFile::parse(&format!("{two}{RULE}")).is_ok());
    let refused = refused(&format!("{two}\n[[rule]]\npath = \"/{{id}}\"\nowner = \"id\""));
    assert!(refused.starts_with("line 8: ") && refused.contains("several issuers"), "{refused}");
}

#[test]
fn gd3_a_file_without_rules_or_with_too_many_is_refused() {
    for text in ["", ISSUER, "rule = []\n"] {
        assert!(refused(text).contains("every request would be denied"), "{text}");
    }
    let rules = |count: usize| (0..count).map(|number| format!("[[rule]]\npath = \"/r{number}\"\npublic = true\n")).collect::<String>();
    assert!(RuleFile::parse(&rules(2000)).is_ok());
    let refused = refused(&rules(2001));
    assert!(refused.starts_with("line 6001: ") && refused.contains("more than 2000 rules"), "{refused}");
}

#[test]
fn gd3_a_file_is_read_whole_or_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.toml");
    let refused = || RuleFile::read(&path).map(|_| ()).unwrap_err().to_string();
    assert!(refused().contains("rules.toml: it cannot be read: "), "{}", refused());
    std::fs::write(&path, "#".repeat(1024 * 1024 + 1)).unwrap();
    assert!(refused().ends_with("it is larger than 1 MiB"), "{}", refused());
    std::fs::write(&path, b"# first\n# \xff").unwrap();
    assert!(refused().ends_with("rules.toml, line 2: it is not UTF-8"), "{}", refused());
    std::fs::write(&path, "[[rule]]\npath = \"x\"").unwrap();
    assert!(refused().contains("rules.toml, line 2: the path \"x\" does not begin with a slash"), "{}", refused());
    std::fs::write(&path, "[[rule]]\npath = \"/health\"\npublic = true").unwrap();
    assert!(RuleFile::read(&path).is_ok_and(|file| file.issuers.is_empty()));
}

#[test]
fn gd3_the_rules_in_the_guide_decide_as_it_says() {
    let guide = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guard.md"));
    let text = guide.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let rules = RuleFile::parse(text).unwrap().rules;
    for (method, path) in [("GET", "/orders/1"), ("DELETE", "/orders/1")] {
        let explained = rules.explain(&method.parse().unwrap(), path, None).to_string();
        assert!(guide.contains(&format!("--check rules.toml {method} {path}\n# {explained}\n")), "{explained}");
    }
}

#[test]
fn gd3_an_issuer_is_trusted_as_its_table_says() {
    let file = RuleFile::parse(
        r#"
        [[issuer]]
        issuer = "https://auth.example"
        audience = "https://orders.example"
        [[issuer]]
        issuer = "http://127.0.0.1:8080"
        audience = "orders"
        jwks_uri = "http://127.0.0.1:8080/keys"
        algorithms = ["ES256", "EdDSA"]
        revocation = "strict"
        [[rule]]
        path = "/"
        "#,
    )
    .unwrap();
    let [plain, set] = &file.issuers[..] else { panic!("{file:?}") };
    assert_eq!((plain.algorithms.as_slice(), plain.jwks_uri.as_ref(), plain.revocation), (&[Algorithm::Rs256][..], None, None));
    assert_eq!(set.algorithms, [Algorithm::Es256, Algorithm::EdDsa]);
    assert_eq!((set.audience.as_str(), set.revocation), ("orders", Some(Revocation::Strict)));
    for issuer in &file.issuers {
        issuer.verifier().leeway(Duration::from_secs(10)).build().unwrap();
    }
}

#[test]
fn gd3_an_explanation_names_the_line_and_what_is_needed() {
    let rules = rules(
        r#"[[rule]]
path = "/orders/{id}"
methods = ["GET"]
scope = "orders:read orders:list"
owner = "id"
[[rule]]
path = "/health"
public = true
[[rule]]
path = "/jobs"
caller = "client"
[[rule]]
path = "/site/{*rest}"
scope = "site"
[[rule]]
path = "/site/about"
public = true
"#,
    );
    let explain = |method: &str, path: &str| rules.explain(&method.parse().unwrap(), path, None);
    for (method, path, admitted, text) in [
        (
            "HEAD",
            "/orders/1",
            true,
            "Decided by the rule at line 4 (path /orders/{id}, GET, HEAD). It needs a valid token of a user with all of the scopes orders:list orders:read, whose subject (sub) is the segment {id}.",
        ),
        ("GET", "/health", true, "Decided by the rule at line 9 (path /health, every method). It is public: no token is needed."),
        (
            "PUT",
            "/jobs",
            true,
            "Decided by the rule at line 12 (path /jobs, every method). It needs a valid token that a client got for itself.",
        ),
        ("GET", "/other", false, "Denied: there is no rule for this path."),
        (
            "get",
            "/orders/1",
            false,
            "Denied: the rules for the path /orders/{id} are for GET, HEAD (line 4), and not for get. Methods are case-sensitive.",
        ),
        (
            "GET",
            "/Health",
            false,
            "Denied: there is no rule for this path. It is not that of the rule at line 9 (path /health, every method), although some APIs ignore the case of letters.",
        ),
        (
            "GET",
            "/site/About",
            false,
            "Refused with 400, because APIs read this path in different ways: some APIs ignore the case of letters, which leads to the rule at line 18 (path /site/about, every method). There, the request needs something else or is denied. Send the path as that rule has it.",
        ),
        (
            "GET",
            "/site/about.html",
            false,
            "Refused with 400, because APIs read this path in different ways: some APIs ignore a suffix such as .json, or add one such as .php, which leads to the rule at line 18 (path /site/about, every method). There, the request needs something else or is denied. If this path is meant, add a rule that spells it out.",
        ),
        (
            "GET",
            "/site/x.php/y",
            true,
            "Decided by the rule at line 15 (path /site/{*rest}, every method). It needs a valid token with the scope site.",
        ),
        (
            "GET",
            "/orders/a+b",
            false,
            "Refused with 400: the segment that names the owner has a +, or characters that some systems change or drop, so that they read another owner.",
        ),
        ("GET", "/orders/a%2Fb", false, "Refused with 400: the path has a backslash, or an encoded slash or backslash (%2F, %5C)."),
    ] {
        let explanation = explain(method, path);
        assert_eq!((explanation.admits(), explanation.to_string().as_str()), (admitted, text), "{method} {path}");
    }
    assert!(!explain("GET", "/orders/a.b").admits(), "the segment that names the owner is ambiguous");
}
