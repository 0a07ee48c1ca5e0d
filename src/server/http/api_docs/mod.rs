//! The API description, and the page on which developers read it, get their first token, and see how an API checks it. Everything is served
//! from this binary.

mod demo;
mod snippets;

use std::sync::{Arc, LazyLock};

use axum::{
    Extension,
    body::Bytes,
    extract::{Path, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
};
use serde_json::Value;

use super::{
    conditional,
    error::{self, Failure},
};
use crate::{
    protocol::{Issuer, ServerMetadata},
    server::document::Document,
};

pub(crate) use demo::{Demo, DemoClient};

/// The description as written, with the URLs of an issuer without a path.
const DESCRIPTION: &str = include_str!("../../../../openapi.yaml");
/// Only scripts and styles from this server, no requests to other origins, no framing.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The files that the page loads: its own, and Swagger UI. `SNIPPETS` comes on top, which contains the issuer.
static FILES: LazyLock<[(&str, &str, Document); 7]> = LazyLock::new(|| {
    [
        ("page.css", CSS, Document::new(include_str!("page.css"))),
        ("first-token.js", SCRIPT, Document::new(include_str!("first-token.js"))),
        ("protect.js", SCRIPT, Document::new(include_str!("protect.js"))),
        ("reference.js", SCRIPT, Document::new(include_str!("reference.js"))),
        ("icon.svg", "image/svg+xml", Document::new(include_str!("icon.svg"))),
        ("swagger-ui.css", CSS, vendored("swagger-ui.css")),
        ("swagger-ui-bundle.js", SCRIPT, vendored("swagger-ui-bundle.js")),
    ]
});

/// A file of the built-in Swagger UI.
fn vendored(name: &str) -> Document {
    let file = utoipa_swagger_ui::serve(name, Arc::new(utoipa_swagger_ui::Config::from("")));
    Document::new(Bytes::from_owner(file.ok().flatten().expect("the file is built in").bytes))
}

/// The file with the snippets.
const SNIPPETS: &str = "snippets.json";

/// The settings of the description and its page.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policy {
    pub(crate) served: bool,
    /// The initial values of the page's fields.
    pub(crate) demo: Option<Demo>,
}

/// The rendered documents.
#[derive(Debug)]
pub(crate) struct ApiDocs {
    yaml: Document,
    json: Document,
    page: Bytes,
    snippets: Document,
}

/// Parses a description.
fn parsed(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).expect("the built-in openapi.yaml is valid YAML")
}

impl ApiDocs {
    /// Returns `None` if the description is turned off.
    pub(crate) fn render(policy: &Policy, issuer: &Issuer) -> Option<Self> {
        if !policy.served {
            return None;
        }
        // Relative, so that the page sends requests to the address it was opened at, which may be another name of this machine.
        let server = if issuer.path().is_empty() { "/" } else { issuer.path() };
        let token_url = format!("{}{}", issuer.path(), ServerMetadata::TOKEN_ROUTE);
        let yaml = DESCRIPTION
            .replacen("  - url: /\n", &format!("  - url: {}\n", quoted(server)), 1)
            .replace(&format!("Url: {}\n", ServerMetadata::TOKEN_ROUTE), &format!("Url: {}\n", quoted(&token_url)));
        let demo = Demo::in_a_script_element(policy.demo.as_ref());
        let page = include_str!("page.html").replace("{{version}}", env!("CARGO_PKG_VERSION")).replace("{{demo}}", &demo);
        Some(Self {
            json: Document::new(parsed(&yaml).to_string()),
            yaml: Document::new(yaml),
            page: page.into(),
            snippets: Document::new(snippets::with_issuer(issuer).to_string()),
        })
    }
}

/// A path as a YAML string, quoted if necessary.
fn quoted(path: &str) -> String {
    let plain = path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_".contains(&b));
    if plain { path.to_owned() } else { format!("'{}'", path.replace('\'', "''")) }
}

/// Revalidated each time, so that after an upgrade no old script runs in a new page.
const ALWAYS_REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

/// `GET /openapi.yaml`.
pub(super) async fn yaml(Extension(docs): Extension<Arc<ApiDocs>>, request: HeaderMap) -> Response {
    conditional::answer(&request, &docs.yaml, "application/yaml", ALWAYS_REVALIDATE)
}

/// `GET /openapi.json`.
pub(super) async fn json(Extension(docs): Extension<Arc<ApiDocs>>, request: HeaderMap) -> Response {
    conditional::answer(&request, &docs.json, "application/json", ALWAYS_REVALIDATE)
}

