//! Reading an NDJSON body: one event a line, good lines apart from bad ones.
//!
//! ```text
//! {"topic":"mars rover","weight":3,"ts":1442016000000}\n     one tenant, named by the path
//! {"tenant":"acme","topic":"mars rover"}\n                   mixed, a tenant on every line
//! {"text":"Mars rover lands #space"}\n                      its program finds the topics
//! ```
//!
//! Owns the rules of a line. Never touches a socket or a shard, and is told the time.
//!
//! Invariants: a line is either an event, a text or a rejection with its number (from 1; empty lines
//! count but are none of them); descriptions of rejected lines are bounded, their number is not.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use serde::Deserialize;
use serde_json::value::RawValue;
use trendsrv_proto::limits::{FUTURE_MS_MAX, TIME_MS_MAX, WEIGHT_MAX};
use trendsrv_proto::{
    Clock, NameError, Refusal, TenantId, TextError, TopicId, check_name, check_text,
};

use super::mail::Rejected;
use crate::config::limits::{HTTP_LINES_MAX, REJECTED_LINES_MAX};

/// What a body is read against.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The tenant of every line; `None` when each line names its own.
    pub tenant: Option<&'a str>,
    /// Wall time, also the time of events without `ts`.
    pub now_ms: u64,
    /// Whether events ahead of wall time are refused.
    pub clock: Clock,
}

/// A body, read.
#[derive(Debug, Default)]
pub struct Lines {
    /// The good events, in the order of their lines.
    pub events: Vec<LineEvent>,
    /// The good texts, in the order of their lines.
    pub texts: Vec<LineText>,
    /// The names of the ids in `events` and of the tenants in `texts`.
    pub names: Names,
    /// The bad lines.
    pub rejections: Rejections,
}

/// One good line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LineEvent {
    /// The line, from 1.
    pub line: u32,
    /// XXH3-64 of the tenant's name.
    pub tenant: TenantId,
    /// XXH3-64 of the topic's name.
    pub topic: TopicId,
    /// 1 to 1,000,000,000.
    pub weight: u32,
    /// Event time.
    pub ts_ms: u64,
}

/// One good line with a text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LineText {
    /// The line, from 1.
    pub line: u32,
    /// XXH3-64 of the tenant's name.
    pub tenant: TenantId,
    /// 1 to 4,096 bytes.
    pub text: Box<str>,
    /// 1 to 1,000,000,000.
    pub weight: u32,
    /// Event time.
    pub ts_ms: u64,
}

/// The names of a body, by id.
#[derive(Debug, Default)]
pub struct Names {
    /// Names of tenants.
    pub tenants: HashMap<TenantId, Box<str>>,
    /// Names of topics.
    pub topics: HashMap<TopicId, Box<str>>,
}

/// The body has more lines than one request may.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a body may have at most {HTTP_LINES_MAX} lines; split it")]
pub struct TooManyLines;

/// Rejected lines: all counted, the first so many described.
#[derive(Debug, Default)]
pub struct Rejections {
    /// Number of rejected lines.
    pub count: u32,
    /// The first of them.
    pub described: Vec<Rejected>,
}

impl Rejections {
    /// Adds one.
    pub fn push(&mut self, rejected: Rejected) {
        self.count += 1;
        if self.described.len() < REJECTED_LINES_MAX {
            self.described.push(rejected);
        }
    }
}

impl Lines {
    /// Reads a body.
    ///
    /// # Errors
    /// It has more than `http_lines_max` lines.
    pub fn read(body: &[u8], rules: &Rules<'_>) -> Result<Self, TooManyLines> {
        // The text behind the last line feed is a line, if there is any.
        let ends = body.iter().filter(|byte| **byte == b'\n').count();
        if ends + usize::from(!body.ends_with(b"\n")) > HTTP_LINES_MAX {
            return Err(TooManyLines);
        }
        let mut lines = Lines::default();
        for (line, text) in (1_u32..).zip(body.split(|byte| *byte == b'\n')) {
            if text.trim_ascii().is_empty() {
                continue;
            }
            if let Err(fault) = lines.read_line(line, text, rules) {
                lines.rejections.push(Rejected { line, code: fault.code, message: fault.message });
            }
        }
        lines.reject_far_apart();
        Ok(lines)
    }

