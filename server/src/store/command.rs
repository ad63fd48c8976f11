//! `trendsrv inspect DIR`: what [`super::inspect`] finds, printed.

use super::disk::RealDisk;
use super::inspect::inspect;
use crate::config::InspectArgs;
use crate::folder_lock::FolderLock;
use std::io::Write as _;
use std::process::ExitCode;

/// Prints what is found. The code is 0 when all is sound, 1 when something is damaged, 2 when there
/// is nothing to be read.
#[must_use]
pub fn inspect_command(args: &InspectArgs) -> ExitCode {
    let disk = RealDisk::new(&args.dir);
    let findings = inspect(&disk).map(|mut findings| {
        // A lock that cannot be asked is no reason not to read.
        findings.in_use = FolderLock::is_taken(&args.dir).unwrap_or(false);
        findings
    });
    let findings = match findings {
        Ok(findings) => findings,
        Err(error) => {
            eprintln!("{}: {error}", args.dir.display());
            return ExitCode::from(NOTHING_READ);
        }
    };
    let words = if args.json {
        serde_json::to_string_pretty(&findings).map(|json| json + "\n")
    } else {
        Ok(format!("{}: {findings}", args.dir.display()))
    };
    let printed = words.map_err(std::io::Error::from).and_then(|words| {
        let mut out = std::io::stdout();
        out.write_all(words.as_bytes()).and_then(|()| out.flush())
    });
    if let Err(error) = printed {
        eprintln!("cannot write to standard output: {error}");
        return ExitCode::from(NOTHING_READ);
    }
    if findings.is_sound() { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) }
}

const DAMAGED: u8 = 1;
const NOTHING_READ: u8 = 2;
