//! A shard of 10,000 tenants that has run for a while: what every case of the shard stands on.
//!
//! Owns: the shard, its time, the events it is sent. Never touches: what is counted.
//!
//! Its memory asks for lines like the server's (the address is computed, one instruction takes
//! it), and its programs want the tick like the server's, so that these paths are counted too.

use std::hint::black_box;
use trendsrv_proto::{Clock, EventRecord, NameKind, Span, TenantId, TopicId, fmix64};
use trendsrv_shard::log::LogStart;
use trendsrv_shard::{
    Counted, Effect, Effects, Grid, HeapMemory, Lane, Memory, Origin, Part, Programs, ReplyTo,
    Sequence, Shard, ShardConfig, Slot, Summary, Texts, Told, Trending, WindowConfig, index_words,
    topics_words,
};

/// The shard and where it stands.
pub(super) struct Bed {
    pub(super) shard: Shard<Ticking, Lines>,
    pub(super) now_ms: u64,
    pub(super) fx: Effects,
    tenants: Vec<TenantId>,
    topics: Vec<TopicId>,
    /// Numbers drawn so far.
    drawn: u64,
}

impl Bed {
    /// Every tenant has its 12 topics and a name, many have events in each of the last panes, and
    /// all in the last one. No program was called yet.
    pub(super) fn new() -> Self {
        let grid = Grid::new(WINDOW_MS, SLIDE_MS).expect("60 panes of a second make a minute");
        let windows = WindowConfig {
            tenants_max: TENANTS_MAX,
            ..WindowConfig::new(grid, [0x1234_5678_9abc_def1, 0xfedc_ba98_7654_3211])
        };
        let words = usize::try_from(windows.memory_bytes(16 << 20) / 8).expect("64 bits");
        let config = ShardConfig {
            grid,
            clock: Clock::Wall,
            tenants_max: TENANTS_MAX as usize,
            topics_max: 1 << 16,
            producers_max: 4_096,
            early_max: 4_096,
            subscriptions_max: 256,
            sample_bytes_max: 1 << 20,
            secret: [0x0123_4567_89ab_cdef, 0x0f1e_2d3c_4b5a_6978],
        };
        let programs = Ticking(Trending { recent_ms: 10_000, window_ms: WINDOW_MS });
        let index = Lines(HeapMemory::new(index_words(config.tenants_max)));
        let names = Lines(HeapMemory::new(topics_words(config.topics_max)));
        let memory = Lines(HeapMemory::new(words));
        let shard = Shard::new(config, &windows, memory, index, names, programs);
        let mut bed = Self {
            shard: shard.expect("memory for every tenant"),
            now_ms: START_MS,
            fx: Effects::default(),
            tenants: (0..u64::from(TENANTS)).map(|i| TenantId::of(&tenant_name(i))).collect(),
            topics: (0..TOPICS).map(|i| TopicId::of(&topic_name(i))).collect(),
            drawn: 0,
        };
        bed.warm_up();
        bed
    }

    /// From now on what is applied is logged.
    pub(super) fn logged(mut self) -> Self {
        self.shard.start_log(LOG_START);
        self
    }

    fn warm_up(&mut self) {
        // The first turn finds nothing; from here on it knows the time.
        self.turn();
        self.apply_each(TOPICS_EACH);
        let tenants = (0..u64::from(TENANTS)).map(|i| (NameKind::Tenant, tenant_name(i)));
        let topics = (0..TOPICS).map(|i| (NameKind::Topic, topic_name(i)));
        for (kind, name) in tenants.chain(topics) {
            let id = TenantId::of(&name).0;
            self.shard.define(std::iter::once((kind, id, name.as_str())));
        }
        for _ in 0..PANES_WARM {
            self.now_ms += SLIDE_MS;
            for _ in 0..PARTS_A_PANE {
                let part = self.draw(4);
                self.apply(&part);
            }
        }
        // Every window stands in the last pane.
        self.apply_each(1);
    }

    /// Events of every tenant's first topics.
    fn apply_each(&mut self, topics: u64) {
        let record = |i| self.record(i / topics, i % topics);
        let all: Vec<EventRecord> = (0..u64::from(TENANTS) * topics).map(record).collect();
        for part in all.chunks(RECORDS) {
            self.apply(part);
        }
    }

    /// Turns until nothing more is due.
    pub(super) fn turns(&mut self) {
        while self.turn() {}
    }

    /// One turn. Returns whether more is due.
    pub(super) fn turn(&mut self) -> bool {
        self.fx.clear();
        self.shard.on_turn(self.now_ms, &mut self.fx)
    }

    /// 512 records in runs of tenants drawn at random, topics by Zipf's law.
    pub(super) fn draw(&mut self, run: usize) -> Vec<EventRecord> {
        let mut records = Vec::with_capacity(RECORDS);
        while records.len() < RECORDS {
            let tenant = self.random(u64::from(TENANTS));
            for _ in 0..run.min(RECORDS - records.len()) {
                let topic = self.zipf();
                records.push(self.record(tenant, topic));
            }
        }
        records
    }

    /// An event of a tenant and one of its 12 topics, some milliseconds ago.
    pub(super) fn record(&mut self, tenant: u64, topic: u64) -> EventRecord {
        let index = |i: u64| usize::try_from(i).expect("64 bits");
        let own = fmix64(tenant) % TOPICS;
        let topic = self.topics[index((own + topic) % TOPICS)];
        let (weight, ago) = (1 + self.random(8), self.random(400));
        let weight = u32::try_from(weight).expect("at most 8");
        let offset_ms = -i32::try_from(ago).expect("below 400");
        EventRecord::new(self.tenants[index(tenant)], topic, weight, offset_ms)
    }