    fn read_line(&mut self, line: u32, text: &[u8], rules: &Rules<'_>) -> Result<(), Fault> {
        let fields: Line<'_> = serde_json::from_slice(text).map_err(|error| json_fault(&error))?;
        let tenant = match (rules.tenant, fields.tenant) {
            (Some(name), None) => Cow::Borrowed(name),
            (None, Some(name)) => Cow::Owned(name),
            (Some(_), Some(_)) => {
                return Err(Fault::malformed(
                    "tenant: the path names the tenant; use POST /v1/events",
                ));
            }
            (None, None) => return Err(Fault::malformed("tenant is missing")),
        };
        check_named("tenant", &tenant)?;
        let tenant_id = TenantId::of(&tenant);
        let what = match (fields.topic, fields.text) {
            (Some(topic), None) => What::Topic(topic),
            (None, Some(text)) => What::Text(text),
            (Some(_), Some(_)) => {
                return Err(Fault::malformed(
                    "topic and text: a line has one of them; send two lines",
                ));
            }
            (None, None) => {
                return Err(Fault::malformed("topic is missing: a line has a topic or a text"));
            }
        };
        match &what {
            What::Topic(topic) => check_named("topic", topic)?,
            What::Text(text) => check_said(text)?,
        }
        let weight = fields.weight.map_or(Ok(1), read_weight)?;
        let ts_ms = fields.ts.map_or(Ok(rules.now_ms), |ts| read_ts(ts, rules))?;
        remember(&mut self.names.tenants, tenant_id, &tenant)?;
        let tenant = tenant_id;
        match what {
            What::Topic(name) => {
                let topic = TopicId::of(&name);
                remember(&mut self.names.topics, topic, &name)?;
                self.events.push(LineEvent { line, tenant, topic, weight, ts_ms });
            }
            What::Text(text) => {
                let text = text.into_boxed_str();
                self.texts.push(LineText { line, tenant, text, weight, ts_ms });
            }
        }
        Ok(())
    }

    /// The latest time in the body, whatever the kind of line.
    #[must_use]
    pub fn latest_ms(&self) -> u64 {
        let events = self.events.iter().map(|event| event.ts_ms);
        events.chain(self.texts.iter().map(|text| text.ts_ms)).max().unwrap_or(0)
    }

    /// Records carry their time as a 32-bit offset from the latest: earlier ones must come alone.
    fn reject_far_apart(&mut self) {
        let latest_ms = self.latest_ms();
        let rejections = &mut self.rejections;
        let mut is_near = |line: u32, ts_ms: u64| {
            let near = latest_ms - ts_ms <= APART_MS_MAX;
            if !near {
                let message = format!(
                    "ts: {ts_ms} lies more than 24 days before the latest of this request; send \
                     it in another request"
                );
                rejections.push(Rejected { line, code: Refusal::Malformed, message });
            }
            near
        };
        self.events.retain(|event| is_near(event.line, event.ts_ms));
        self.texts.retain(|text| is_near(text.line, text.ts_ms));
    }
}

/// What a line is about.
enum What {
    Topic(String),
    Text(String),
}

fn check_named(what: &str, name: &str) -> Result<(), Fault> {
    check_name(name.as_bytes()).map(|_| ()).map_err(|error| {
        let (code, message) = name_fault(what, error);
        Fault { code, message }
    })
}

fn check_said(text: &str) -> Result<(), Fault> {
    check_text(text.as_bytes()).map(|_| ()).map_err(|error| {
        let code = match error {
            TextError::TooLong(_) => Refusal::TooLarge,
            TextError::Empty | TextError::NotUtf8(_) | TextError::Nul(_) => Refusal::Malformed,
        };
        Fault { code, message: error.to_string() }
    })
}

fn remember<I: Copy + Eq + Hash>(
    names: &mut HashMap<I, Box<str>>,
    id: I,
    name: &str,
) -> Result<(), Fault> {
    match names.entry(id) {
        Entry::Occupied(known) if **known.get() != *name => Err(Fault {
            code: Refusal::IdCollision,
            message: format!("{name:?} and {:?} share one id", known.get()),
        }),
        Entry::Occupied(_) => Ok(()),
        Entry::Vacant(free) => {
            free.insert(name.into());
            Ok(())
        }
    }
}

/// A name's fault, as a refusal and a sentence about `what`.
#[must_use]
pub fn name_fault(what: &str, error: NameError) -> (Refusal, String) {
    let code = match error {
        NameError::TooLong(_) => Refusal::TooLarge,
        NameError::Empty | NameError::NotUtf8(_) | NameError::Control(_) => Refusal::Malformed,
    };
    (code, format!("{what}: {error}"))
}

struct Fault {
    code: Refusal,
    message: String,
}

