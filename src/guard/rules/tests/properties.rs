//! Random rules and paths: what the guard accepts, no API takes for another request.

use http::{HeaderMap, Method};
use proptest::{prelude::*, sample::Index, strategy::ValueTree, test_runner::TestRunner};

use super::{
    Decision, ISSUER, RuleFile, Rules,
    apis::{Api, Handler, Way, readings},
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
        self.rules.decided(&Method::GET, path).ok().flatten().map(|(rule, _)| rule.pattern.to_string())
    }
}

const TEXTS: [&str; 13] =
    ["orders", "Orders", "export", "admin", "keys", "v1.2", "a.b", "@me", "robots.txt", "1", "index.php", "admin.php", "index.html"];

fn handlers() -> impl Strategy<Value = Vec<Handler>> {
    let segment = prop_oneof![
        4 => prop::sample::select(TEXTS.to_vec()).prop_map(str::to_owned),
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

/// A path, or how one differs from that of a handler.
#[derive(Debug, Clone)]
enum Request {
    Path(String),
    Near { handler: Index, name: &'static str, edit: Edit, place: Index },
}

#[derive(Debug, Clone, Copy)]
enum Edit {
    Nothing,
    Insert(&'static str),
    Append(&'static str),
    Remove,
    Uppercase,
    AddSuffix,
    Slash,
}

impl Request {
    fn path(&self, handlers: &[Handler]) -> String {
        let (handler, name, edit, place) = match self {
            Self::Path(path) => return path.clone(),
            Self::Near { handler, name, edit, place } => (handler, *name, *edit, place),
        };
        let known = &handlers[handler.index(handlers.len())].path;
        let named = known.split('/').skip(1).map(|segment| if segment.starts_with('{') { name } else { segment });
        let mut segments: Vec<String> = named.map(str::to_owned).collect();
        let at = place.index(segments.len());
        match edit {
            Edit::Nothing => {}
            Edit::Insert(segment) => segments.insert(at, segment.to_owned()),
            Edit::Append(segment) => segments.push(segment.to_owned()),
            Edit::Remove => drop(segments.pop()),
            Edit::Uppercase => segments[at] = segments[at].to_uppercase(),
            Edit::AddSuffix => segments[at] += ".json",
            Edit::Slash => segments.push(String::new()),
        }
        format!("/{}", segments.join("/"))
    }
}

fn request() -> impl Strategy<Value = Request> {
    let edit = prop::sample::select(vec![
        Edit::Nothing,
        Edit::Insert("index.php"),
        Edit::Insert("app.PHP"),
        Edit::Insert("x"),
        Edit::Append("index.html"),
        Edit::Append("default.aspx"),
        Edit::Append("x"),
        Edit::Remove,
        Edit::Uppercase,
        Edit::AddSuffix,
        Edit::Slash,
    ]);
    let name = prop::sample::select(vec!["x", "alice", "y.css", "index", "main.jsp"]);
    let near = (any::<Index>(), name, edit, any::<Index>());
    prop_oneof![path().prop_map(Request::Path), near.prop_map(|(handler, name, edit, place)| Request::Near { handler, name, edit, place }),]
}

fn path() -> impl Strategy<Value = String> {
    let tame = prop_oneof![prop::sample::select(TEXTS.to_vec()), Just("x"), Just("y.css")];
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
        "app.php",
        "main.jsp",
        "keys.CGI",
        "index",
        "default.aspx",
        "v1",
        "a",
    ]);
    let segment = prop_oneof![3 => tame, 2 => odd];
    (prop::collection::vec(segment, 0..5), any::<bool>()).prop_map(|(segments, slash)| {
        let path = segments.iter().map(|segment| format!("/{segment}")).collect::<String>();
        if slash || path.is_empty() { path + "/" } else { path }
    })
}

/// A reading of the path, and an API that then gives the request to a handler that needs something else.
fn contradiction(apis: &[Api], path: &str, pattern: &str, needs: &str) -> Option<(String, Way, Api)> {
    let contradicts = |api: &&Api, reading: &str| api.needs("GET", reading).iter().any(|other| *other != needs);
    readings(path, pattern).into_iter().find_map(|(reading, way)| {
        let api = apis.iter().filter(|api| api.can(way)).find(|api| contradicts(api, &reading))?;
        Some((reading, way, api.clone()))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn gd3_no_reading_of_a_path_that_is_accepted_needs_something_else(
        candidates in handlers(),
        requests in prop::collection::vec(request(), 12),
    ) {
        let Some(guarded) = Guarded::new(candidates) else { return Ok(()) };
        let (strict, apis) = (Api::strict(&guarded.handlers), Api::all(&guarded.handlers));
        for path in requests.iter().map(|request| request.path(&guarded.handlers)) {
            let Some(needs) = guarded.accepted("GET", &path) else { continue };
            let decided: Vec<_> = strict.needs("GET", &path).into_iter().collect();
            prop_assert_eq!(decided, vec![needs.as_str()], "{} of {:?}", path, guarded.handlers);
            let pattern = guarded.pattern(&path).unwrap_or_default();
            let contradiction = contradiction(&apis, &path, &pattern, &needs);
            prop_assert!(contradiction.is_none(), "{} by {}: {:?}", path, pattern, contradiction);
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

/// Otherwise the property would hold because nothing is accepted.
#[test]
fn gd3_many_requests_are_accepted() {
    let mut runner = TestRunner::deterministic();
    let (mut all, mut accepted) = (0, 0);
    for _ in 0..200 {
        let candidates = handlers().new_tree(&mut runner).unwrap().current();
        let requests = prop::collection::vec(request(), 12).new_tree(&mut runner).unwrap().current();
        let Some(guarded) = Guarded::new(candidates) else { continue };
        all += requests.len();
        accepted += requests.iter().filter(|request| guarded.accepted("GET", &request.path(&guarded.handlers)).is_some()).count();
    }
    assert!(accepted > all / 10, "{accepted} of {all}");
}

#[test]
fn gd3_an_api_that_takes_a_path_for_another_is_found() {
    let handler = |path: &str, needs| Handler { path: path.to_owned(), method: None, needs };
    let handlers = vec![
        handler("/admin", "write"),
        handler("/keys/{*n1}", "read"),
        handler("/orders/{n1}", "read"),
        handler("/site/index.php", "read"),
        handler("/tool.php", "read"),
        handler("/index.php/jobs", "read"),
        handler("/{*n0}", "public"),
    ];
    let guarded = Guarded::new(handlers).unwrap();
    assert_eq!(guarded.handlers.len(), 7);
    let apis = Api::all(&guarded.handlers);
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
        "/admin/index.html",
        "/admin/index.php",
        "/index.php/admin",
        "/x/app.php/admin",
        "/keys",
        "/keys/",
        "/orders",
        "/site",
        "/site/",
        "/tool",
        "/tool.php/x",
        "/jobs",
    ] {
        assert!(contradiction(&apis, path, "/{*n0}", "public").is_some(), "{path}");
        assert_eq!(guarded.accepted("GET", path), None, "{path}");
    }
    for path in ["/x", "/x.css", "/x/index.html", "/onet.pl/admin"] {
        assert_eq!(guarded.accepted("GET", path), Some("public".to_owned()), "{path}");
        assert!(contradiction(&apis, path, "/{*n0}", "public").is_none(), "{path}");
    }
}
