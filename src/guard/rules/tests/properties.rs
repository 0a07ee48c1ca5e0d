//! Random rules and paths: what the guard accepts, no API takes for another request.

use http::{HeaderMap, Method};
use proptest::prelude::*;

use super::{
    Decision, ISSUER, RuleFile, Rules,
    apis::{Api, Handler, readings},
    outcome,
};

/// Rules, and the handlers that they are for.
#[derive(Debug)]
struct Guarded {
    rules: Rules,
    handlers: Vec<Handler>,
}

impl Guarded {
    /// Takes those of the candidates that a file can have together. `None` if there are none.
    fn new(candidates: Vec<Handler>) -> Option<Self> {
        let (mut text, mut handlers, mut accepted) = (ISSUER.to_owned(), Vec::new(), None);
        for handler in candidates {
            let methods = handler.method.map(|method| format!("methods = [\"{method}\"]\n")).unwrap_or_default();
            let needs = match handler.needs {
                "public" => "public = true\n".to_owned(),
                scope => format!("scope = \"{scope}\"\n"),
            };
            let longer = format!("{text}[[rule]]\npath = \"{}\"\n{methods}{needs}", handler.path);
            if let Ok(file) = RuleFile::parse(&longer) {
                (text, accepted) = (longer, Some(file.rules));
                handlers.push(handler);
            }
        }
        Some(Self { rules: accepted?, handlers })
    }

    /// What the guard says that the request needs. `None` if it does not let it pass.
    fn accepted(&self, method: &str, path: &str) -> Option<String> {
        Some(outcome(&self.rules, method, path)).filter(|outcome| ["public", "read", "write"].contains(&outcome.as_str()))
    }

    /// The pattern that decides.
    fn pattern(&self, path: &str) -> Option<String> {
        self.rules.rule(&Method::GET, path).ok().flatten().map(|rule| rule.pattern.to_string())
    }
}