impl Fault {
    fn malformed(message: impl Into<String>) -> Self {
        Fault { code: Refusal::Malformed, message: message.into() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    tenant: Option<String>,
    topic: Option<String>,
    text: Option<String>,
    #[serde(borrow, default)]
    weight: Option<&'a RawValue>,
    #[serde(borrow, default)]
    ts: Option<&'a RawValue>,
}

fn read_weight(raw: &RawValue) -> Result<u32, Fault> {
    let weight = raw.get().parse::<u32>().ok().filter(|w| (1..=WEIGHT_MAX).contains(w));
    weight.ok_or_else(|| {
        Fault::malformed(format!(
            "weight: must be a whole number from 1 to {WEIGHT_MAX}, not {}",
            shown(raw)
        ))
    })
}

fn read_ts(raw: &RawValue, rules: &Rules<'_>) -> Result<u64, Fault> {
    let ts = raw.get().parse::<u64>().ok().filter(|ts| *ts <= TIME_MS_MAX);
    let ts = ts.ok_or_else(|| {
        Fault::malformed(format!(
            "ts: must be a whole number of milliseconds since 1970, up to the year 9999, not {}",
            shown(raw)
        ))
    })?;
    match rules.clock {
        Clock::Wall if ts > rules.now_ms + FUTURE_MS_MAX => Err(Fault {
            code: Refusal::Future,
            message: format!(
                "ts: {ts} lies {} ms ahead of the server's clock; at most {FUTURE_MS_MAX} ms may",
                ts - rules.now_ms
            ),
        }),
        Clock::Wall | Clock::Event => Ok(ts),
    }
}

/// The start of a value, for a message.
fn shown(raw: &RawValue) -> Cow<'_, str> {
    let text = raw.get();
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    }
}

/// serde_json counts lines within the text it was given, which is one line: only the column helps.
fn json_fault(error: &serde_json::Error) -> Fault {
    let text = error.to_string();
    let what = text.rfind(" at line ").map_or(text.as_str(), |end| &text[..end]);
    let what: String = what.chars().take(MESSAGE_CHARS_MAX).collect();
    Fault::malformed(format!("not an event: {what} (column {})", error.column()))
}

