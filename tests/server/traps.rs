//! Common mistakes that are hard to find: the answer reveals nothing, and the log names the mistake.

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Backend, Process, SIGN_IN, TestDatabase, command_on, furnish, sealwright};

/// A server process with the client `shop`, whose log is read at the end.
struct Trapped {
    process: Process,
    database: TestDatabase,
    addr: String,
    secret: String,
    http: reqwest::Client,
}

impl Trapped {
    async fn start(flags: &[&str]) -> Self {
        let database = TestDatabase::create(Backend::Sqlite).await;
        let mut command = command_on(&database);
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(flags);
        let mut process = Process::spawn(command);
        let addr = process.addr().await.to_string();
        let secret = furnish(&database);
        Self { process, database, addr, secret, http: reqwest::Client::new() }
    }

    async fn post(&self, form: &str) -> (u16, String) {
        let request = self.http.post(format!("http://{}/oauth/token", self.addr));
        let answer = request.header("content-type", "application/x-www-form-urlencoded").body(form.to_owned()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// A token by client credentials, with additional parameters.
    async fn ask(&self, more: &str) -> (u16, String) {
        self.post(&format!("grant_type=client_credentials&client_id=shop&client_secret={}&{more}", self.secret)).await
    }

    /// Stops the server, and returns the logged causes in order.
    fn causes(mut self) -> Vec<String> {
        self.process.signal("TERM");
        assert!(self.process.wait().success());
        drop(self.database);
        let events: Vec<Value> = self.process.stderr().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        events.iter().filter_map(|event| event["cause"].as_str().map(str::to_owned)).collect()
    }
}

/// Sends each of these requests, requires a refusal with `code`, and compares the log with the expected causes.
async fn trap(code: &str, requests: &[(&str, &str)]) {
    let server = Trapped::start(&[]).await;
    for (more, cause) in requests {
        let (status, body) = server.ask(more).await;
        assert_eq!(status, 400, "{more}");
        assert!(body.contains(code) && !body.contains(cause), "{more}: {body}");
    }
    let expected: Vec<_> = requests.iter().map(|(_, cause)| *cause).collect();
    assert_eq!(server.causes(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn op16_a_scope_with_commas() {
    let said = "the scope tokens are separated by ',' instead of a space: \"orders:read,orders:write\"";
    trap("invalid_scope", &[("scope=orders:read,orders:write", said)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn op16_a_scope_with_an_extra_space() {
    let requests = [
        ("scope=+orders:read", "the scope begins with a space: \" orders:read\""),
        ("scope=orders:read+", "the scope ends with a space: \"orders:read \""),
        ("scope=orders:read++orders:write", "the scope has two spaces in a row: \"orders:read  orders:write\""),
        ("scope=orders:read%0Aorders:write", "the scope contains white space other than a space: \"orders:read\\norders:write\""),
        ("scope=%22orders:read%22", "the scope is in quotes: \"\"orders:read\"\""),
        (
            "scope=[%22orders:read%22]",
            "the scope is a JSON array; it must be scope tokens separated by single spaces: \"[\"orders:read\"]\"",
        ),
    ];
    trap("invalid_scope", &requests).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn op16_an_unknown_scope() {
    let requests = [
        ("scope=orders:read+orders:reed", "the client is not allowed the scope token \"orders:reed\""),
        ("scope=orders:reed&resource=https://orders.example", "the client is not allowed the scope token \"orders:reed\""),
    ];
    trap("invalid_scope", &requests).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn op16_a_refresh_for_a_scope_that_the_client_has_and_the_login_does_not() {
    let server = Trapped::start(&[]).await;
    server.database.resource("https://archive.example", "archive:list", None);
    sealwright(&server.database, &["client", "update", "shop", "--allow", "https://archive.example=archive:list"]).succeeded();
    let client = format!("client_id=shop&client_secret={}", server.secret);
    let (status, body) = server.post(&format!("grant_type=password&{client}&{SIGN_IN}&scope=orders:read")).await;
    assert_eq!(status, 200, "{body}");
    let login: Value = serde_json::from_str(&body).unwrap();
    let refresh_token = login["refresh_token"].as_str().unwrap();
    let (status, body) = server.post(&format!("grant_type=refresh_token&{client}&refresh_token={refresh_token}&scope=archive:list")).await;
    assert!(status == 400 && body.contains("The login was not granted the scope token archive:list."), "{body}");
    assert_eq!(server.causes(), ["the login was not granted the scope token \"archive:list\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn op16_a_scope_token_that_several_resources_own() {
    let server = Trapped::start(&[]).await;
    server.database.resource("https://archive.example", "orders:read archive:list", None);
    sealwright(&server.database, &["client", "update", "shop", "--allow", "https://archive.example=orders:read,archive:list"]).succeeded();
    for (more, code) in [("scope=orders:read", "invalid_target"), ("scope=archive:list&resource=https://orders.example", "invalid_scope")] {
        let (status, body) = server.ask(more).await;
        assert!(status == 400 && body.contains(code) && !body.contains("https://"), "{more}: {body}");
    }
    let causes = [
        "the client is allowed the scope at several resources, among them \"https://archive.example\" and \"https://orders.example\"",
        "the client is allowed the scope token \"archive:list\" at \"https://archive.example\", but not at the requested resource",
    ];
    assert_eq!(server.causes(), causes);
}

#[tokio::test(flavor = "multi_thread")]
async fn op16_a_resource_with_an_extra_slash() {
    let requests = [
        (
            "resource=https://orders.example/",
            "the resource \"https://orders.example/\" has an extra slash at its end; the client is allowed at \"https://orders.example\"",
        ),
        (
            "audience=https://Orders.example",
            "the resource \"https://Orders.example\" differs in case; the client is allowed at \"https://orders.example\"",
        ),
        ("resource=https://stock.example", "the client is not allowed at the resource \"https://stock.example\""),
        (
            "resource=orders.example",
            "the resource \"orders.example\" lacks its scheme; the client is allowed at \"https://orders.example\"",
        ),
        (
            "resource=%20https://orders.example",
            "the resource \" https://orders.example\" is malformed: it has leading or trailing white space",
        ),
    ];
    trap("invalid_target", &requests).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn op16_an_issuer_path_that_a_proxy_removes() {
    let server = Trapped::start(&["--issuer", "http://localhost:8080/auth"]).await;
    for path in ["/oauth/token", "/.well-known/jwks.json", "/nowhere"] {
        let answer = server.http.get(format!("http://{}{path}", server.addr)).send().await.unwrap();
        assert_eq!(answer.status(), 404);
        assert!(answer.text().await.unwrap().contains("There is nothing at this path."));
    }
    let removed = "the issuer's path /auth is missing before this path; does a proxy remove it?";
    assert_eq!(server.causes(), [removed, removed, "There is nothing at this path."]);
}

#[tokio::test(flavor = "multi_thread")]
async fn op16_a_path_with_an_extra_slash() {
    let server = Trapped::start(&["--issuer", "http://localhost:8080/auth"]).await;
    let missing = "There is nothing at this path.";
    let extra = "There is nothing at this path. Remove the extra slash.";
    let paths = [
        ("/auth/.well-known/jwks.json/", extra),
        ("/auth//.well-known/jwks.json", extra),
        ("/auth/.well-known/openid-configuration/", extra),
        ("/auth/.well-known/oauth-authorization-server//", extra),
        ("/.well-known/oauth-authorization-server/auth/", extra),
        ("/auth/oauth/token/", extra),
        ("//auth//oauth//token", extra),
        ("/auth/", missing),
        ("/auth/oauth/tokens/", missing),
        ("/auth/.well-known/jwks.json%2F", missing),
    ];
    // No answer is a redirect: who fetches keys should follow none, and a POST that is redirected often becomes a GET.
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    for (path, expected) in paths {
        for method in [reqwest::Method::GET, reqwest::Method::POST] {
            let answer = http.request(method.clone(), format!("http://{}{path}", server.addr)).send().await.unwrap();
            assert_eq!(answer.status(), 404, "{method} {path}");
            let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
            assert_eq!(body["error_description"], expected, "{method} {path}");
        }
    }
    let expected: Vec<_> = paths.iter().flat_map(|(_, expected)| [*expected; 2]).collect();
    assert_eq!(server.causes(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn op16_a_method_that_a_path_does_not_serve() {
    let server = Trapped::start(&[]).await;
    let (get, post) = ("This path does not support this method. Use GET.", "This path does not support this method. Use POST.");
    for (method, path, description, allowed) in [
        ("POST", "/.well-known/jwks.json", get, "GET"),
        ("PUT", "/.well-known/oauth-authorization-server", get, "GET"),
        ("POST", "/.well-known/openid-configuration", get, "GET"),
        ("POST", "/openapi.json", get, "GET"),
        ("POST", "/health/ready", get, "GET"),
        ("GET", "/oauth/token", post, "POST"),
        ("GET", "/oauth/introspect?token=x", post, "POST"),
        ("PUT", "/oauth/revoke", post, "POST"),
    ] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let answer = server.http.request(method.clone(), format!("http://{}{path}", server.addr)).send().await.unwrap();
        assert_eq!(answer.status(), 405, "{method} {path}");
        let allow = answer.headers()["allow"].to_str().unwrap().to_owned();
        assert!(allow.split(',').any(|name| name.trim() == allowed), "{method} {path}: {allow}");
        let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(body["error_description"], description, "{method} {path}");
    }
}

/// Libraries ask for keys and metadata with other media types than theirs. None gets 406: it would look like an outage.
#[tokio::test(flavor = "multi_thread")]
async fn op16_a_media_type_that_a_document_does_not_have() {
    let server = Trapped::start(&[]).await;
    for (path, media_type) in [
        ("/.well-known/jwks.json", "application/jwk-set+json"),
        ("/.well-known/oauth-authorization-server", "application/json"),
        ("/.well-known/openid-configuration", "application/json"),
    ] {
        let url = format!("http://{}{path}", server.addr);
        let length = server.http.get(&url).send().await.unwrap().text().await.unwrap().len();
        for accept in ["application/json", "application/jwk-set+json", "text/html", "*/*", "none of these"] {
            let answer = server.http.get(&url).header("accept", accept).send().await.unwrap();
            let served = answer.headers()["content-type"].to_str().unwrap().to_owned();
            assert_eq!((answer.status().as_u16(), served.as_str()), (200, media_type), "{path} {accept}");
        }
        let head = server.http.head(&url).send().await.unwrap();
        assert_eq!(
            (head.status().as_u16(), head.headers()["content-length"].to_str().unwrap()),
            (200, length.to_string().as_str()),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn op16_basic_credentials_whose_base64_is_wrapped_or_missing() {
    use base64::{Engine, prelude::BASE64_STANDARD};

    let server = Trapped::start(&[]).await;
    let encoded = BASE64_STANDARD.encode(format!("shop:{}", server.secret));
    let wrapped = format!("{} {}", &encoded[..76], &encoded[76..]);
    for credentials in [wrapped, format!("shop:{}", server.secret), encoded.trim_end_matches('=')[1..].to_owned()] {
        let request =
            server.http.post(format!("http://{}/oauth/token", server.addr)).header("authorization", format!("Basic {credentials}"));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body("grant_type=client_credentials");
        assert_eq!(request.send().await.unwrap().status(), 401);
    }
    let causes = server.causes();
    assert!(causes[0].contains("wrap it after 76 characters (base64 -w0 does not)"), "{causes:?}");
    assert!(causes[1].contains("name and secret unencoded"), "{causes:?}");
    assert!(causes[2].contains("truncated or lacks its padding"), "{causes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn op16_a_secret_from_a_file_with_additional_content() {
    let server = Trapped::start(&[]).await;
    let secret = server.secret.clone();
    let sent = [
        (format!("%22{secret}%22"), "the secret is in quotes"),
        (format!("'{secret}'"), "the secret is in quotes"),
        (format!("{secret}%0A"), "the secret has leading or trailing white space"),
        (format!("CLIENT_SECRET%3D{secret}"), "the secret begins with NAME=, like a line of an environment file"),
        (format!("CLIENT_SECRET%3D%22{secret}%22"), "the secret begins with NAME=, like a line of an environment file"),
        (format!("shop:{secret}"), "the secret has a prefix that does not belong to it"),
        (secret[..60].to_owned(), "the secret is incomplete: its checksum or its length is wrong"),
    ];
    let mut answers = Vec::new();
    for (sent, _) in &sent {
        answers.push(server.post(&format!("grant_type=client_credentials&client_id=shop&client_secret={sent}")).await);
    }
    // For an unknown client, the log names the same mistake, and the answer is the same.
    answers.push(server.post(&format!("grant_type=client_credentials&client_id=unknown&client_secret='{secret}'")).await);
    answers.push(server.post(&format!("grant_type=client_credentials&client_id=%22shop%22&client_secret={secret}")).await);
    assert!(answers.iter().all(|answer| *answer == answers[0] && answer.0 == 401), "{answers:?}");
    let mut expected: Vec<_> = sent.iter().map(|(_, cause)| format!("unknown secret: {cause}")).collect();
    expected.push("unknown client: the secret is in quotes".to_owned());
    expected.push("unknown client: the client id is in quotes".to_owned());
    assert_eq!(server.causes(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn op16_malformed_headers_are_logged() {
    let server = Trapped::start(&[]).await;
    let huge = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(60_000));
    for (request, status) in [
        ("GET / HTTP/1.1\r\nhost: x\r\nb\u{1}d header: x\r\n\r\n", "400"),
        ("POST /oauth/token HTTP/1.1\r\nhost: x\r\nauthorization: Basic c2hvcDpzdw\nX19\r\n\r\n", "400"),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\r\n\r\n", "400"),
        (huge.as_str(), "431"),
    ] {
        let mut stream = TcpStream::connect(&server.addr).await.unwrap();
        // The server may answer before it has read everything.
        drop(stream.write_all(request.as_bytes()).await);
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        assert!(answer.is_empty() || String::from_utf8_lossy(&answer).contains(status), "{answer:?}");
    }
    let mut process = server.process;
    process.signal("TERM");
    assert!(process.wait().success());
    let events: Vec<Value> = process.stderr().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let unreadable: Vec<_> = events.iter().filter(|event| event["event"] == "request.unreadable").collect();
    let statuses: Vec<_> = unreadable.iter().map(|event| event["http.status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [400, 400, 400, 431], "{unreadable:?}");
    for event in unreadable {
        assert!(event["source"] == "127.0.0.1" && event["cause"].as_str().is_some_and(|cause| !cause.is_empty()), "{event}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unprintable_characters_of_a_path_are_escaped_in_the_log() {
    for format in ["json", "text"] {
        let database = TestDatabase::create(Backend::Sqlite).await;
        let mut command = command_on(&database);
        command.args(["serve", "--listen", "127.0.0.1:0", "--log-format", format]);
        let mut process = Process::spawn(command);
        crate::support::wait_until(|| process.stderr().iter().any(|line| line.contains("serving"))).await;
        let line = process.stderr().into_iter().find(|line| line.contains("serving")).unwrap();
        let at = line.find("127.0.0.1:").unwrap();
        let addr: String = line[at..].chars().take_while(|c| c.is_ascii_digit() || ".:".contains(*c)).collect();
        let mut stream = TcpStream::connect(&addr).await.unwrap();
        let request = "GET /a\u{9b}31m\u{202e}b\u{2028}c\u{2066}d\u{200b}ü HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 404"), "{}", String::from_utf8_lossy(&answer));
        process.signal("TERM");
        assert!(process.wait().success());
        let log = process.stderr();
        assert!(!log.iter().any(|line| line.chars().any(|c| "\u{9b}\u{202e}\u{2028}\u{2066}\u{200b}".contains(c))), "{log:?}");
        assert!(log.iter().any(|line| line.contains("202e") && line.contains('ü')), "{log:?}");
    }
}
