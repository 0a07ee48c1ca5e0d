//! Paths that some API takes for others: refused if these need something else.

use std::collections::BTreeSet;

use super::{assert_outcomes, decide, rules};

#[test]
fn gd3_a_path_that_an_api_may_take_for_another_is_refused() {
    let rules = rules(
        r#"
        [[rule]]
        path = "/admin"
        scope = "admin"
        [[rule]]
        path = "/admin/{*rest}"
        scope = "admin"
        [[rule]]
        path = "/keys/{*rest}"
        scope = "keys"
        [[rule]]
        path = "/{*rest}"
        public = true
        "#,
    );
    assert_outcomes(
        &rules,
        &[
            ("GET", "/admin", "admin"),
            ("GET", "/admin/users", "admin"),
            ("GET", "/administrator", "public"),
            ("GET", "/other/admin", "public"),
            ("GET", "/caf%C3%A9", "public"),
            ("GET", "/ADMIN", "case"),
            ("GET", "/Admin/users", "case"),
            ("GET", "/admin/", "trailing_slash"),
            ("GET", "/adm%C4%B1n", "escape"),
            ("GET", "/%E2%84%AAeys/1", "escape"),
            ("GET", "/%EF%BC%A1dmin", "escape"),
            ("GET", "/ad%E2%80%8Bmin", "escape"),
            ("GET", "/admin.json", "suffix"),
            ("GET", "/ADMIN.JSON", "suffix"),
            ("GET", "/keys", "missing_segment"),
            ("GET", "/keys/", "missing_segment"),
            ("GET", "/", "denied"),
            ("GET", "/index.php/admin", "script"),
            ("GET", "/x/app.php/admin", "script"),
            ("GET", "/x.cgi/y.cgi/admin", "script"),
            ("GET", "/x.cgi/y.cgi/z.cgi/admin", "scripts"),
            ("GET", "/index.php/Admin/", "script"),
            ("GET", "/onet.pl/admin", "public"),
            ("GET", "/admin/index.html", "admin"),
            ("GET", "/keys/index.html", "keys"),
            ("GET", "/x/index.html", "public"),
            ("GET", "/ad%C2%ADmin", "lookalike"),
            ("GET", "/admin%20", "trimmed_segment"),
            ("GET", "/admin.", "trimmed_segment"),
            ("GET", "/%61dmin", "needless_escape"),
            ("GET", "/admin;x=y", "path_parameters"),
            ("GET", "//admin", "empty_segment"),
            ("GET", "/x/../admin", "dot_segment"),
            ("GET", "/x/..%2fadmin", "encoded_slash"),
            ("GET", "/x/%2e%2e/admin", "needless_escape"),
            ("GET", "/x%5c..%5cadmin", "encoded_slash"),
            ("GET", "/x%252f..%252fadmin", "encoded_percent"),
            ("GET", "/admin%EF%BC%8Fusers", "lookalike"),
            ("GET", "/admin::$DATA", "file_stream"),
            ("GET", "/admin%00", "control"),
            ("OPTIONS", "*", "not_absolute"),
        ],
    );
}

#[test]
fn gd3_a_suffix_or_a_path_below_a_file_leads_to_no_other_rule() {
    let rules = rules(
        r#"
        [[rule]]
        path = "/robots"
        scope = "robots"
        [[rule]]
        path = "/robots.txt"
        public = true
        [[rule]]
        path = "/orders/{id}"
        scope = "read"
        [[rule]]
        path = "/orders/export"
        scope = "export"
        [[rule]]
        path = "/admin.php"
        scope = "admin"
        [[rule]]
        path = "/v1.2"
        scope = "version"
        [[rule]]
        path = "/v1.2/orders/{id}"
        scope = "read"
        [[rule]]
        path = "/{*rest}"
        public = true
        "#,
    );
    assert_outcomes(
        &rules,
        &[
            ("GET", "/robots.txt", "public"),
            ("GET", "/robots.html", "suffix"),
            ("GET", "/orders/1.json", "read"),
            ("GET", "/orders/.json", "read"),
            ("GET", "/orders/export.csv", "suffix"),
            ("GET", "/orders/export.tar.gz", "suffix"),
            ("GET", "/orders/exported.csv", "read"),
            ("GET", "/admin.php", "admin"),
            ("GET", "/admin", "suffix"),
            ("GET", "/admin/", "suffix"),
            ("GET", "/admin/users", "below_file"),
            ("GET", "/admin.php/users", "below_file"),
            ("GET", "/admin.php/users/1", "below_file"),
            ("GET", "/admin.html/users", "public"),
            ("GET", "/v1.2", "version"),
            ("GET", "/v1", "suffix"),
            ("GET", "/v1.2/orders/1", "read"),
            ("GET", "/v1.2/other", "below_file"),
        ],
    );
}

