//! Flags over environment over file over defaults, and what is refused.

use std::fs;

use sealwright::server::{
    Config,
    config::{Error, SETTINGS, Sources},
};
use tempfile::TempDir;

use crate::support::{Finished, Process, command, finish, write_private};

const EXAMPLE: &str = include_str!("../../examples/sealwright.toml");

/// The settings of the example file, uncommented.
fn example_settings() -> String {
    let setting =
        |line: &&str| line.strip_prefix('#').is_some_and(|rest| rest.trim_start().split_once(" = ").is_some_and(|(name, _)| is_name(name)));
    EXAMPLE.lines().filter(setting).map(|line| line[1..].trim_start().to_owned() + "\n").collect()
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn load_file(text: &str) -> Result<Config, Error> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("sealwright.toml");
    write_private(&path, text);
    Config::load(Sources { file: Some(path), ..Sources::default() })
}

/// `check` in a folder with this file, these variables and these flags.
fn check(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> Finished {
    let folder = TempDir::new().unwrap();
    if !file.is_empty() {
        write_private(folder.path().join("sealwright.toml"), file);
    }
    let mut command = command(folder.path());
    command.arg("check").args(flags).envs(variables.iter().copied());
    finish(command)
}

#[test]
fn the_example_file_names_every_setting_and_loads() {
    let settings = example_settings();
    let mut named: Vec<_> = settings.lines().map(|line| line.split_once(" = ").unwrap().0).collect();
    let mut known: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
    named.sort_unstable();
    known.sort_unstable();
    assert_eq!(named, known);
    load_file(&settings).unwrap();
    load_file(EXAMPLE).unwrap();
    // The value that it shows for a setting is its default, if it has one.
    for (name, default) in SETTINGS.iter().filter_map(|setting| Some((setting.name, setting.default?))) {
        let shown = settings.lines().find_map(|line| line.strip_prefix(&format!("{name} = "))).unwrap();
        assert_eq!(shown.trim_matches('"'), default, "{name}");
    }
}

#[test]
fn a_flag_wins_over_a_variable_a_variable_over_the_file_and_the_file_over_the_default() {
    let looked_at = |finished: &Finished| {
        let url = finished.stdout.split("(database sqlite://").nth(1).unwrap().split(')').next().unwrap().to_owned();
        url.rsplit('/').next().unwrap().to_owned()
    };
    let (file, variable) = ("database_url = \"sqlite://of-file.db\"", ("SEALWRIGHT_DATABASE_URL", "sqlite://of-variable.db"));
    let flag = ["--database-url", "sqlite://of-flag.db"];
    assert_eq!(looked_at(&check("", &[], &[])), "sealwright.db");
    assert_eq!(looked_at(&check(file, &[], &[])), "of-file.db");
    assert_eq!(looked_at(&check(file, &[variable], &[])), "of-variable.db");
    assert_eq!(looked_at(&check(file, &[variable], &flag)), "of-flag.db");
    // An empty variable counts as not set.
    assert_eq!(looked_at(&check(file, &[("SEALWRIGHT_DATABASE_URL", "")], &[])), "of-file.db");
}

#[test]
fn a_file_named_by_flag_or_variable_must_exist() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("other.toml");
    fs::write(&path, "database_url = \"sqlite://of-other.db\"").unwrap();
    let path = path.to_str().unwrap();
    assert!(check("", &[], &["--config", path]).stdout.contains("of-other.db"));
    assert!(check("", &[("SEALWRIGHT_CONFIG", path)], &[]).stdout.contains("of-other.db"));
    let missing = check("", &[], &["--config", "missing.toml"]);
    assert!(missing.stdout.contains("the configuration file missing.toml cannot be used"), "{missing:?}");
}

#[test]
fn an_unknown_setting_is_refused_in_every_source_and_the_nearest_is_named() {
    for (finished, origin) in [
        (check("issuerr = \"https://auth.example\"", &[], &[]), "sealwright.toml"),
        (check("", &[("SEALWRIGHT_ISSUERR", "https://auth.example")], &[]), "SEALWRIGHT_ISSUERR"),
        (check("[issuerr]\na = 1", &[], &[]), "sealwright.toml"),
    ] {
        assert_eq!(finished.status.code(), Some(1));
        for said in ["unknown setting issuerr", "did you mean issuer?", origin] {
            assert!(finished.stdout.contains(said), "{said} is not in {}", finished.stdout);
        }
    }
    let flag = check("", &[], &["--issuerr", "x"]);
    assert_eq!(flag.status.code(), Some(2));
    assert!(flag.stderr.contains("--issuer"), "{flag:?}");
    let serve = {
        let folder = TempDir::new().unwrap();
        let mut command = command(folder.path());
        command.arg("serve").env("SEALWRIGHT_LISTNE", "x");
        finish(command)
    };
    serve.failed_saying(&["unknown setting listne", "did you mean listen?"]);
}

