//! trendsrv itself, as a system under test: the server beside this program, with a live program in
//! every tenant.

use super::{About, Cores, System};
use crate::run::{self, Done};
use crate::scenario::Scenario;
use crate::server::ServerArgs;
use anyhow::{Context as _, bail};
use std::path::PathBuf;
use std::process::Command;

/// The server that is found beside this program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trendsrv;

/// Its name where systems are named; ratios are its figures over others'.
pub(crate) const NAME: &str = "trendsrv";

impl System for Trendsrv {
    fn name(&self) -> &'static str {
        NAME
    }

    fn about(&self) -> anyhow::Result<About> {
        let program = program()?;
        let told = Command::new(&program).arg("--version").output().with_context(|| {
            format!(
                "cannot start {}: build it with `cargo build --release -p trendsrv-server`",
                program.display()
            )
        })?;
        if !told.status.success() {
            bail!("{} --version ended with {}", program.display(), told.status);
        }
        let settings = [
            "one shard for each core of the server: the default",
            "program `trending`, an instance in every tenant, ticking each second: the default",
            "window of 60 s in steps of 1 s: the default",
            "--tenants-max is the number of tenants offered, so that memory is what they need",
            "no log, because none of the others keeps one here: the default without --data-dir",
        ];
        Ok(About {
            version: String::from_utf8_lossy(&told.stdout).trim().to_owned(),
            asked: "Count each event in its tenant's 60-s window, in steps of 1 s, acknowledge a \
                    frame when queries see it, run a program in every tenant each second, and \
                    answer the top 10 topics of any tenant with exact counts."
                .to_owned(),
            settings: settings.map(str::to_owned).to_vec(),
        })
    }

    fn load(&self, scenario: &Scenario, cores: &Cores) -> anyhow::Result<Done> {
        let mut args = ServerArgs::spawned(&cores.server, &cores.loadgen);
        let room = tenants_max(scenario.tenants, cores.server.len());
        args.server_arg = vec!["--tenants-max".to_owned(), room.to_string()];
        run::load_with(&args, NAME, scenario)
    }
}

fn program() -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("trendsrv"))
}

/// Shards own slices of the tenants that are not quite alike; each gets a share of this room.
const fn tenants_max(tenants: u32, shards: usize) -> u32 {
    if shards > 1 { tenants.saturating_add(tenants / 10) } else { tenants }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_shards_get_room_for_uneven_slices() {
        assert_eq!(tenants_max(100_000, 1), 100_000);
        assert_eq!(tenants_max(100_000, 2), 110_000);
    }
}
