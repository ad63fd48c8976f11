//! Where Flink and Java are on this machine.
//!
//! Owns: the folder with Flink's jars, and what is said when something is missing. Downloads
//! nothing.

use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the folder that holds Flink.
pub(super) const HOME_VARIABLE: &str = "LOADGEN_FLINK_HOME";
/// The version that the settings were chosen for.
const VERSION: &str = "2.3.0";

/// Flink's jars, and the Java that runs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Home {
    /// The folder with `flink-dist-VERSION.jar` and those beside it.
    pub(super) jars: PathBuf,
    pub(super) version: String,
    pub(super) java: String,
}

impl Home {
    /// Finds Flink and a Java development kit.
    ///
    /// # Errors
    /// With what is missing, and how to get it.
    pub(super) fn find() -> anyhow::Result<Self> {
        let folder = folder(&|name| std::env::var_os(name).map(PathBuf::from))?;
        let (jars, version) = jars(&folder)?;
        let java = said(Command::new("java").arg("-version"))?;
        said(Command::new("javac").arg("-version"))?;
        Ok(Self { jars, version, java })
    }

    /// The class path with all jars.
    pub(super) fn class_path(&self) -> String {
        format!("{}/*", self.jars.display())
    }
}

/// The folder that the environment names, or the one in the user's cache.
fn folder(variable: &dyn Fn(&str) -> Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let set = |name| variable(name).filter(|path| !path.as_os_str().is_empty());
    if let Some(folder) = set(HOME_VARIABLE) {
        return Ok(folder);
    }
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    let cache = cache.with_context(|| format!("neither {HOME_VARIABLE} nor HOME is set"))?;
    Ok(cache.join("trendsrv/flink"))
}

/// The jars in a folder made by pip, or in an unpacked download of Flink.
fn jars(folder: &Path) -> anyhow::Result<(PathBuf, String)> {
    for lib in ["pyflink/lib", "lib"] {
        let lib = folder.join(lib);
        let Ok(entries) = std::fs::read_dir(&lib) else { continue };
        let version = entries.flatten().find_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix("flink-dist-")?.strip_suffix(".jar")?;
            Some(version.to_owned())
        });
        if let Some(version) = version {
            return Ok((lib, version));
        }
    }
    bail!(
        "Flink is not in {folder}: run `pip install --no-deps --target {folder} \
         apache-flink-libraries=={VERSION}` (330 MB), or name a folder that holds it with \
         {HOME_VARIABLE}",
        folder = folder.display()
    )
}

/// The first line that a program says.
fn said(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| {
        format!(
            "cannot run {name}: Flink needs a Java development kit; run `apt-get install \
             openjdk-17-jdk-headless`"
        )
    })?;
    // `java -version` speaks on standard error.
    let text = [output.stderr, output.stdout].concat();
    let line = String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned();
    if !output.status.success() || line.is_empty() {
        bail!("`{name} -version` ends with {}: {line}", output.status);
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::programs::Folder;

    #[test]
    fn the_folder_is_the_one_named_or_in_the_cache() {
        let of = |pairs: &'static [(&str, &str)]| {
            folder(&move |name| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value))
            })
        };
        assert_eq!(of(&[(HOME_VARIABLE, "/f"), ("HOME", "/h")]).unwrap(), Path::new("/f"));
        let cache = of(&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]).unwrap();
        assert_eq!(cache, Path::new("/x/trendsrv/flink"));
        let cache = of(&[("XDG_CACHE_HOME", ""), ("HOME", "/h")]).unwrap();
        assert_eq!(cache, Path::new("/h/.cache/trendsrv/flink"));
        assert!(of(&[]).unwrap_err().to_string().contains(HOME_VARIABLE));
    }

    #[test]
    fn jars_are_found_in_both_layouts_and_their_absence_says_how_to_get_them() {
        for layout in ["pyflink/lib", "lib"] {
            let folder = Folder::new().unwrap();
            let error = jars(folder.path()).unwrap_err().to_string();
            assert!(error.contains("pip install --no-deps --target"), "{error}");
            let lib = folder.path().join(layout);
            std::fs::create_dir_all(&lib).unwrap();
            assert!(jars(folder.path()).is_err(), "an empty folder is no Flink");
            std::fs::write(lib.join("flink-dist-2.3.1.jar"), "").unwrap();
            assert_eq!(jars(folder.path()).unwrap(), (lib, "2.3.1".to_owned()));
        }
    }

    #[test]
    fn a_program_that_is_not_there_names_the_package() {
        let error = said(&mut Command::new("no-such-java")).unwrap_err().to_string();
        assert!(error.contains("no-such-java") && error.contains("openjdk-17"), "{error}");
        assert!(said(&mut Command::new("false")).is_err());
        assert_eq!(said(Command::new("echo").arg("one\ntwo")).unwrap(), "one");
    }
}
