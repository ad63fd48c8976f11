//! `GET /metrics`: the shards' numbers, the desk's own and the process's, in Prometheus text.
//!
//! A scrape asks every shard for a snapshot and writes it; nothing is kept between scrapes except
//! the desk's own request counters.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::answer::ShardStats;
use super::body::BodyBudget;
use super::listener::ConnectionLevel;
use super::shards::Shards;
use crate::config::limits::COMPILES_WAITING_MAX;
use crate::programs::Builder;

/// Requests answered, by path pattern and status.
#[derive(Clone, Debug, Default)]
pub(super) struct RequestCounts {
    by_route: Family<RequestLabels, Counter>,
}

impl RequestCounts {
    /// Counts one reply.
    pub(super) fn count(&self, route: &str, status: u16) {
        let labels = RequestLabels { route: route.to_owned(), status };
        self.by_route.get_or_create(&labels).inc();
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RequestLabels {
    route: String,
    status: u16,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ShardLabel {
    shard: u64,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RefusalLabels {
    shard: u64,
    code: &'static str,
}

/// What a scrape reads.
pub(super) struct Sources<'a> {
    pub(super) shards: &'a Shards,
    pub(super) requests: &'a RequestCounts,
    pub(super) connections: &'a Arc<ConnectionLevel>,
    pub(super) bodies: &'a BodyBudget,
    pub(super) builder: &'a Builder,
}

/// One scrape. A shard that does not answer in time has `trendsrv_shard_up` 0 and nothing else.
pub(super) async fn scrape(sources: &Sources<'_>) -> String {
    let stats = sources.shards.stats().await;
    let mut registry = Registry::with_prefix("trendsrv");
    let up = Family::<ShardLabel, Gauge>::default();
    let mut answered = Vec::with_capacity(stats.len());
    for (shard, stats) in (0_u64..).zip(stats) {
        up.get_or_create(&ShardLabel { shard }).set(i64::from(stats.is_ok()));
        answered.extend(stats);
    }
    registry.register("shard_up", "Whether the shard answers in time", up);
    register_shards(&mut registry, &answered);
    register_desk(&mut registry, sources);
    register_builder(&mut registry, sources.builder);
    register_process(&mut registry);
    let mut text = String::new();
    // Writing into a String cannot fail; were it to, the scrape would be cut short visibly.
    if encode(&mut text, &registry).is_err() {
        text.push_str("# the scrape broke off here\n");
    }
    text
}

fn register_shards(registry: &mut Registry, stats: &[ShardStats]) {
    let Some(first) = stats.first() else { return };
    for counter in &first.counters {
        let family = Family::<ShardLabel, Counter>::default();
        for shard in stats {
            for same in shard.counters.iter().filter(|c| c.name == counter.name) {
                family.get_or_create(&label(shard)).inc_by(same.value);
            }
        }
        registry.register(counter.name, counter.help, family);
    }
    for level in &first.levels {
        let [now, max, high] = [(); 3].map(|()| Family::<ShardLabel, Gauge>::default());
        for shard in stats {
            for same in shard.levels.iter().filter(|l| l.name == level.name) {
                now.get_or_create(&label(shard)).set(gauge(same.now));
                max.get_or_create(&label(shard)).set(gauge(same.max));
                high.get_or_create(&label(shard)).set(gauge(same.high_water));
            }
        }
        register_level(registry, level.name, level.help, now, max, high);
    }
    let refused = Family::<RefusalLabels, Counter>::default();
    for shard in stats {
        for (code, count) in &shard.refused {
            let labels = RefusalLabels { shard: shard.shard as u64, code: code.name() };
            refused.get_or_create(&labels).inc_by(*count);
        }
    }
    registry.register("refused", "Refusals by code", refused);
}

fn register_desk(registry: &mut Registry, sources: &Sources<'_>) {
    registry.register(
        "http_requests",
        "HTTP requests answered, by route and status",
        sources.requests.by_route.clone(),
    );
    let [now, max, high] = [(); 3].map(|()| Family::<ShardLabel, Gauge>::default());
    for (shard, mailbox) in (0_u64..).zip(sources.shards.boxes()) {
        let label = ShardLabel { shard };
        now.get_or_create(&label).set(gauge(mailbox.waiting() as u64));
        max.get_or_create(&label).set(gauge(crate::config::limits::DESK_MAIL_MAX as u64));
        high.get_or_create(&label).set(gauge(mailbox.high_water() as u64));
    }
    register_level(registry, "desk_mail", "Requests waiting for a shard", now, max, high);
    let connections = sources.connections;
    let [now, max, high] = [connections.now(), connections.max(), connections.high_water()]
        .map(|value| fixed_gauge(value as u64));
    register_level(registry, "http_connections", "Open HTTP connections", now, max, high);
    let turned_away = Counter::<u64>::default();
    turned_away.inc_by(connections.turned_away() as u64);
    registry.register(
        "http_connections_turned_away",
        "HTTP connections closed for want of room",
        turned_away,
    );
    let (now, max) = sources.bodies.level();
    registry.register("http_body_bytes", "Bytes of request bodies held", fixed_gauge(now as u64));
    registry.register("http_body_bytes_max", "Most of them", fixed_gauge(max as u64));
}

fn register_builder(registry: &mut Registry, builder: &Builder) {
    let (compiler, cache) = (builder.compiler(), builder.counts());
    for (name, help, value) in [
        ("programs_compiled", "Programs compiled", &compiler.counts().compiled),
        ("programs_not_compiled", "Compilations that failed", &compiler.counts().failed),
        ("program_cache_hits", "Compiled programs found in the cache", &cache.hits),
        ("program_cache_misses", "Compiled programs not in the cache", &cache.misses),
        ("program_cache_rejected", "Files of the cache not believed", &cache.rejected),
    ] {
        let counter = Counter::<u64>::default();
        counter.inc_by(value.load(Ordering::Relaxed));
        registry.register(name, help, counter);
    }
    let high = compiler.counts().waiting_high.load(Ordering::Relaxed);
    let [now, max, high] =
        [compiler.waiting() as u64, COMPILES_WAITING_MAX as u64, high].map(fixed_gauge);
    let help = "Programs that wait for the compiler or are in it";
    register_level(registry, "programs_compiling", help, now, max, high);
}

/// What `/proc` says of this process; where there is none the metrics are absent.
fn register_process(registry: &mut Registry) {
    if let Some(switches) = ContextSwitches::read() {
        for (name, help, value) in [
            ("context_switches_voluntary", "Times a thread waited", switches.voluntary),
            ("context_switches_involuntary", "Times a thread was preempted", switches.involuntary),
        ] {
            let counter = Counter::<u64>::default();
            counter.inc_by(value);
            registry.register(name, help, counter);
        }
    }
    if let Some(kib) = status_field("/proc/self/status", "VmRSS:") {
        registry.register("resident_memory_bytes", "Memory in use", fixed_gauge(kib << 10));
    }
    if let Some(kib) = status_field("/proc/self/status", "VmHWM:") {
        registry.register("resident_memory_bytes_high_water", "Most ever", fixed_gauge(kib << 10));
    }
}

#[derive(Default)]
struct ContextSwitches {
    voluntary: u64,
    involuntary: u64,
}

impl ContextSwitches {
    /// Sums over the threads alive: `/proc/self/status` has the main thread's alone.
    fn read() -> Option<Self> {
        let mut all = ContextSwitches::default();
        for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
            let path = task.path().join("status");
            let Some(path) = path.to_str() else { continue };
            all.voluntary += status_field(path, "voluntary_ctxt_switches:").unwrap_or(0);
            all.involuntary += status_field(path, "nonvoluntary_ctxt_switches:").unwrap_or(0);
        }
        Some(all)
    }
}

fn status_field(path: &str, name: &str) -> Option<u64> {
    let content = std::fs::read_to_string(path).ok()?;
    let line = content.lines().find(|line| line.starts_with(name))?;
    line[name.len()..].trim().trim_end_matches("kB").trim().parse().ok()
}

fn register_level<M>(registry: &mut Registry, name: &str, help: &str, now: M, max: M, high_water: M)
where
    M: EncodeMetric + std::fmt::Debug + Send + Sync + 'static,
{
    registry.register(name, help, now);
    registry.register(format!("{name}_max"), format!("Limit of {name}"), max);
    registry.register(format!("{name}_high_water"), format!("Most ever of {name}"), high_water);
}

fn label(stats: &ShardStats) -> ShardLabel {
    ShardLabel { shard: stats.shard as u64 }
}

fn fixed_gauge(value: u64) -> Gauge {
    let metric = Gauge::default();
    metric.set(gauge(value));
    metric
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