const APART_MS_MAX: u64 = i32::MAX as u64;
const SHOWN_CHARS_MAX: usize = 40;
const MESSAGE_CHARS_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_442_016_000_000;

    fn read(body: &str) -> Lines {
        let rules = Rules { tenant: Some("acme"), now_ms: NOW_MS, clock: Clock::Wall };
        Lines::read(body.as_bytes(), &rules).unwrap()
    }

    /// Checks that one line is rejected, with this code and these words.
    #[track_caller]
    fn check(line: &str, code: Refusal, words: &str) {
        let lines = read(line);
        assert_eq!((lines.events.len(), lines.rejections.count), (0, 1), "{line}");
        assert!(lines.texts.is_empty(), "{line}");
        let rejected = &lines.rejections.described[0];
        assert_eq!((rejected.line, rejected.code), (1, code), "{line}: {}", rejected.message);
        assert!(rejected.message.contains(words), "{line}: {}", rejected.message);
    }

    #[test]
    fn reads_good_lines_and_their_defaults() {
        let lines = read(
            "{\"topic\":\"a\"}\n\n{\"topic\":\"b\\u00e9\",\"weight\":1000000000,\"ts\":1442015999999}\r\n",
        );
        assert_eq!(lines.rejections.count, 0);
        let acme = TenantId::of("acme");
        let event = |line, topic, weight, ts_ms| LineEvent {
            line,
            tenant: acme,
            topic: TopicId::of(topic),
            weight,
            ts_ms,
        };
        let earlier = NOW_MS - 1;
        assert_eq!(
            lines.events,
            vec![event(1, "a", 1, NOW_MS), event(3, "bé", 1_000_000_000, earlier)]
        );
        assert_eq!(&*lines.names.tenants[&acme], "acme");
        assert_eq!(&*lines.names.topics[&TopicId::of("bé")], "bé");
    }

    #[test]
    fn good_lines_pass_between_bad_ones() {
        let lines = read("{\"topic\":\"a\"}\nnonsense\n{\"topic\":\"b\"}\n{\"topic\":\"\"}");
        let bad: Vec<u32> = lines.rejections.described.iter().map(|r| r.line).collect();
        assert_eq!((lines.events.len(), bad), (2, vec![2, 4]));
    }

    #[test]
    fn refuses_each_kind_of_bad_line() {
        check("nonsense", Refusal::Malformed, "column");
        check("[1]", Refusal::Malformed, "not an event");
        check("{\"topic\":\"a\"", Refusal::Malformed, "EOF");
        check("{\"topic\":\"a\"} x", Refusal::Malformed, "trailing");
        check("{\"topic\":\"a\",\"topic\":\"b\"}", Refusal::Malformed, "duplicate field `topic`");
        check("{\"topic\":\"a\",\"wieght\":1}", Refusal::Malformed, "unknown field `wieght`");
        check("{\"weight\":1}", Refusal::Malformed, "topic is missing");
        check("{\"topic\":7}", Refusal::Malformed, "invalid type");
        check("{\"topic\":\"\"}", Refusal::Malformed, "topic: name is empty");
        check("{\"topic\":\"a\\nb\"}", Refusal::Malformed, "control character at byte 1");
        check("{\"topic\":\"a\",\"tenant\":\"b\"}", Refusal::Malformed, "the path names");
        let long = format!("{{\"topic\":\"{}\"}}", "x".repeat(256));
        check(&long, Refusal::TooLarge, "256 bytes");
        let both = "{\"topic\":\"a\",\"text\":\"b\"}";
        check(both, Refusal::Malformed, "topic and text: a line has one of them");
        check("{\"text\":\"\"}", Refusal::Malformed, "text is empty");
        check("{\"text\":7}", Refusal::Malformed, "invalid type");
        check("{\"text\":\"a\\u0000b\"}", Refusal::Malformed, "text has a NUL at byte 1");
        check("{\"text\":\"a\",\"weight\":0}", Refusal::Malformed, "weight: must be");
        let long = format!("{{\"text\":\"{}\"}}", "x".repeat(4_097));
        check(&long, Refusal::TooLarge, "text has 4097 bytes; at most 4096 are allowed");
        check(&"[".repeat(100_000), Refusal::Malformed, "not an event");
    }

    #[test]
    fn texts_and_topics_keep_their_line_numbers() {
        let lines = read(
            "{\"topic\":\"a\"}\n{\"text\":\"two\\nlines #b\",\"weight\":3,\"ts\":1442015999999}\n\
             {\"text\":\"\"}\n\n{\"text\":\"ß\"}\n{\"topic\":\"c\"}",
        );
        let events: Vec<u32> = lines.events.iter().map(|event| event.line).collect();
        let bad: Vec<u32> = lines.rejections.described.iter().map(|r| r.line).collect();
        assert_eq!((events, bad), (vec![1, 6], vec![3]));
        let tenant = TenantId::of("acme");
        let text = |line, text: &str, weight, ts_ms| {
            let text = text.into();
            LineText { line, tenant, text, weight, ts_ms }
        };
        let want = [text(2, "two\nlines #b", 3, NOW_MS - 1), text(5, "ß", 1, NOW_MS)];
        assert_eq!(lines.texts, want);
        assert_eq!(&*lines.names.tenants[&tenant], "acme");
    }

    #[test]
    fn refuses_bad_weights_and_times() {
        for bad in ["0", "-1", "1.5", "1e3", "1000000001", "99999999999999999999", "\"1\"", "[1]"] {
            let line = format!("{{\"topic\":\"a\",\"weight\":{bad}}}");
            check(&line, Refusal::Malformed, "weight: must be a whole number");
        }
        for bad in ["-1", "1.5", "253402300800000", "\"now\"", "true"] {
            let line = format!("{{\"topic\":\"a\",\"ts\":{bad}}}");
            check(&line, Refusal::Malformed, "ts: must be a whole number");
        }
        let ahead = format!("{{\"topic\":\"a\",\"ts\":{}}}", NOW_MS + 5_001);
        check(&ahead, Refusal::Future, "5001 ms ahead");
        let allowed = format!("{{\"topic\":\"a\",\"ts\":{}}}", NOW_MS + 5_000);
        assert_eq!(read(&allowed).events.len(), 1);
    }

    #[test]
    fn the_event_clock_has_no_future() {
        let rules = Rules { tenant: Some("acme"), now_ms: 0, clock: Clock::Event };
        let lines = Lines::read(b"{\"topic\":\"a\",\"ts\":253402300799999}", &rules);
        assert_eq!(lines.unwrap().events.len(), 1);
    }

    #[test]
    fn refuses_bytes_that_are_not_utf8() {
        let rules = Rules { tenant: Some("acme"), now_ms: 0, clock: Clock::Wall };
        let lines = Lines::read(b"{\"topic\":\"a\xff\"}\n{\"topic\":\"b\"}", &rules).unwrap();
        assert_eq!((lines.events.len(), lines.rejections.count), (1, 1));
    }

    #[test]
    fn mixed_lines_name_their_tenants() {
        let rules = Rules { tenant: None, now_ms: NOW_MS, clock: Clock::Wall };
        let body = "{\"tenant\":\"a\",\"topic\":\"x\"}\n{\"tenant\":\"b\",\"topic\":\"x\"}\n\
                    {\"tenant\":\"a\",\"topic\":\"y\"}\n{\"topic\":\"x\"}\n\
                    {\"tenant\":\"\",\"topic\":\"x\"}";
        let lines = Lines::read(body.as_bytes(), &rules).unwrap();
        let tenants: Vec<TenantId> = lines.events.iter().map(|event| event.tenant).collect();
        assert_eq!(tenants, ["a", "b", "a"].map(TenantId::of));
        let why: Vec<&str> =
            lines.rejections.described.iter().map(|r| r.message.as_str()).collect();
        assert!(why[0].contains("tenant is missing"), "{why:?}");
        assert!(why[1].contains("tenant: name is empty"), "{why:?}");
    }

    #[test]
    fn a_time_far_before_the_others_comes_alone() {
        let rules = Rules { tenant: Some("acme"), now_ms: NOW_MS, clock: Clock::Event };
        let line = |ts: u64| format!("{{\"topic\":\"a\",\"ts\":{ts}}}\n");
        let body = line(NOW_MS - APART_MS_MAX - 1) + &line(NOW_MS - APART_MS_MAX) + &line(NOW_MS);
        let lines = Lines::read(body.as_bytes(), &rules).unwrap();
        assert_eq!((lines.events.len(), lines.rejections.count), (2, 1));
        assert!(lines.rejections.described[0].message.contains("24 days"));
        let text = |ts: u64| format!("{{\"text\":\"a\",\"ts\":{ts}}}\n");
        let body = text(NOW_MS - APART_MS_MAX - 1) + &text(NOW_MS - APART_MS_MAX) + &line(NOW_MS);
        let lines = Lines::read(body.as_bytes(), &rules).unwrap();
        assert_eq!((lines.events.len(), lines.texts.len(), lines.rejections.count), (1, 1, 1));
        assert_eq!(lines.rejections.described[0].line, 1);
    }

    #[test]
    fn a_body_of_too_many_lines_is_refused() {
        let rules = Rules { tenant: Some("acme"), now_ms: NOW_MS, clock: Clock::Wall };
        let mut body = "\n".repeat(HTTP_LINES_MAX);
        assert!(Lines::read(body.as_bytes(), &rules).is_ok());
        body.push('x');
        assert_eq!(Lines::read(body.as_bytes(), &rules).unwrap_err(), TooManyLines);
    }

    #[test]
    fn any_bytes_are_read_and_every_line_accounted_for() {
        use rand::rngs::StdRng;
        use rand::{Rng, SeedableRng};
        let seed = rand::random::<u64>();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let text = "{\"text\":\"caf\u{e9} #x\",\"weight\":3}";
        let good = "{\"topic\":\"caf\u{e9}\",\"weight\":3,\"ts\":1442016000000}";
        let rules = Rules { tenant: Some("acme"), now_ms: NOW_MS, clock: Clock::Wall };
        for _ in 0..5_000 {
            let mut body = format!("{good}\n{text}\n{good}").into_bytes();
            for _ in 0..random.random_range(0..6) {
                let at = random.random_range(0..body.len());
                body[at] = random.random();
            }
            let wanted = body.split(|b| *b == b'\n').filter(|l| !l.trim_ascii().is_empty());
            let wanted = wanted.count();
            let lines = Lines::read(&body, &rules).unwrap();
            let good = lines.events.len() + lines.texts.len();
            assert_eq!(good + lines.rejections.count as usize, wanted);
            assert!(lines.events.iter().all(|e| (1..=WEIGHT_MAX).contains(&e.weight)));
        }
    }

    #[test]
    fn rejections_are_all_counted_and_some_described() {
        let body = "x\n".repeat(REJECTED_LINES_MAX + 5);
        let lines = read(&body);
        assert_eq!(lines.rejections.count as usize, REJECTED_LINES_MAX + 5);
        assert_eq!(lines.rejections.described.len(), REJECTED_LINES_MAX);
    }
}
