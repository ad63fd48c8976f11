//! Who may depend on whom: the crate edges of the workspace and the libraries out of reach.
//!
//! ```text
//! proto <- shard <- wasm-host <- server      nobody depends on server
//! proto <- client <- loadgen                 server uses client for the demo
//! ```
//!
//! Invariants: an edge of any kind (normal, build, dev) between members is in `ALLOWED`; the
//! crates in `PURE` reach no library that does IO, over any number of steps, tests apart.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::Finding;

/// Each member with the members it may depend on. A member that is missing here is a finding.
const ALLOWED: [(&str, &[&str]); 8] = [
    ("trendsrv-proto", &[]),
    ("trendsrv-shard", &["trendsrv-proto"]),
    ("trendsrv-wasm-host", &["trendsrv-proto", "trendsrv-shard"]),
    ("trendsrv-client", &["trendsrv-proto"]),
    (
        "trendsrv-server",
        &["trendsrv-proto", "trendsrv-shard", "trendsrv-client", "trendsrv-wasm-host"],
    ),
    ("trendsrv-loadgen", &["trendsrv-proto", "trendsrv-client"]),
    ("trendsrv-instructions", &["trendsrv-proto", "trendsrv-shard"]),
    ("trendsrv-tidy", &[]),
];

/// Members that hold decisions only.
const PURE: [&str; 2] = ["trendsrv-proto", "trendsrv-shard"];

/// Libraries that do IO, run threads or run guests.
const OUTSIDE_WORLD: [&str; 8] =
    ["glommio", "glommio-ng", "tokio", "mio", "wasmtime", "io-uring", "socket2", "async-io"];

/// One package and its direct dependencies.
#[derive(Debug, Clone, Default)]
pub struct Package {
    /// The name in its manifest.
    pub name: String,
    /// The licence expression in its manifest, empty when there is none.
    pub licence: String,
    /// Where cargo takes it from, empty for a folder of this tree.
    pub registry: String,
    /// Package ids it needs to be built or to run.
    pub needs: Vec<String>,
    /// Package ids only its tests, examples and benchmarks need.
    pub needs_for_tests: Vec<String>,
}

/// The resolved dependency graph, by package id.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    /// Every package by its id.
    pub packages: BTreeMap<String, Package>,
    /// The ids of the workspace's own packages.
    pub members: BTreeSet<String>,
}

