//! The house rules, held against this tree.

use std::path::Path;

use trendsrv_tidy::edges::Graph;
use trendsrv_tidy::tree::{self, SourceFile};
use trendsrv_tidy::{Finding, libraries, markdown, marks, promises, source};

fn files() -> Vec<SourceFile> {
    let files = tree::read(&tree::root()).expect("the tree is readable");
    assert!(files.iter().any(|file| file.path == "Cargo.toml"), "this is not the project's root");
    files
}

fn file(path: &str) -> SourceFile {
    let found = files().into_iter().find(|file| file.path == path);
    found.unwrap_or_else(|| panic!("{path} is missing"))
}

fn exists(path: &Path) -> bool {
    tree::root().join(path).exists()
}

/// Fails with every finding, so that one run shows all there is to mend.
fn none(found: impl IntoIterator<Item = Finding>) {
    let lines: Vec<String> = found.into_iter().map(|finding| finding.to_string()).collect();
    assert!(lines.is_empty(), "{} broken rules:\n{}", lines.len(), lines.join("\n"));
}

fn each(check: impl Fn(&SourceFile) -> Vec<Finding>) {
    none(files().iter().flat_map(check));
}

fn documents(check: impl Fn(&SourceFile) -> Vec<Finding>) {
    each(|file| if file.has_extension("md") { check(file) } else { Vec::new() });
}

#[test]
fn crates_depend_only_along_the_drawn_edges() {
    none(Graph::of_workspace(&tree::root()).expect("cargo metadata").forbidden_edges());
}

#[test]
fn proto_and_shard_reach_no_library_that_does_io() {
    none(Graph::of_workspace(&tree::root()).expect("cargo metadata").outside_world());
}

#[test]
fn libraries_come_from_the_registry_under_licences_that_fit() {
    none(libraries::unfit(&Graph::of_workspace(&tree::root()).expect("cargo metadata")));
}

#[test]
fn libraries_have_a_row_in_their_record() {
    let graph = Graph::of_workspace(&tree::root()).expect("cargo metadata");
    none(libraries::unrecorded(&graph, &file("docs/decisions/009-libraries.md").text));
}

#[test]
fn proto_and_shard_name_nothing_of_the_outside_world() {
    each(source::outside_names);
}

#[test]
fn proto_shard_and_client_forbid_unsafe() {
    none(source::missing_forbid(&files()));
}

#[test]
fn unsafe_code_stands_in_listed_files_and_is_explained() {
    let allowed = source::unsafe_list(&file("docs/ARCHITECTURE.md").text);
    none(source::unsafe_code(&files(), &allowed));
}

#[test]
fn files_are_short() {
    none(files().iter().filter_map(source::too_long));
}

#[test]
fn links_lead_somewhere() {
    documents(|file| markdown::broken_links(file, exists));
}

#[test]
fn numbers_in_the_readme_name_their_evidence() {
    none(markdown::numbers_without_evidence(&file("README.md"), exists));
}

#[test]
fn promises_name_tests_that_exist() {
    none(promises::unheld(&file("docs/SPECIFICATION.md"), &files()));
}

#[test]
fn no_unfinished_work_is_marked_in_sources() {
    each(marks::unfinished);
}

#[test]
fn no_path_of_one_machine_is_written_down() {
    each(marks::private_paths);
}