#[test]
fn a_value_out_of_range_is_refused_with_the_range() {
    let out_of_range = [
        ("issuer", "http://auth.example"),
        ("issuer", "https://auth.example?x"),
        ("listen", "8080"),
        ("listen", "0.0.0.0:8080"),
        ("listen", "192.0.2.1:8080"),
        ("database_url", "mysql://h/d"),
        ("database_connections", "0"),
        ("database_connections", "101"),
        ("keys_dir", ""),
        ("key_publish_lead", "119m"),
        ("rsa_bits", "1024"),
        ("signing_threads", "0"),
        ("signing_queue", "-1"),
        ("token_lifetime", "25h"),
        ("token_lifetime", "10"),
        ("registry_stale_for", "0s"),
        ("cached_clients", "many"),
        ("drain_timeout", "1h"),
        ("log", "info,,=,"),
        ("log_format", "xml"),
    ];
    for (name, value) in out_of_range {
        let flags = vec![(name.to_owned(), value.to_owned())];
        let error = Config::load(Sources { flags, ..Sources::default() }).expect_err(value).to_string();
        let allowed = SETTINGS.iter().find(|setting| setting.name == name).unwrap().allowed;
        let shown = if name == "database_url" { "not shown".to_owned() } else { format!("{value:?}") };
        assert!(error.contains(&format!("the setting {name} is {shown}")) && error.contains(allowed), "{error}");
        let error = load_file(&format!("{name} = \"{value}\"")).unwrap_err().to_string();
        assert!(error.contains("sealwright.toml") && error.contains(allowed), "{error}");
    }
    for (name, value) in [("listen", "[\"127.0.0.1:1\"]"), ("rsa_bits", "{ a = 1 }"), ("signing_queue", "1.5")] {
        assert!(load_file(&format!("{name} = {value}")).unwrap_err().to_string().contains(name));
    }
    assert!(load_file("rsa_bits = 3072\nsigning_queue = 5").is_ok(), "numbers may stand without quotation marks");
    assert!(load_file("this is not TOML").unwrap_err().to_string().contains("cannot be used"));
}

#[test]
fn a_refusal_shows_no_password() {
    for file in [
        "database_url = \"postgres://sw:hunter2@db.example\"",
        "database_url = \"postgres://db.example?password=hunter2\"",
        "database_url = \"postgres://sw:hunter2@db.example/d",
        "sealing_key = {\"k\":\"hunter2\"}",
        "log = \"info\" hunter2",
    ] {
        let error = load_file(file).unwrap_err().to_string();
        assert!(!error.contains("hunter2") && error.contains("sealwright.toml"), "{error}");
    }
    let number = load_file("sealing_key = 0x99999999999999999999999").unwrap_err().to_string();
    assert!(number.contains("line 1") && !number.contains("2971056094284912659757898137"), "{number}");
    assert!(!SETTINGS.iter().any(|setting| setting.name == "sealing_key" && !setting.secret));
    let help = check("", &[], &["--help"]).stdout;
    assert!(help.contains("--database-url") && !help.contains("--sealing-key"), "others can read a command line: {help}");
}

/// The variables that Kubernetes sets in every container when there are Services named `sealwright` and `sealwright-demo`.
const SERVICE_LINKS: [(&str, &str); 9] = [
    ("SEALWRIGHT_SERVICE_HOST", "10.0.0.1"),
    ("SEALWRIGHT_SERVICE_PORT", "80"),
    ("SEALWRIGHT_SERVICE_PORT_HTTP", "80"),
    ("SEALWRIGHT_PORT", "tcp://10.0.0.1:80"),
    ("SEALWRIGHT_PORT_80_TCP", "tcp://10.0.0.1:80"),
    ("SEALWRIGHT_PORT_80_TCP_PROTO", "tcp"),
    ("SEALWRIGHT_PORT_80_TCP_PORT", "80"),
    ("SEALWRIGHT_PORT_80_TCP_ADDR", "10.0.0.1"),
    ("SEALWRIGHT_DEMO_PORT_80_TCP_ADDR", "10.0.0.1"),
];

#[tokio::test]
async fn op1_variables_of_a_kubernetes_service_are_ignored_with_one_line() {
    let folder = TempDir::new().unwrap();
    let mut serve = command(folder.path());
    serve.args(["serve", "--listen", "127.0.0.1:0"]).envs(SERVICE_LINKS);
    let mut process = Process::spawn(serve);
    process.addr().await;
    process.signal("TERM");
    assert!(process.wait().success());
    let lines = process.stderr();
    let said: Vec<_> = lines.iter().filter(|line| line.contains("SEALWRIGHT_")).collect();
    assert_eq!(said.len(), 1, "{lines:?}");
    for (variable, _) in SERVICE_LINKS {
        assert!(said[0].contains(variable), "{variable} is not in {said:?}");
    }
}

#[test]
fn op1_a_typo_and_a_value_of_the_wrong_kind_are_refused_beside_them() {
    let links_and = |name, value| check("", &[&SERVICE_LINKS[..], &[(name, value)]].concat(), &[]);
    let refused = links_and("SEALWRIGHT_LISTNE", "127.0.0.1:0").stdout;
    assert!(refused.contains("unknown setting listne") && refused.contains("did you mean listen?"), "{refused}");
    // This was meant to set a port.
    let refused = links_and("SEALWRIGHT_PORT", "8080").stdout;
    assert!(refused.contains("unknown setting port (from the environment variable SEALWRIGHT_PORT)"), "{refused}");
    assert!(!check("", &SERVICE_LINKS, &[]).stdout.contains("unknown setting"));
}