impl Graph {
    /// Asks cargo, without the network, for the graph of the workspace at `root`.
    ///
    /// # Errors
    /// What cargo said, when it failed; or what was missing from its answer.
    pub fn of_workspace(root: &Path) -> Result<Self, String> {
        let host = host_triple()?;
        let arguments = ["metadata", "--format-version", "1", "--offline", "--locked"];
        let output = Command::new(env!("CARGO"))
            .args(arguments)
            .args(["--filter-platform", &host])
            .current_dir(root)
            .output()
            .map_err(|error| format!("cargo metadata: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let metadata = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("cargo metadata: {error}"))?;
        Self::from_metadata(&metadata).ok_or_else(|| "cargo metadata lacks a field".to_owned())
    }

    /// Reads the answer of `cargo metadata`; none when a field is missing.
    pub fn from_metadata(metadata: &Value) -> Option<Self> {
        let mut graph = Self::default();
        for member in metadata["workspace_members"].as_array()? {
            graph.members.insert(member.as_str()?.to_owned());
        }
        for package in metadata["packages"].as_array()? {
            let name = package["name"].as_str()?.to_owned();
            let id = package["id"].as_str()?.to_owned();
            let licence = package["license"].as_str().unwrap_or_default().to_owned();
            let registry = package["source"].as_str().unwrap_or_default().to_owned();
            graph.packages.insert(id, Package { name, licence, registry, ..Package::default() });
        }
        for node in metadata["resolve"]["nodes"].as_array()? {
            let package = graph.packages.get_mut(node["id"].as_str()?)?;
            for dependency in node["deps"].as_array()? {
                let id = dependency["pkg"].as_str()?;
                let kinds = dependency["dep_kinds"].as_array()?;
                let tests_only = kinds.iter().all(|kind| kind["kind"] == "dev");
                let list =
                    if tests_only { &mut package.needs_for_tests } else { &mut package.needs };
                list.push(id.to_owned());
            }
        }
        Some(graph)
    }

    /// Edges between members that the layout does not allow.
    pub fn forbidden_edges(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        for id in &self.members {
            let package = &self.packages[id];
            let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == package.name) else {
                found.push(Finding::at(&package.name, 0, "crate without a row in edges.rs"));
                continue;
            };
            for needed in package.needs.iter().chain(&package.needs_for_tests) {
                let name = self.packages[needed].name.as_str();
                if self.members.contains(needed) && !allowed.contains(&name) {
                    let what = format!("depends on {name}; see docs/ARCHITECTURE.md for the edges");
                    found.push(Finding::at(&package.name, 0, what));
                }
            }
        }
        found
    }

    /// Paths from a pure member to a library that does IO.
    pub fn outside_world(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        for id in &self.members {
            let package = &self.packages[id];
            if !PURE.contains(&package.name.as_str()) {
                continue;
            }
            for (reached, path) in self.reachable(id) {
                if OUTSIDE_WORLD.contains(&self.packages[&reached].name.as_str()) {
                    found.push(Finding::at(&package.name, 0, format!("reaches IO by {path}")));
                }
            }
        }
        found
    }

    /// Every package needed from `start`, with one path to it written out.
    fn reachable(&self, start: &str) -> BTreeMap<String, String> {
        let mut reached = BTreeMap::new();
        let mut open = vec![(start.to_owned(), self.packages[start].name.clone())];
        while let Some((id, path)) = open.pop() {
            for needed in &self.packages[&id].needs {
                if !reached.contains_key(needed) {
                    let longer = format!("{path} -> {}", self.packages[needed].name);
                    reached.insert(needed.clone(), longer.clone());
                    open.push((needed.clone(), longer));
                }
            }
        }
        reached
    }
}

/// The platform this test was built on: only its packages are sure to be on the disk.
fn host_triple() -> Result<String, String> {
    let output = Command::new("rustc").arg("-vV").output();
    let output = output.map_err(|error| format!("rustc -vV: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| format!("rustc -vV names no host: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A graph of edges `(from, to)`; names that start with `trendsrv` are members.
    fn graph(needs: &[(&str, &str)], needs_for_tests: &[(&str, &str)]) -> Graph {
        let mut graph = Graph::default();
        for (from, to) in needs.iter().chain(needs_for_tests) {
            for name in [from, to] {
                let package = Package { name: (*name).to_owned(), ..Package::default() };
                graph.packages.entry((*name).to_owned()).or_insert(package);
                if name.starts_with("trendsrv") {
                    graph.members.insert((*name).to_owned());
                }
            }
        }
        for (from, to) in needs {
            graph.packages.get_mut(*from).expect("named").needs.push((*to).to_owned());
        }
        for (from, to) in needs_for_tests {
            graph.packages.get_mut(*from).expect("named").needs_for_tests.push((*to).to_owned());
        }
        graph
    }

    #[test]
    fn the_drawn_edges_are_allowed() {
        let edges = [
            ("trendsrv-shard", "trendsrv-proto"),
            ("trendsrv-server", "trendsrv-shard"),
            ("trendsrv-server", "trendsrv-client"),
            ("trendsrv-loadgen", "trendsrv-client"),
        ];
        assert_eq!(graph(&edges, &[]).forbidden_edges(), []);
    }

    #[test]
    fn refuses_an_edge_against_the_direction_even_in_tests() {
        let up = [("trendsrv-proto", "trendsrv-shard")];
        let server = [("trendsrv-loadgen", "trendsrv-server")];
        assert_eq!(graph(&up, &[]).forbidden_edges().len(), 1);
        assert_eq!(graph(&server, &[]).forbidden_edges().len(), 1);
        assert_eq!(graph(&[], &server).forbidden_edges().len(), 1);
    }

    #[test]
    fn refuses_a_member_nobody_placed() {
        let found = graph(&[("trendsrv-cellar", "serde")], &[]).forbidden_edges();
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn refuses_a_pure_crate_that_reaches_io_over_others() {
        let found = graph(&[("trendsrv-shard", "a"), ("a", "b"), ("b", "tokio")], &[]);
        let found = found.outside_world();
        assert_eq!(found.len(), 1);
        assert!(found[0].what.ends_with("trendsrv-shard -> a -> b -> tokio"), "{}", found[0]);
    }

    #[test]
    fn tests_of_a_pure_crate_may_use_what_they_like() {
        let tests = [("trendsrv-shard", "proptest")];
        assert_eq!(graph(&[("proptest", "tokio")], &tests).outside_world(), []);
    }

    #[test]
    fn reads_kinds_of_dependencies_from_metadata() {
        let text = r#"{"workspace_members":["s"],"packages":[{"name":"x","id":"s"},
            {"name":"n","id":"n"},{"name":"d","id":"d"}],"resolve":{"nodes":[{"id":"s","deps":[
            {"pkg":"n","dep_kinds":[{"kind":null},{"kind":"dev"}]},
            {"pkg":"d","dep_kinds":[{"kind":"dev"}]}]}]}}"#;
        let metadata = serde_json::from_str(text).expect("json");
        let graph = Graph::from_metadata(&metadata).expect("complete");
        assert_eq!(graph.packages["s"].needs, ["n"]);
        assert_eq!(graph.packages["s"].needs_for_tests, ["d"]);
        assert!(Graph::from_metadata(&Value::Null).is_none());
    }
}