fn handlers() -> impl Strategy<Value = Vec<Handler>> {
    let segment = prop_oneof![
        4 => prop::sample::select(vec!["orders", "Orders", "export", "admin", "keys", "v1.2", "a.b", "@me", "robots.txt", "1"]).prop_map(str::to_owned),
        2 => Just("{}".to_owned()),
        1 => Just("{*}".to_owned()),
    ];
    let path = (prop::collection::vec(segment, 0..4), any::<bool>()).prop_map(|(segments, slash)| {
        let named = segments.iter().enumerate().map(|(at, segment)| segment.replace('}', &format!("n{at}}}")));
        let path = named.map(|segment| format!("/{segment}")).collect::<String>();
        if slash || path.is_empty() { path + "/" } else { path }
    });
    let method = prop_oneof![3 => Just(None::<&'static str>), 1 => Just(Some("GET")), 1 => Just(Some("POST"))];
    let needs = prop::sample::select(vec!["public", "read", "write"]);
    let handler = (path, method, needs).prop_map(|(path, method, needs)| Handler { path, method, needs });
    prop::collection::vec(handler, 1..9)
}

fn path() -> impl Strategy<Value = String> {
    let tame = prop::sample::select(vec!["orders", "Orders", "export", "admin", "keys", "v1.2", "a.b", "@me", "robots.txt", "1", "x"]);
    let odd = prop::sample::select(vec![
        "ORDERS",
        "ADMIN",
        "export.csv",
        "admin.tar.gz",
        "admin.",
        "admin+",
        "admin%20",
        "robots",
        "1.json",
        ".json",
        "x+y",
        "%61dmin",
        "adm%C4%B1n",
        "%E2%84%AAeys",
        "%EF%BC%A1dmin",
        "ad%C2%ADmin",
        "%40me",
        "x%40y",
        "x%2Fadmin",
        "..%2Fadmin",
        "x%5Cadmin",
        "admin;x",
        "admin%3Bx",
        ".",
        "..",
        "",
        "%2e%2e",
        "caf%C3%A9",
        "cafe%CC%81",
        "%7Bn0%7D",
        "{n0}",
        "x%252Fadmin",
        "admin%00",
        "a.b%EF%BC%8Fadmin",
    ]);
    let segment = prop_oneof![3 => tame, 2 => odd];
    (prop::collection::vec(segment, 0..5), any::<bool>()).prop_map(|(segments, slash)| {
        let path = segments.iter().map(|segment| format!("/{segment}")).collect::<String>();
        if slash || path.is_empty() { path + "/" } else { path }
    })
}

/// An API that would give the request to a handler that needs something else.
fn contradicting_api(guarded: &Guarded, method: &str, path: &str, needs: &str, suffix: bool) -> Option<(Api, String)> {
    let other = |api: &Api, reading: &str| api.needs(&guarded.handlers, method, reading).iter().any(|other| *other != needs);
    let readings = readings(path, suffix);
    readings.into_iter().find_map(|reading| Api::all().find(|api| other(api, &reading)).map(|api| (api, reading)))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn gd3_no_reading_of_a_path_that_is_accepted_needs_something_else(
        candidates in handlers(),
        paths in prop::collection::vec(path(), 16),
    ) {
        let Some(guarded) = Guarded::new(candidates) else { return Ok(()) };
        for path in &paths {
            let Some(needs) = guarded.accepted("GET", path) else { continue };
            let strict = Api::STRICT.needs(&guarded.handlers, "GET", path);
            prop_assert_eq!(strict.into_iter().collect::<Vec<_>>(), vec![needs.as_str()], "{} of {:?}", path, guarded.handlers);
            // A pattern that ends in a text spells its suffix out.
            let pattern = guarded.pattern(path).unwrap_or_default();
            let suffix = pattern.ends_with('}') || pattern.ends_with("}/");
            let contradiction = contradicting_api(&guarded, "GET", path, &needs, suffix);
            prop_assert!(contradiction.is_none(), "{}: {:?} of {:?}", path, contradiction, guarded.handlers);
        }
    }

    #[test]
    fn gd3_no_text_of_a_file_and_no_request_is_a_panic(
        candidates in handlers(),
        text in "(\\[\\[rule\\]\\]\n|path = |\"/\\PC{0,12}\"\n|[a-z]{1,6} = |true\n|\\PC{0,6}|\n){0,12}",
        method in "[A-Za-z!]{1,8}",
        path in prop_oneof![path(), "/\\PC{0,24}", "[/%.;a-f0-9{}*]{0,24}", "\\PC{0,24}"],
        query in prop::option::of("(_?method|%5f|=|&|;|\\PC){0,12}"),
    ) {
        drop(RuleFile::parse(&text));
        let Some(guarded) = Guarded::new(candidates) else { return Ok(()) };
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let decided = guarded.rules.decide(&method, &path, query.as_deref(), &HeaderMap::new());
        let passes = matches!(decided, Ok(Decision::Public | Decision::Needs(_)));
        prop_assert_eq!(guarded.rules.explain(&method, &path, query.as_deref()).admits(), passes);
    }
}

#[test]
fn gd3_an_api_that_takes_a_path_for_another_is_found() {
    let handler = |path: &str, needs| Handler { path: path.to_owned(), method: None, needs };
    let guarded = Guarded::new(vec![handler("/admin", "write"), handler("/keys/{*n1}", "read"), handler("/{*n0}", "public")]).unwrap();
    assert_eq!(guarded.handlers.len(), 3);
    for path in [
        "/ADMIN",
        "/admin/",
        "/Admin/",
        "/adm%C4%B1n",
        "/%61dmin",
        "/%2561dmin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x%2F..%2Fadmin",
        "//admin",
        "/admin;x",
        "/admin.",
        "/admin+",
        "/x/..%5Cadmin",
        "/%EF%BC%A1dmin",
        "/admin.json",
        "/keys",
        "/keys/",
    ] {
        assert!(contradicting_api(&guarded, "GET", path, "public", true).is_some(), "{path}");
        assert_eq!(guarded.accepted("GET", path), None, "{path}");
    }
    assert_eq!(guarded.accepted("GET", "/x"), Some("public".to_owned()));
    assert!(contradicting_api(&guarded, "GET", "/x", "public", true).is_none());
}
