//! placeholder
use crate::config::Config;
/// Runs.
///
/// # Errors
/// Fails.
pub fn run(config: &Config) -> anyhow::Result<()> {
    process_run(config)
}
fn process_run(config: &Config) -> anyhow::Result<()> {
    crate::process::start(config)?.wait()?;
    Ok(())
}
