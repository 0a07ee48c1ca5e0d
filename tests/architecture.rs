//! Holds the house rules: which room may use which, what stays behind one door, and that every requirement owed has a test.
//!
//! Each rule is a function from a source to what it finds there. Here they are held over the crate; beside each, in
//! `architecture/`, stands the proof that it finds what it is there for.

#[path = "architecture/circles.rs"]
mod circles;
#[path = "architecture/features.rs"]
mod features;
#[path = "architecture/files.rs"]
mod files;
#[path = "architecture/imports.rs"]
mod imports;
#[path = "architecture/links.rs"]
mod links;
#[path = "architecture/one_door.rs"]
mod one_door;
#[path = "architecture/paths.rs"]
mod paths;
#[path = "architecture/requirements.rs"]
mod requirements;
#[path = "architecture/source.rs"]
mod source;
#[path = "architecture/unfinished.rs"]
mod unfinished;
#[path = "architecture/words.rs"]
mod words;

use std::{fs, path::Path};

use source::{Finding, files_under, sources_under};

/// Fails with all that was found, one line each.
fn assert_none(found: Vec<Finding>) {
    let lines: String = found.iter().map(|finding| format!("\n  {finding}")).collect();
    assert!(found.is_empty(), "{} found:{lines}", found.len());
}

#[test]
fn every_file_stands_in_a_room() {
    assert_none(sources_under("src").iter().flat_map(imports::no_room).collect());
}

#[test]
fn imports_run_one_way() {
    assert_none(sources_under("src").iter().flat_map(imports::upward).collect());
}

#[test]
fn no_files_form_a_circle() {
    assert_none(circles::circles(&sources_under("src")));
}

#[test]
fn the_front_pages_of_public_rooms_hold_docs_and_re_exports() {
    assert_none(sources_under("src").iter().flat_map(circles::code_on_a_front_page).collect());
}

#[test]
fn sql_is_spoken_in_the_store_alone() {
    assert_none(sources_under("src").iter().flat_map(one_door::sql).collect());
}

#[test]
fn the_system_clock_is_read_in_one_file() {
    assert_none(sources_under("src").iter().flat_map(one_door::clock).collect());
}

#[test]
fn randomness_is_drawn_in_one_file() {
    assert_none(sources_under("src").iter().flat_map(one_door::randomness).collect());
}

#[test]
fn features_gate_whole_modules() {
    assert_none(sources_under("src").iter().flat_map(features::scattered).collect());
}

#[test]
fn nothing_is_unsafe_unfinished_or_skipped() {
    assert_none(sources_under("src").iter().chain(&sources_under("tests")).flat_map(unfinished::left_over).collect());
}

#[test]
fn no_file_is_over_400_lines() {
    assert_none(files_under("src").iter().chain(&files_under("tests")).filter_map(files::too_long).collect());
}

#[test]
fn every_module_is_named_after_what_it_is() {
    assert_none(files_under("src").iter().filter_map(files::named_after_nothing).collect());
}

#[test]
fn what_a_person_reads_is_in_plain_english() {
    let mut files = documents();
    files.extend(files_under("src"));
    files.extend(files_under("examples"));
    let tested = [
        "api",
        "e2e",
        "faults",
        "from_zero",
        "gateways",
        "interop",
        "node",
        "operation",
        "packages",
        "packaging",
        "probe",
        "revocation",
        "rotation",
        "server",
        "two_nodes",
        "verifier",
    ];
    files.extend(tested.iter().flat_map(|folder| files_under(&format!("tests/{folder}"))));
    files.extend(["benches", "packaging"].into_iter().flat_map(files_under));
    files.extend([".ci/run", "Cargo.toml", "openapi.yaml", "tests/run"].map(source::file));
    // What people choose as passwords is not ours to write.
    files.retain(|file| !file.path.ends_with("common_passwords.txt") && !files::is_lock_file(file));
    assert_none(files.iter().flat_map(words::unplain).collect());
}

/// The pages that are written for people.
fn documents() -> Vec<source::File> {
    let mut files = vec![source::file("README.md"), source::file("keys/README.md")];
    files.extend(["docs", ".github"].into_iter().flat_map(files_under));
    files
}

#[test]
fn every_link_leads_somewhere() {
    let mut files = documents();
    files.extend(files_under("src"));
    files.extend(files_under("examples"));
    assert_none(files.iter().flat_map(links::broken).collect());
}

#[test]
fn every_file_in_the_map_and_the_recipes_exists() {
    assert_none(paths::missing(&source::file("docs/architecture.md")));
}

#[test]
fn the_readme_is_a_page() {
    let lines = source::file("README.md").text.lines().count();
    assert!(lines <= 250, "{lines} lines, and 250 are allowed: move the details into docs/");
}

#[test]
fn every_requirement_that_a_test_names_exists() {
    assert_none(sources_under("src").iter().chain(&sources_under("tests")).flat_map(requirements::unknown).collect());
}

#[test]
fn every_requirement_owed_has_a_test() {
    let mut sources = sources_under("src");
    sources.extend(sources_under("tests"));
    let scripts = files_under("tests").into_iter().filter(|file| file.path.ends_with(".py")).map(|file| file.text);
    let missing = requirements::untested(&sources, &scripts.collect::<Vec<_>>());
    assert!(missing.is_empty(), "no test's name begins with: {}", missing.join(", "));
}

/// The table of requirements is kept beside the checkout; who has it not is held to the list in `requirements` alone.
#[test]
fn the_list_of_requirements_is_the_tables() {
    let Ok(table) = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/requirements.md")) else {
        return;
    };
    assert_eq!(requirements::known(), requirements::ids_of_table(&table), "left: tests/architecture/requirements.rs, right: the table");
}
