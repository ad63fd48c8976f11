//! What the libraries we stand on must be: under a licence that fits ours, from crates.io.

use std::collections::BTreeSet;

use crate::Finding;
use crate::edges::{Graph, Package};

/// Licences that fit Apache-2.0. An expression passes when one side of each `AND` is here.
const LICENCES: [&str; 10] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "ISC",
    // Copyleft by file: fits while the library is used as it is. Comes with glommio.
    "MPL-2.0+",
    "Unicode-3.0",
    "Zlib",
];

/// The one registry cargo may take packages from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Packages under another licence or from elsewhere.
pub fn unfit(graph: &Graph) -> Vec<Finding> {
    let mut found = Vec::new();
    for Package { name, licence, registry, .. } in graph.packages.values() {
        if !fits(licence) {
            found.push(Finding::at(name, 0, format!("licence `{licence}` is not in libraries.rs")));
        }
        if !registry.is_empty() && registry != REGISTRY {
            found.push(Finding::at(name, 0, format!("comes from {registry}, not from crates.io")));
        }
    }
    found
}

/// Libraries that a member names in its manifest and that the record of libraries does not.
///
/// A row of the record begins with names and versions: `| axum 0.8, tokio 1 | …`.
pub fn unrecorded(graph: &Graph, record: &str) -> Vec<Finding> {
    let rows = record.lines().filter_map(|line| line.strip_prefix('|')?.split('|').next());
    let names =
        rows.flat_map(|cell| cell.split(',')).filter_map(|one| one.split_whitespace().next());
    let recorded: BTreeSet<&str> = names.collect();
    let mut found = Vec::new();
    for member in graph.members.iter().map(|id| &graph.packages[id]) {
        for needed in member.needs.iter().chain(&member.needs_for_tests) {
            let name = graph.packages[needed].name.as_str();
            if !graph.members.contains(needed) && !recorded.contains(name) {
                let what = format!("uses {name}, which has no row in the record of libraries");
                found.push(Finding::at(&member.name, 0, what));
            }
        }
    }
    found
}

/// `A OR B`, `A/B` and `(A OR B) AND C`, as they are written in manifests.
fn fits(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], "").replace('/', " OR ");
    plain
        .split(" AND ")
        .all(|choice| choice.split(" OR ").any(|one| LICENCES.contains(&one.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unfit_of(licence: &str, registry: &str) -> usize {
        let package = Package {
            name: "a".to_owned(),
            licence: licence.to_owned(),
            registry: registry.to_owned(),
            ..Package::default()
        };
        let mut graph = Graph::default();
        graph.packages.insert("a".to_owned(), package);
        unfit(&graph).len()
    }

    #[test]
    fn a_licence_must_be_one_that_fits() {
        for good in ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "(MIT OR GPL-2.0) AND Zlib"] {
            assert_eq!(unfit_of(good, REGISTRY), 0, "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "MITX"] {
            assert_eq!(unfit_of(bad, REGISTRY), 1, "{bad}");
        }
    }

    #[test]
    fn a_library_needs_its_row() {
        let mut graph = Graph::default();
        for name in ["hyper", "toml"] {
            let package = Package { name: name.to_owned(), ..Package::default() };
            graph.packages.insert(name.to_owned(), package);
        }
        let needs = vec!["toml".to_owned()];
        let needs_for_tests = vec!["hyper".to_owned()];
        let member = Package { name: "m".to_owned(), needs, needs_for_tests, ..Package::default() };
        graph.packages.insert("m".to_owned(), member);
        graph.members.insert("m".to_owned());
        assert_eq!(unrecorded(&graph, "| serde 1, toml 1 | x |\n| hyper 1 | y |"), []);
        assert_eq!(unrecorded(&graph, "| toml 1 | x |\n| hyper-util 1 | hyper |").len(), 1);
        assert_eq!(unrecorded(&graph, "toml hyper").len(), 2);
    }

    #[test]
    fn a_package_must_come_from_the_registry_or_this_tree() {
        assert_eq!(unfit_of("MIT", ""), 0);
        assert_eq!(unfit_of("MIT", "git+https://example.org/a"), 1);
    }
}
