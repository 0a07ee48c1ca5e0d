//! Help and errors, on a terminal and in a pipe; completions and man pages.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use sealwright::server::config::SETTINGS;
use tempfile::TempDir;

use crate::support::{command, finish};

fn sealwright(arguments: &[&str]) -> String {
    let folder = TempDir::new().unwrap();
    let mut command = command(folder.path());
    command.args(arguments);
    finish(command).succeeded().stdout
}

/// What a command shows on a terminal of 80 columns, with this variable.
fn on_a_terminal(arguments: &str, variable: (&str, &str)) -> String {
    let folder = TempDir::new().unwrap();
    let line = format!("stty cols 80 rows 24; {} {arguments}", env!("CARGO_BIN_EXE_sealwright"));
    let mut script = Command::new("script");
    script.args(["-qc", &line, "/dev/null"]).current_dir(folder.path()).stdin(Stdio::null());
    let output = script.env("TERM", "xterm").env(variable.0, variable.1).output().unwrap();
    String::from_utf8(output.stdout).unwrap().replace('\r', "")
}

const COLOR: (&str, &str) = ("NO_COLOR", "");
const NO_COLOR: (&str, &str) = ("NO_COLOR", "1");

#[track_caller]
fn fits(text: &str, columns: usize) {
    for line in text.lines() {
        assert!(line.chars().count() <= columns, "{} columns: {line}", line.chars().count());
    }
}

#[test]
fn the_help_of_a_command_shows_its_options_and_three_settings_on_one_screen() {
    let help = on_a_terminal("client create --help", NO_COLOR);
    fits(&help, 80);
    assert!(help.lines().count() <= 40, "{} lines: {help}", help.lines().count());
    let settings = help.split("Settings:").nth(1).unwrap();
    for shown in ["--config <FILE>", "--database-url <VALUE>", "--database-tls <VALUE>", "sealwright help settings"] {
        assert!(settings.contains(shown), "{shown}: {help}");
    }
    assert_eq!(settings.matches(" --").count(), 3, "{help}");
    assert!(sealwright(&["serve", "--help"]).contains("--listen") && !sealwright(&["token", "inspect", "--help"]).contains("--listen"));
}

#[test]
fn help_settings_lists_every_setting_with_its_places_default_and_range() {
    let list = sealwright(&["help", "settings"]);
    assert_eq!(list, sealwright(&["settings"]));
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let read = words(&list);
    for setting in SETTINGS {
        let variable = format!("SEALWRIGHT_{}", setting.name.to_uppercase());
        let flag = format!("--{},", setting.name.replace('_', "-"));
        assert!(read.contains(&variable) && read.contains(&words(setting.allowed)), "{}", setting.name);
        assert_eq!(read.contains(&flag), !setting.secret, "{flag}");
        assert!(setting.default.is_none_or(|default| read.contains(&format!("{} [default: {default}]", setting.name))), "{}", setting.name);
    }
    fits(&list, 100);
    fits(&on_a_terminal("help settings", NO_COLOR), 80);
}

#[test]
fn every_command_accepts_the_flag_of_every_setting() {
    for setting in SETTINGS.iter().filter(|setting| !setting.secret) {
        let flag = format!("--{}", setting.name.replace('_', "-"));
        for arguments in [&["user", "list", &flag, "y", "--help"][..], &[&flag, "y", "check", "--help"]] {
            assert!(sealwright(arguments).contains("Usage:"), "{arguments:?}");
        }
    }
}

#[test]
fn the_version_is_an_option_of_the_program_alone() {
    assert_eq!(sealwright(&["--version"]).trim(), concat!("sealwright ", env!("CARGO_PKG_VERSION")));
    for command in ["client", "client create", "serve", "settings"] {
        assert!(!on_a_terminal(&format!("{command} --help"), NO_COLOR).contains("--version"), "{command}");
    }
}

#[test]
fn errors_fit_a_terminal_and_are_one_line_in_a_pipe() {
    let error = on_a_terminal("health --url http://127.0.0.1:1", NO_COLOR);
    fits(&error, 80);
    assert!(error.lines().count() > 1 && error.contains("sealwright: http://127.0.0.1:1/"), "{error}");
    fits(&on_a_terminal("client create 'A B'", NO_COLOR), 80);
    let folder = TempDir::new().unwrap();
    let mut command = command(folder.path());
    command.args(["health", "--url", "http://127.0.0.1:1"]);
    let refused = finish(command).failed_saying(&["did not report"]);
    assert_eq!(refused.stderr.lines().count(), 1, "{refused:?}");
}