#[test]
fn gd3_names_that_may_be_missing_and_index_files_lead_to_no_other_rule() {
    let rules = rules(
        r#"
        [[rule]]
        path = "/orders/{id}"
        scope = "read"
        [[rule]]
        path = "/users/{id}/{page}"
        scope = "users"
        [[rule]]
        path = "/users"
        scope = "list"
        [[rule]]
        path = "/site/index.php"
        scope = "site"
        [[rule]]
        path = "/shop"
        scope = "shop"
        [[rule]]
        path = "/index.php/jobs"
        scope = "jobs"
        [[rule]]
        path = "/{*rest}"
        public = true
        "#,
    );
    assert_outcomes(
        &rules,
        &[
            ("GET", "/orders/1", "read"),
            ("GET", "/orders", "missing_segment"),
            ("GET", "/Orders/", "missing_segment"),
            ("GET", "/users", "list"),
            ("GET", "/users/1", "missing_segment"),
            ("GET", "/site", "index_file"),
            ("GET", "/site/", "index_file"),
            ("GET", "/site/index.php", "site"),
            ("GET", "/site/about", "public"),
            ("GET", "/shop/index.php", "index_file"),
            ("GET", "/shop/index", "index_file"),
            ("GET", "/shop/default.aspx", "index_file"),
            ("GET", "/shop/default", "public"),
            ("GET", "/jobs", "script"),
            ("GET", "/index.php/jobs", "jobs"),
        ],
    );
}

#[test]
fn gd3_a_path_below_a_script_is_denied_where_the_path_without_the_script_is() {
    let rules = rules(
        r#"
        [[rule]]
        path = "/{tenant}/{page}"
        public = true
        [[rule]]
        path = "/files/{name}/versions"
        public = true
        [[rule]]
        path = "/files/{name}"
        public = true
        "#,
    );
    assert_outcomes(
        &rules,
        &[
            ("GET", "/acme/about", "public"),
            ("GET", "/index.php/about", "script"),
            ("GET", "/acme/index.php", "public"),
            ("GET", "/files/index.php/versions", "public"),
        ],
    );
}

#[test]
fn gd3_a_path_that_an_api_may_take_for_another_is_accepted_if_both_need_the_same() {
    let rules = rules(
        r#"
        [[rule]]
        path = "/docs"
        methods = ["GET"]
        public = true
        [[rule]]
        path = "/docs"
        methods = ["POST"]
        scope = "write"
        [[rule]]
        path = "/news"
        methods = ["POST"]
        public = true
        [[rule]]
        path = "/files"
        public = true
        [[rule]]
        path = "/files/{*path}"
        scope = "files"
        [[rule]]
        path = "/{*rest}"
        public = true
        "#,
    );
    assert_outcomes(
        &rules,
        &[
            ("GET", "/docs/", "public"),
            ("GET", "/Docs", "public"),
            ("GET", "/docs.css", "public"),
            ("GET", "/index.php/docs", "public"),
            ("POST", "/docs/", "trailing_slash"),
            ("POST", "/docs.css", "suffix"),
            // The path is denied for this method.
            ("GET", "/News", "case"),
            ("GET", "/Files", "public"),
            // An API may take it for the empty rest of `/files/{*path}`.
            ("GET", "/files/", "missing_segment"),
        ],
    );
}

#[test]
fn gd3_of_two_patterns_that_cross_a_rule_for_what_both_match_decides() {
    let rules = rules(
        r#"
        [[rule]]
        path = "/static/{*path}"
        public = true
        [[rule]]
        path = "/{tenant}/admin"
        scope = "admin"
        [[rule]]
        path = "/static/admin"
        scope = "admin"
        "#,
    );
    assert_outcomes(
        &rules,
        &[
            ("GET", "/static/admin", "admin"),
            ("GET", "/static/x", "public"),
            ("GET", "/x/admin", "admin"),
            ("GET", "/static/Admin", "case"),
        ],
    );
}

#[test]
fn gd3_paths_that_differ_only_in_a_slash_or_case_may_have_rules_that_need_the_same() {
    let rules = rules(
        r#"
        [[rule]]
        path = "/orders"
        scope = "read"
        [[rule]]
        path = "/orders/"
        scope = "read"
        [[rule]]
        path = "/Orders"
        methods = ["GET"]
        scope = "read"
        "#,
    );
    assert_outcomes(
        &rules,
        &[("GET", "/orders", "read"), ("GET", "/orders/", "read"), ("GET", "/Orders", "read"), ("GET", "/Orders/", "denied")],
    );
}

#[test]
fn gd3_an_encoded_character_matches_a_name_and_never_a_text() {
    let rules = rules(
        r#"
        [[rule]]
        path = "/users/@me"
        scope = "me"
        [[rule]]
        path = "/users/{name}"
        scope = "users"
        "#,
    );
    assert_outcomes(
        &rules,
        &[
            ("GET", "/users/@me", "me"),
            ("GET", "/users/%40me", "escape"),
            ("GET", "/users/a%40b.example", "users"),
            ("GET", "/users/%7Bname%7D", "users"),
            ("GET", "/users/stra%C3%9Fe", "users"),
        ],
    );
}

#[test]
fn gd3_callers_do_not_learn_which_paths_have_rules_and_operators_do() {
    let rules = rules(
        r#"
        [[rule]]
        path = "/admin"
        scope = "admin"
        [[rule]]
        path = "/users/{id}"
        owner = "id"
        [[rule]]
        path = "/{*rest}"
        public = true
        "#,
    );
    let (mut texts, mut causes) = (BTreeSet::new(), BTreeSet::new());
    for path in ["/Admin", "/admin/", "/adm%C4%B1n", "/admin.json", "/admin/index.html", "/x.php/admin", "/users", "/users/a+b"] {
        let refused = decide(&rules, "GET", path).unwrap_err();
        texts.insert(refused.to_string());
        let cause = refused.cause();
        assert!(cause.contains("line") || path == "/users/a+b", "{cause}");
        causes.insert(cause);
    }
    assert_eq!((texts.len(), causes.len()), (1, 8), "{texts:?} {causes:?}");
}