/// `GET /docs`. Not cached, because it contains a demo's credentials.
pub(super) async fn page(Extension(docs): Extension<Arc<ApiDocs>>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, docs.page.clone()).into_response()
}

/// `GET /docs/`. Redirects, because the page's relative links would not work from here.
pub(super) async fn without_slash() -> Redirect {
    Redirect::permanent("../docs")
}

/// `GET /docs/{file}`: the files that the page loads.
pub(super) async fn file(
    Extension(docs): Extension<Arc<ApiDocs>>,
    name: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Result<Response, Failure> {
    let is_requested = |known: &str| name.as_ref().is_ok_and(|Path(name)| name == known);
    let (content_type, document) = if is_requested(SNIPPETS) {
        ("application/json", &docs.snippets)
    } else {
        let file = FILES.iter().find(|(known, ..)| is_requested(known));
        file.map(|(_, content_type, document)| (*content_type, document)).ok_or_else(error::nothing_here)?
    };
    let mut response = conditional::answer(&request, document, content_type, ALWAYS_REVALIDATE);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::routing::MethodFilter;

    use super::*;
    use crate::server::http::{API_DOCS_ROUTES, ROUTES};

    fn rendered(issuer: &str) -> ApiDocs {
        ApiDocs::render(&Policy { served: true, demo: None }, &issuer.parse().unwrap()).unwrap()
    }

    #[test]
    fn the_description_and_the_routes_match() {
        let method = |filter| if filter == MethodFilter::GET { "get" } else { "post" };
        let routes = ROUTES.iter().chain(&API_DOCS_ROUTES).filter(|route| !route.path.starts_with("/docs/"));
        let served: BTreeSet<_> = routes.map(|route| (route.path.to_owned(), method(route.method).to_owned())).collect();
        let description = parsed(DESCRIPTION);
        assert_eq!(description["info"]["version"], env!("CARGO_PKG_VERSION"));
        let paths = description["paths"].as_object().unwrap();
        let methods = |item: &Value| {
            item.as_object()
                .unwrap()
                .keys()
                .filter(|key| ["get", "post", "put", "patch", "delete"].contains(&key.as_str()))
                .cloned()
                .collect::<Vec<_>>()
        };
        let described: BTreeSet<_> =
            paths.iter().flat_map(|(path, item)| methods(item).into_iter().map(|method| (path.clone(), method))).collect();
        assert_eq!(served, described);
    }

    #[test]
    fn the_description_contains_the_issuers_path_as_yaml_and_as_json() {
        for (issuer, server, token) in [
            ("https://auth.example", "/", "/oauth/token"),
            ("https://example.com/auth", "/auth", "/auth/oauth/token"),
            ("https://example.com/a:", "/a:", "/a:/oauth/token"),
        ] {
            let docs = rendered(issuer);
            let json: Value = serde_json::from_slice(&docs.json.body).unwrap();
            let yaml: Value = serde_saphyr::from_str(std::str::from_utf8(&docs.yaml.body).unwrap()).unwrap();
            assert_eq!(json, yaml, "{issuer}");
            assert_eq!(json["servers"][0]["url"], server);
            for flow in ["clientCredentials", "password"] {
                assert_eq!(json["components"]["securitySchemes"]["oauth2"]["flows"][flow]["tokenUrl"], token, "{issuer}: {flow}");
            }
        }
    }

    #[test]
    fn demo_credentials_cannot_end_the_script_element() {
        let client = |id: &str| DemoClient { id: id.to_owned(), secret: "a".into() };
        let demo = Demo {
            app: client("</script><script>"),
            shop: client("b"),
            api: "c".to_owned(),
            username: "d".to_owned(),
            password: "e".into(),
            orders: "http://127.0.0.1:9000/orders".to_owned(),
        };
        let docs = ApiDocs::render(&Policy { served: true, demo: Some(demo) }, &"https://auth.example".parse().unwrap()).unwrap();
        let page = String::from_utf8(docs.page.to_vec()).unwrap();
        assert!(!page.contains("</script><script>") && page.contains("\\u003c/script>"), "{page}");
        assert!(ApiDocs::render(&Policy::default(), &"https://auth.example".parse().unwrap()).is_none());
    }

    #[test]
    fn every_file_that_the_page_loads_exists() {
        for (name, _, document) in FILES.iter() {
            assert!(!document.body.is_empty() && include_str!("page.html").contains(&format!("docs/{name}")), "{name}");
        }
        assert!(include_str!("page.html").contains(&format!("docs/{SNIPPETS}")));
    }
}
