//! The example of the configuration file.

use sealwright::{
    attach::{Config, SETTINGS},
    server::config::Sources,
};
use tempfile::TempDir;

use crate::support::write_private;

const EXAMPLE: &str = include_str!("../../../examples/sealwright-attach.toml");

#[test]
fn gd4_the_example_file_names_every_setting_with_its_default_and_loads() {
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let settings: Vec<(&str, &str)> =
        EXAMPLE.lines().filter_map(|line| line.strip_prefix("# ")?.split_once(" = ")).filter(|(name, _)| is_name(name)).collect();
    let mut named: Vec<&str> = settings.iter().map(|(name, _)| *name).collect();
    let mut known: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
    named.sort_unstable();
    known.sort_unstable();
    assert_eq!(named, known);
    for (name, default) in SETTINGS.iter().filter_map(|setting| Some((setting.name, setting.default?))) {
        let shown = settings.iter().find_map(|(of, value)| (*of == name).then_some(*value)).unwrap();
        assert_eq!(shown.trim_matches('"'), default, "{name}");
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("sealwright-attach.toml");
    // A client has a secret or a key.
    for other in ["secret_file", "key_file"] {
        let given = settings.iter().filter(|(name, _)| *name != other);
        let uncommented: Vec<String> = given.map(|(name, value)| format!("{name} = {value}\n")).collect();
        write_private(&path, &uncommented.concat());
        Config::load(Sources { file: Some(path.clone()), ..Sources::default() }).unwrap();
    }
}