#[test]
fn an_error_shows_no_control_character_of_an_argument() {
    for command in ["client show", "chnge", "user list --unused-for", "client list --reource", "login list --user"] {
        let arguments = format!("{command} \"$(printf 'bil\\033]0;pwn\\007\\302\\233 ling\\033[8m')\"");
        for variable in [COLOR, NO_COLOR] {
            let shown = on_a_terminal(&arguments, variable);
            assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{9b}']), "{command}: {shown:?}");
        }
    }
    let shown = on_a_terminal("client show \"$(printf 'bil\\033]0;pwn\\007ling')\"", COLOR);
    assert!(shown.contains(r"bil\u{1b}]0;pwn\u{7}ling"), "{shown}");
}

#[test]
fn an_update_has_a_short_usage() {
    for (noun, name) in [("client", "ID"), ("user", "USERNAME"), ("resource", "AUDIENCE")] {
        let help = sealwright(&[noun, "update", "--help"]);
        assert!(help.contains(&format!("Usage: sealwright {noun} update <{name}> <OPTION>...\n")), "{help}");
    }
}

#[test]
fn colors_appear_on_a_terminal_unless_no_color_is_set() {
    for arguments in ["--help", "help settings", "check --lsten x", "health --url http://127.0.0.1:1"] {
        assert!(on_a_terminal(arguments, COLOR).contains("\u{1b}["), "{arguments}");
        assert!(!on_a_terminal(arguments, NO_COLOR).contains('\u{1b}'), "{arguments}");
    }
    assert!(!sealwright(&["client", "create", "--help"]).contains('\u{1b}'));
}

/// What bash offers for the last of these words.
fn completed_by_bash(words: &[&str]) -> String {
    let script = sealwright(&["completions", "bash"]);
    let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
    let ask = format!(
        "{script}\nCOMP_WORDS=({}); COMP_CWORD={}; _sealwright sealwright '{last}' '{before}'; echo \"${{COMPREPLY[@]}}\"",
        words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
        words.len() - 1
    );
    // By standard input: an argument is limited to 128 KiB.
    let mut bash = Command::new("bash").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(ask.as_bytes()).unwrap();
    let output = bash.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn bash_completes_commands_their_options_and_for_serve_all_settings() {
    assert_eq!(completed_by_bash(&["sealwright", "he"]), "health help");
    assert_eq!(completed_by_bash(&["sealwright", "client", "add"]), "add-secret add-key");
    assert_eq!(completed_by_bash(&["sealwright", "client", "create", "--al"]), "--allow");
    assert_eq!(completed_by_bash(&["sealwright", "serve", "--drain-t"]), "--drain-timeout");
    assert_eq!(completed_by_bash(&["sealwright", "client", "create", "--drain-t"]), "", "only what its help shows");
    assert_eq!(completed_by_bash(&["sealwright", "completions", ""]).matches("fish").count(), 1);
}

#[test]
fn man_writes_a_page_for_each_command() {
    let folder = TempDir::new().unwrap();
    let pages = folder.path().join("new/man1");
    sealwright(&["man", "--out", pages.to_str().unwrap()]);
    let read = |name: &str| std::fs::read_to_string(pages.join(name)).unwrap();
    let heading = read("sealwright-client-create.1").lines().find(|line| line.starts_with(".TH")).unwrap().to_owned();
    assert!(heading.starts_with(".TH sealwright-client-create 1"), "{heading}");
    assert!(heading.contains(&format!("\"sealwright {}\"", env!("CARGO_PKG_VERSION"))), "{heading}");
    assert!(["create", "update"].iter().all(|verb| read(&format!("sealwright-client-{verb}.1")).contains("introspects")));
    let settings = read("sealwright-settings.1");
    assert!(SETTINGS.iter().all(|setting| settings.contains(&format!("SEALWRIGHT_{}", setting.name.to_uppercase()))));
    assert_eq!(sealwright(&["man"]).trim(), read("sealwright.1").trim());
}