    /// A tenant that stands in the shard.
    pub(super) fn tenant(&mut self) -> TenantId {
        let tenant = self.random(u64::from(TENANTS));
        self.tenants[usize::try_from(tenant).expect("64 bits")]
    }

    /// Applies one part and checks that it was.
    pub(super) fn apply(&mut self, records: &[EventRecord]) {
        self.fx.clear();
        self.send(None, records);
        let counted = self.accepted().next().expect("an answer comes first").0;
        assert_eq!(counted.applied, records.len() as u64);
    }

    /// Sends one part; what becomes of it stands in the effects.
    #[inline]
    pub(super) fn send(&mut self, sequence: Option<Sequence>, records: &[EventRecord]) {
        let from = Origin {
            to: ReplyTo(7),
            seq: sequence.map_or(0, |at| at.seq),
            sequence,
            ask_names: true,
            durable: false,
        };
        let span = Span { min_ms: self.now_ms - 400, max_ms: self.now_ms };
        let part = Part { base_ms: self.now_ms, span, records };
        self.shard.on_events(self.now_ms, &from, &part, &mut self.fx);
    }

    /// The parts that were accepted since the effects were cleared, and whether each was one that
    /// had been before.
    pub(super) fn accepted(&self) -> impl Iterator<Item = (Counted, bool)> + '_ {
        self.fx.list.iter().filter_map(|effect| match effect {
            Effect::Accepted { counted, duplicate, .. } => Some((*counted, *duplicate)),
            Effect::Refused { why, .. } => panic!("refused: {}", why.message),
            Effect::Need { .. } | Effect::Publish { .. } => None,
        })
    }

    /// A topic by Zipf's law: the first half as likely again as the second, and so on.
    fn zipf(&mut self) -> u64 {
        let shares = || (1..=TOPICS_EACH).map(|rank| ZIPF_UNIT / rank);
        let mut left = self.random(shares().sum());
        for (topic, share) in (0..).zip(shares()) {
            match left.checked_sub(share) {
                Some(rest) => left = rest,
                None => return topic,
            }
        }
        unreachable!("what was drawn is below the sum of the shares")
    }

    fn random(&mut self, below: u64) -> u64 {
        self.drawn += 1;
        fmix64(self.drawn) % below
    }
}

/// The place of a producer's frame.
pub(super) const fn sequence(producer: u64, seq: u64) -> Sequence {
    let lane = Lane { producer, lane: 0, anonymous: false };
    Sequence { lane, epoch: 1, seq }
}

/// The default program in plain Rust, which wants the tick of every tenant as the server's does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticking(Trending);

impl Programs for Ticking {
    const EAGER: bool = true;

    fn admit(&mut self, now_ms: u64, slot: Slot, tenant: TenantId) {
        self.0.admit(now_ms, slot, tenant);
    }

    fn retire(&mut self, slot: Slot) {
        self.0.retire(slot);
    }

    fn find_topics(&mut self, run: &Texts<'_>, found: &mut dyn FnMut(usize, u32, &str)) {
        self.0.find_topics(run, found);
    }

    fn summarise(&mut self, ask: &Summary<'_>, told: &mut Told) {
        self.0.summarise(ask, told);
    }

    fn name_of(&self, slot: Slot) -> &str {
        self.0.name_of(slot)
    }
}

/// Memory that is asked for lines ahead of their use.
#[derive(Debug)]
pub(super) struct Lines(HeapMemory);

impl Memory for Lines {
    #[inline]
    fn words(&self) -> &[u64] {
        self.0.words()
    }

    #[inline]
    fn words_mut(&mut self) -> &mut [u64] {
        self.0.words_mut()
    }

    /// The address is wanted, as by a prefetch instruction, and nothing is read.
    #[inline]
    fn prefetch(&self, word: usize) {
        if let Some(word) = self.words().get(word) {
            Self::ask_for(word);
        }
    }

    #[inline]
    fn ask_for<T>(value: &T) {
        black_box(std::ptr::from_ref(value));
    }
}

fn tenant_name(i: u64) -> String {
    format!("tenant-{i:06}")
}

fn topic_name(i: u64) -> String {
    format!("topic {i} about {:x}", fmix64(i))
}

/// Records of a part.
pub(super) const RECORDS: usize = 512;
/// How far windows move at a time.
pub(super) const SLIDE_MS: u64 = 1_000;
/// Length of a window.
pub(super) const WINDOW_MS: u64 = 60_000;
/// Where the log of a bed begins.
pub(super) const LOG_START: LogStart = LogStart { generation: 1, next_lsn: 1, prev_crc: 0 };
/// Tenants with events, and how many there may be.
pub(super) const TENANTS: u32 = 10_000;
const TENANTS_MAX: u32 = 12_000;
/// Topics in all, and of one tenant.
const TOPICS: u64 = 1_000;
const TOPICS_EACH: u64 = 12;
/// Panes with events behind the first one, and parts in each.
const PANES_WARM: usize = 6;
const PARTS_A_PANE: usize = 40;
/// Every share of a rank is a whole number of these.
const ZIPF_UNIT: u64 = 27_720;
/// The beginning: half a second into a pane.
const START_MS: u64 = 1_750_000_000_500;
