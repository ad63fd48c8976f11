//! What the libraries we stand on must be: under a licence that fits ours, from crates.io.

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
    fn a_package_must_come_from_the_registry_or_this_tree() {
        assert_eq!(unfit_of("MIT", ""), 0);
        assert_eq!(unfit_of("MIT", "git+https://example.org/a"), 1);
    }
}
