//! Facts about configuration: who wins, what is refused, and in which words.

use super::*;
use std::path::Path;

fn machine() -> Machine {
    Machine { cores: vec![0, 1, 2, 3], memory_bytes: Some(64 << 30) }
}

fn load(flags: &[&str], environment: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    use clap::Parser;
    let cli = Cli::try_parse_from(std::iter::once("trendsrv").chain(flags.iter().copied()))
        .expect("flags are known");
    let environment: Vec<(String, String)> =
        environment.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
    Config::load(&cli.flags, &environment, &machine())
}

fn config(flags: &[&str]) -> Config {
    load(flags, &[]).expect("a good configuration").config
}

/// The message of the refusal; every part of it is a promise to the operator.
#[track_caller]
fn refusal(flags: &[&str], environment: &[(&str, &str)], parts: &[&str]) {
    let message = load(flags, environment).expect_err("must be refused").to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

struct File(PathBuf);

impl File {
    fn new(name: &str, content: &str) -> Self {
        let path = std::env::temp_dir().join(format!("trendsrv-{}-{name}", std::process::id()));
        std::fs::write(&path, content).expect("a temporary file");
        File(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a UTF-8 path")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = config(&[]);
    assert_eq!(config.listen.to_string(), "127.0.0.1:7171");
    assert_eq!(config.http.to_string(), "127.0.0.1:7172");
    assert_eq!((config.shards, config.cores.len()), (4, 4));
    assert_eq!((config.window_ms, config.slide_ms, config.grid().panes()), (60_000, 1_000, 60));
    assert_eq!((config.clock, config.latency), (Clock::Wall, Latency::Adaptive));
    assert_eq!((config.tenants_max, config.topics_max), (100_000, 1_600_000));
    assert!((900 << 20..1_100 << 20).contains(&config.window_memory_bytes));
    assert_eq!(config.shard_port_base, 0);
}

#[test]
fn flag_wins_over_environment_over_file_over_default() {
    let file = File::new(
        "precedence.toml",
        "window = \"10s\"\ntenants_max = 5_000\nslide = \"500ms\"\ninsecure = true\ncores = [2, 3]\n",
    );
    let environment = [
        ("TRENDSRV_CONFIG", file.path()),
        ("TRENDSRV_WINDOW", "20s"),
        ("TRENDSRV_TENANTS_MAX", "6000"),
    ];
    let loaded = load(&["--window", "30s"], &environment).expect("good");
    let config = loaded.config;
    assert_eq!(config.window_ms, 30_000, "flag");
    assert_eq!(config.tenants_max, 6_000, "environment");
    assert_eq!(config.slide_ms, 500, "file");
    assert!(config.insecure, "file");
    assert_eq!((config.shards, config.cores), (2, vec![2, 3]), "file, a list");
    assert_eq!(config.latency, Latency::Adaptive, "default");
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn an_error_names_flag_or_variable_or_line() {
    refusal(&["--window", "soon"], &[], &["flag --window", "window = \"soon\"", "60s"]);
    refusal(
        &[],
        &[("TRENDSRV_TENANTS_MAX", "0")],
        &["environment variable TRENDSRV_TENANTS_MAX", "tenants_max = \"0\"", "from 1 to 16000000"],
    );
    let file = File::new("line.toml", "# a comment\n\nclock = \"lunar\"\n");
    refusal(
        &["--config", file.path()],
        &[],
        &["line.toml:3", "clock = \"lunar\"", "must be wall or event"],
    );
}

#[test]
fn refuses_a_bad_file() {
    let unknown = File::new("unknown.toml", "listen = \"127.0.0.1:1\"\ntenant_max = 5\n");
    refusal(
        &["--config", unknown.path()],
        &[],
        &["unknown.toml:2", "unknown setting \"tenant_max\"", "did you mean tenants_max?"],
    );
    let table = File::new("table.toml", "[shards]\nn = 1\n");
    refusal(
        &["--config", table.path()],
        &[],
        &["table.toml:1", "a TOML table", "must be a string"],
    );
    let float = File::new("float.toml", "shards = 1.5\n");
    refusal(&["--config", float.path()], &[], &["float.toml:1", "a TOML float"]);
    let broken = File::new("broken.toml", "shards = 1\nwindow = \n");
    refusal(&["--config", broken.path()], &[], &["broken.toml:2", "not valid TOML"]);
    let nested = File::new("nested.toml", "config = \"other.toml\"\n");
    refusal(&["--config", nested.path()], &[], &["nested.toml:1", "unknown setting \"config\""]);
    refusal(
        &[],
        &[("TRENDSRV_CONFIG", "/nonexistent/trendsrv.toml")],
        &["cannot read", "/nonexistent/trendsrv.toml", "environment variable TRENDSRV_CONFIG"],
    );
}

#[test]
fn warns_of_an_unknown_variable() {
    let loaded = load(&[], &[("TRENDSRV_SLIDES", "1s"), ("OTHER_SLIDES", "1s")]).expect("good");
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].contains("TRENDSRV_SLIDES"), "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].contains("did you mean TRENDSRV_SLIDE?"), "{:?}", loaded.warnings);
}

#[test]
fn window_must_be_whole_slides() {
    assert_eq!(config(&["--window", "1h", "--slide", "1m"]).grid().panes(), 60);
    assert_eq!(config(&["--window", "2s", "--slide", "1s"]).grid().panes(), 2);
    assert_eq!(config(&["--window", "64s", "--slide", "1s"]).grid().panes(), 64);
    refusal(&["--window", "65s"], &[], &["flag --window", "2 to 64"]);
    refusal(&["--window", "1s"], &[], &["flag --window", "2 to 64"]);
    refusal(&["--window", "1500ms"], &[], &["whole number of slides"]);
    refusal(&["--slide", "7s"], &[], &["flag --slide", "whole number of slides"]);
    refusal(&["--slide", "50ms"], &[], &["flag --slide", "100ms to 24h"]);
}

#[test]
fn another_address_needs_insecure_and_warns() {
    refusal(&["--listen", "0.0.0.0:7171"], &[], &["flag --listen", "loopback", "--insecure"]);
    refusal(&["--http", "[::]:7172"], &[], &["flag --http", "loopback", "--insecure"]);
    refusal(&["--listen", "7171"], &[], &["flag --listen", "IP address and a port"]);
    let loaded = load(&["--listen", "0.0.0.0:7171", "--insecure"], &[]).expect("allowed");
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].contains("INSECURE"), "{:?}", loaded.warnings);
    assert!(load(&["--listen", "[::1]:7171", "--http", "localhost:0"], &[]).is_ok());
}

#[test]
fn ports_must_not_clash() {
    refusal(&["--http", "127.0.0.1:7171"], &[], &["flag --http", "127.0.0.1:7171"]);
    refusal(&["--listen", "127.0.0.1:7172"], &[], &["flag --listen"]);
    refusal(
        &["--shard-port-base", "7170", "--shards", "2"],
        &[],
        &["flag --shard-port-base", "port 7171 of shard 1"],
    );
    refusal(&["--shard-port-base", "65535", "--shards", "2"], &[], &["65536"]);
    let config = config(&["--shard-port-base", "7180", "--shards", "2"]);
    assert_eq!(config.direct_address(1).to_string(), "127.0.0.1:7181");
    assert!(load(&["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"], &[]).is_ok());
}

#[test]
fn shards_are_pinned_while_there_are_cores() {
    let pinned = config(&["--cores", "2,0", "--shards", "1"]);
    assert_eq!((pinned.core_of(0), pinned.cores), (Some(2), vec![2]));
    let crowded = load(&["--cores", "1", "--shards", "3"], &[]).expect("allowed");
    assert_eq!(crowded.config.core_of(0), None);
    assert!(crowded.warnings[0].contains("not pinned"), "{:?}", crowded.warnings);
    refusal(&["--cores", "0,9"], &[], &["flag --cores", "core 9", "[0, 1, 2, 3]"]);
    refusal(&["--shards", "0"], &[], &["flag --shards", "from 1 to 256"]);
}

#[test]
fn a_data_directory_has_a_log_unless_told_otherwise() {
    let without = config(&["--no-log"]);
    assert_eq!((&without.log, &without.programs_dir), (&None, &None));
    assert_eq!(without, config(&[]));
    let with = config(&["--data-dir", "/data"]);
    let log = with.log.expect("a log");
    assert_eq!((log.dir.as_path(), log.segment_bytes), (Path::new("/data"), 64 << 20));
    assert_eq!(log.snapshot_interval_ms, 60_000);
    assert_eq!(with.programs_dir.as_deref(), Some(Path::new("/data/programs")));
    let apart = ["--data-dir", "/data", "--programs-dir", "/p", "--no-log=false"];
    let apart = config(&apart);
    assert_eq!((apart.log.is_some(), apart.programs_dir), (true, Some("/p".into())));
    let programs = config(&["--data-dir", "/data", "--no-log"]);
    assert_eq!((programs.log, programs.programs_dir), (None, Some("/data/programs".into())));
}

#[test]
fn settings_of_the_log_are_checked_and_never_ignored() {
    refusal(&[], &[("TRENDSRV_NO_LOG", "false")], &["TRENDSRV_NO_LOG", "--data-dir"]);
    refusal(&["--snapshot-interval", "9s"], &[], &["flag --snapshot-interval", "with a log"]);
    let none = ["--data-dir", "/d", "--no-log", "--log-segment-bytes", "64MiB"];
    refusal(&none, &[], &["flag --log-segment-bytes", "without --no-log"]);
    let bad = |flag: &str, value: &str, rule: &str| {
        refusal(&["--data-dir", "/d", flag, value], &[], &[flag, value, rule]);
    };
    bad("--snapshot-interval", "500ms", "from 1s to 24h");
    bad("--snapshot-interval", "2000h", "from 1s to 24h");
    bad("--log-segment-bytes", "1MiB", "from 8MiB to 4GiB");
    bad("--log-segment-bytes", "8388609", "multiple of 4KiB");

    let good = ["--data-dir", "/d", "--log-segment-bytes", "8MiB", "--snapshot-interval", "5s"];
    let log = config(&good).log.expect("a log");
    assert_eq!((log.segment_bytes, log.snapshot_interval_ms), (8 << 20, 5_000));
}

#[test]
fn window_memory_is_bounded_on_both_sides() {
    refusal(&["--window-memory", "100MiB"], &[], &["flag --window-memory", "tenants need from"]);
    refusal(&["--window-memory", "9999TiB"], &[], &["flag --window-memory"]);
    refusal(&["--window-memory", "lots"], &[], &["flag --window-memory", "bytes"]);
    assert_eq!(config(&["--window-memory", "512MiB"]).window_memory_bytes, 512 << 20);
}

#[test]
fn every_tenant_fits_whatever_its_name() {
    let one = config(&["--shards", "1", "--tenants-max", "10"]);
    assert_eq!(one.tenants_per_shard_max(), 10);
    let two = config(&["--shards", "2"]);
    assert_eq!(two.tenants_per_shard_max(), 50_000 + 6 * 224);
    let few = config(&["--shards", "4", "--tenants-max", "3"]);
    assert_eq!(few.tenants_per_shard_max(), 3);
}

#[test]
fn the_plan_adds_up() {
    let config = config(&["--shards", "2", "--window-memory", "1GiB"]);
    let plan = MemoryPlan::new(&config);
    let tenants = config.tenants_per_shard_max() as u64;
    assert_eq!(plan.bytes_of("windows"), tenants * 2_112);
    let lines: u64 = plan.per_shard.iter().map(|line| line.bytes).sum();
    let passing: u64 = plan.passing.iter().map(|line| line.bytes).sum();
    assert_eq!(plan.planned_bytes(), 2 * lines + plan.program_bytes);
    let growth = (512 << 20) - tenants * 2_112;
    assert_eq!(plan.cap_bytes(), plan.planned_bytes() + 2 * growth + passing);
    let table = plan.to_string();
    for line in plan.per_shard.iter().chain(&plan.passing) {
        assert!(table.contains(line.what), "{table}");
    }
}

#[test]
fn a_tenant_of_twelve_topics_costs_at_most_four_kibibytes_and_six_with_its_program() {
    for (program, bytes_max) in [("native", 4 << 10), ("trending", 10 << 10)] {
        let flags = ["--shards", "1", "--topics-max", "1200000", "--default-program", program];
        let config = config(&flags);
        let plan = MemoryPlan::new(&config);
        let tenant = plan.planned_bytes() / config.tenants_max as u64;
        assert!(tenant <= bytes_max, "{tenant} bytes\n{plan}");
        assert!(plan.to_string().contains("program instances"), "{plan}");
    }
}

#[test]
fn the_least_window_memory_named_is_enough() {
    let flags = ["--shards", "3", "--tenants-max", "50000", "--window-memory"];
    let ask = |size: &str| load(&[flags.as_slice(), &[size]].concat(), &[]);
    let message = ask("1MiB").expect_err("too small").to_string();
    let (_, least) = message.split_once("use at least ").expect("a way out");
    let (least, _) = least.split_once(',').expect("a size");
    let config = ask(least).expect("the size the message names").config;
    let windows = config.window_config([0; 2]);
    assert!(config.window_bytes_per_shard() >= windows.memory_bytes(0));
}

#[test]
fn warns_when_the_machine_is_too_small() {
    let flags = Flags { tenants_max: Some("1000000".into()), ..Flags::default() };
    let machine = Machine { cores: vec![0], memory_bytes: Some(1 << 30) };
    let loaded = Config::load(&flags, &[], &machine).expect("allowed");
    assert!(loaded.warnings.iter().any(|w| w.contains("machine has 1024 MiB")));
}

#[test]
fn programs_have_their_places() {
    let plain = config(&[]);
    assert_eq!(plain.default_program, DefaultProgram::Named(ProgramName::trending()));
    assert_eq!((plain.program_cache, plain.programs_dir), (ProgramCache::Off, None));
    let cache = |flags: &[&str], environment: &[(&str, &str)]| {
        load(flags, environment).expect("good").config.program_cache
    };
    let home = [("HOME", "/users/me")];
    let usual = |path: &str| ProgramCache::Usual(path.into());
    assert_eq!(cache(&[], &home), usual("/users/me/.cache/trendsrv"));
    let both = [("HOME", "/users/me"), ("XDG_CACHE_HOME", "/var/cache")];
    assert_eq!(cache(&[], &both), usual("/var/cache/trendsrv"));
    let relative = [("HOME", "/users/me"), ("XDG_CACHE_HOME", "cache")];
    assert_eq!(cache(&[], &relative), usual("/users/me/.cache/trendsrv"));
    assert_eq!(cache(&["--program-cache", "off"], &home), ProgramCache::Off);
    assert_eq!(cache(&["--program-cache", "/c"], &home), ProgramCache::Asked("/c".into()));
    let native = config(&["--default-program", "native", "--programs-dir", "/p"]);
    assert_eq!(native.default_program, DefaultProgram::Native);
    assert_eq!(native.programs_dir, Some("/p".into()));
    refusal(
        &["--default-program", "No Name"],
        &[],
        &["flag --default-program", "trending, native or a program", "a-z"],
    );
    refusal(&["--program-cache", ""], &[], &["flag --program-cache", "path of a directory"]);
}

#[test]
fn this_machine_has_a_core() {
    let machine = Machine::detect();
    assert!(!machine.cores.is_empty());
}
