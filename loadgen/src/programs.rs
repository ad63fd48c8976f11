//! Programs that a run brings along: which, and how a server gets them.
//!
//! Owns: the few programs in loadgen/programs (source beside each .wasm). Never touches: what the
//! server does with them; it is told over HTTP, like by anyone.
//!
//! ```text
//! --spawn --program observe-pass    server over a folder -> PUT /v1/programs/observe-pass -> stop
//!                                   server over the same folder, --default-program observe-pass
//! ```

use crate::ending::Temporary;
use crate::http;
use crate::limits::PROGRAM_BYTES_MAX;
use anyhow::{Context as _, bail};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// What the tenants of a run run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// A program that every server has, or that the server is said to have.
    Known(String),
    /// A program that it must be given.
    Brought {
        /// The name it gets.
        name: String,
        /// Its bytes.
        wasm: Vec<u8>,
    },
}

impl Choice {
    /// Reads `NAME|FILE.wasm`.
    ///
    /// # Errors
    /// When the file cannot be read, or no program has this name.
    pub(crate) fn read(text: &str) -> anyhow::Result<Self> {
        if KNOWN.contains(&text) {
            return Ok(Self::Known(text.to_owned()));
        }
        if let Some((name, wasm)) = BROUGHT.iter().find(|(name, _)| *name == text) {
            return Ok(Self::Brought { name: (*name).to_owned(), wasm: wasm.to_vec() });
        }
        let path = Path::new(text);
        if path.extension().is_none_or(|extension| extension != "wasm") {
            let names: Vec<_> = BROUGHT.iter().map(|(name, _)| *name).collect();
            bail!(
                "no program {text:?}; there are {} and {}, or name a file that ends in .wasm",
                KNOWN.join(", "),
                names.join(", ")
            );
        }
        let size = path.metadata().with_context(|| format!("cannot read {text}"))?.len();
        if size > PROGRAM_BYTES_MAX {
            bail!("{text} has {size} bytes; a program has at most {PROGRAM_BYTES_MAX}");
        }
        let wasm = std::fs::read(path).with_context(|| format!("cannot read {text}"))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
        Ok(Self::Brought { name, wasm })
    }

    /// The name that the server knows it by.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Known(name) | Self::Brought { name, .. } => name,
        }
    }

    /// Gives it to a server that may not have it.
    ///
    /// # Errors
    /// When the server does not take it, with its words.
    pub(crate) fn give_to(&self, http: &str) -> anyhow::Result<()> {
        match self {
            Self::Known(_) => Ok(()),
            Self::Brought { name, wasm } => put(http, &format!("/v1/programs/{name}"), wasm),
        }
    }
}

/// Assigns a program to a tenant.
pub(crate) fn assign(http: &str, tenant: &str, program: &str) -> anyhow::Result<()> {
    let body = serde_json::json!({ "program": program }).to_string();
    put(http, &format!("/v1/tenants/{tenant}/program"), body.as_bytes())
}

/// What tenants without an assignment run on a server.
pub(crate) fn default_of(http: &str) -> anyhow::Result<String> {
    let (status, body) = http::get(http, "/v1/programs")?;
    if status != 200 {
        bail!("GET http://{http}/v1/programs answers {status}");
    }
    let reply: serde_json::Value =
        serde_json::from_slice(&body).context("/v1/programs is not JSON")?;
    let name = reply["default"].as_str().context("/v1/programs tells no default")?;
    Ok(name.to_owned())
}

fn put(http: &str, path: &str, body: &[u8]) -> anyhow::Result<()> {
    let (status, reply) = http::put(http, path, body)?;
    if !(200..300).contains(&status) {
        bail!("PUT http://{http}{path} answers {status}: {}", String::from_utf8_lossy(&reply));
    }
    Ok(())
}

/// A folder for a server's programs, gone at the end.
#[derive(Debug)]
pub(crate) struct Folder(Temporary);

impl Folder {
    /// A new one among the temporary files.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Self::within(&std::env::temp_dir())
    }

    /// A new one in another folder.
    pub(crate) fn within(parent: &Path) -> anyhow::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("loadgen-{}-{count}", std::process::id());
        let path = parent.join(name);
        let what = format!("cannot make the folder {}", path.display());
        Temporary::make(path).map(Self).context(what)
    }

    /// Where.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Programs that every server has; `native` is none, the same in plain Rust.
const KNOWN: [&str; 2] = ["trending", NATIVE];

/// The default without a program.
pub(crate) const NATIVE: &str = "native";

/// Programs that come with the load generator.
const BROUGHT: [(&str, &[u8]); 4] = [
    ("observe-pass", include_bytes!("../programs/observe-pass.wasm")),
    ("loop-observe", include_bytes!("../programs/loop-observe.wasm")),
    ("loop-summarise", include_bytes!("../programs/loop-summarise.wasm")),
    ("burn", include_bytes!("../programs/burn.wasm")),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// With `WRITE_PROGRAMS=1` it writes what it would otherwise compare.
    #[test]
    fn every_program_is_what_its_source_says() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs");
        for (name, wasm) in BROUGHT {
            let built = wat::parse_file(folder.join(format!("{name}.wat"))).unwrap();
            if std::env::var_os("WRITE_PROGRAMS").is_some() {
                std::fs::write(folder.join(format!("{name}.wasm")), &built).unwrap();
            } else {
                assert_eq!(wasm, built, "{name}: run this test with WRITE_PROGRAMS=1");
            }
        }
    }

    #[test]
    fn a_choice_is_a_known_name_one_of_ours_or_a_file() {
        assert_eq!(Choice::read("native").unwrap(), Choice::Known("native".to_owned()));
        let Choice::Brought { name, wasm } = Choice::read("observe-pass").unwrap() else {
            panic!("comes along")
        };
        assert!(name == "observe-pass" && wasm.starts_with(b"\0asm"));
        let folder = Folder::new().unwrap();
        let file = folder.path().join("Mine.wasm");
        std::fs::write(&file, b"bytes").unwrap();
        let read = Choice::read(file.to_str().unwrap()).unwrap();
        assert_eq!(read, Choice::Brought { name: "mine".to_owned(), wasm: b"bytes".to_vec() });
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
        let error = Choice::read("observe").unwrap_err().to_string();
        assert!(error.contains("observe-pass") && error.contains("trending"), "{error}");
    }
}
