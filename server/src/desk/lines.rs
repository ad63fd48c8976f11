//! Reading an NDJSON body: one event a line, good lines apart from bad ones.
//!
//! ```text
//! {"topic":"mars rover","weight":3,"ts":1442016000000}\n     one tenant, named by the path
//! {"tenant":"acme","topic":"mars rover"}\n                   mixed, a tenant on every line
//! ```
//!
//! Owns the rules of a line. Never touches a socket or a shard, and is told the time.
//!
//! Invariants: a line is either an event or a rejection with its number (from 1; empty lines count
//! but are neither); descriptions of rejected lines are bounded, their number is not.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use serde::Deserialize;
use serde_json::value::RawValue;
use trendsrv_proto::limits::{FUTURE_MS_MAX, TIME_MS_MAX, WEIGHT_MAX};
use trendsrv_proto::{NameError, Refusal, TenantId, check_name};

use super::mail::{NamedEvent, Rejected, TenantEvents};
use crate::config::Clock;
use crate::config::limits::REJECTED_LINES_MAX;

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
    /// The good events, grouped by tenant in order of first appearance.
    pub groups: Vec<TenantEvents>,
    /// Number of good events.
    pub events: u32,
    /// The bad lines.
    pub rejections: Rejections,
}

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
    #[must_use]
    pub fn read(body: &[u8], rules: &Rules<'_>) -> Self {
        let mut lines = Lines::default();
        let mut by_tenant = HashMap::new();
        for (line, text) in (1_u32..).zip(body.split(|byte| *byte == b'\n')) {
            if text.trim_ascii().is_empty() {
                continue;
            }
            let added = read_line(line, text, rules)
                .and_then(|(tenant, event)| lines.add(&mut by_tenant, tenant, event));
            if let Err(fault) = added {
                lines.rejections.push(Rejected { line, code: fault.code, message: fault.message });
            }
        }
        lines
    }

    fn add(
        &mut self,
        by_tenant: &mut HashMap<TenantId, usize>,
        name: Cow<'_, str>,
        event: NamedEvent,
    ) -> Result<(), Fault> {
        let tenant = TenantId::of(&name);
        match by_tenant.entry(tenant) {
            Entry::Occupied(at) => {
                let group = &mut self.groups[*at.get()];
                if *group.name != *name {
                    return Err(Fault {
                        code: Refusal::IdCollision,
                        message: format!("tenants {name:?} and {:?} share one id", group.name),
                    });
                }
                group.events.push(event);
            }
            Entry::Vacant(at) => {
                at.insert(self.groups.len());
                let name = name.into_owned().into_boxed_str();
                self.groups.push(TenantEvents { tenant, name, events: vec![event] });
            }
        }
        self.events += 1;
        Ok(())
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
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    weight: Option<&'a RawValue>,
    #[serde(borrow, default)]
    ts: Option<&'a RawValue>,
}

fn read_line<'a>(
    line: u32,
    text: &'a [u8],
    rules: &Rules<'a>,
) -> Result<(Cow<'a, str>, NamedEvent), Fault> {
    let fields: Line<'a> = serde_json::from_slice(text).map_err(|error| json_fault(&error))?;
    if fields.text.is_some() {
        return Err(Fault {
            code: Refusal::Unsupported,
            message: "text events need tenant programs, which this version does not have; \
                      send a topic"
                .into(),
        });
    }
    let tenant = match (rules.tenant, fields.tenant) {
        (Some(name), None) => Cow::Borrowed(name),
        (None, Some(name)) => Cow::Owned(name),
        (Some(_), Some(_)) => {
            return Err(Fault::malformed("tenant: the path names the tenant; use POST /v1/events"));
        }
        (None, None) => return Err(Fault::malformed("tenant is missing")),
    };
    let topic = fields.topic.ok_or_else(|| Fault::malformed("topic is missing"))?;
    for (what, name) in [("tenant", &*tenant), ("topic", &*topic)] {
        if let Err(error) = check_name(name.as_bytes()) {
            let (code, message) = name_fault(what, error);
            return Err(Fault { code, message });
        }
    }
    let weight = fields.weight.map_or(Ok(1), read_weight)?;
    let ts_ms = fields.ts.map_or(Ok(rules.now_ms), |ts| read_ts(ts, rules))?;
    Ok((tenant, NamedEvent { line, topic: topic.into_boxed_str(), weight, ts_ms }))
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

const SHOWN_CHARS_MAX: usize = 40;
const MESSAGE_CHARS_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_442_016_000_000;

    fn read(body: &str) -> Lines {
        let rules = Rules { tenant: Some("acme"), now_ms: NOW_MS, clock: Clock::Wall };
        Lines::read(body.as_bytes(), &rules)
    }

    /// Checks that one line is rejected, with this code and these words.
    #[track_caller]
    fn check(line: &str, code: Refusal, words: &str) {
        let lines = read(line);
        assert_eq!((lines.events, lines.rejections.count), (0, 1), "{line}");
        let rejected = &lines.rejections.described[0];
        assert_eq!((rejected.line, rejected.code), (1, code), "{line}: {}", rejected.message);
        assert!(rejected.message.contains(words), "{line}: {}", rejected.message);
    }

    #[test]
    fn reads_good_lines_and_their_defaults() {
        let lines = read(
            "{\"topic\":\"a\"}\n\n{\"topic\":\"b\\u00e9\",\"weight\":1000000000,\"ts\":5}\r\n",
        );
        assert_eq!(lines.rejections.count, 0);
        assert_eq!(lines.groups.len(), 1);
        assert_eq!(lines.groups[0].tenant, TenantId::of("acme"));
        assert_eq!(
            lines.groups[0].events,
            vec![
                NamedEvent { line: 1, topic: "a".into(), weight: 1, ts_ms: NOW_MS },
                NamedEvent { line: 3, topic: "bé".into(), weight: 1_000_000_000, ts_ms: 5 },
            ]
        );
    }

    #[test]
    fn good_lines_pass_between_bad_ones() {
        let lines = read("{\"topic\":\"a\"}\nnonsense\n{\"topic\":\"b\"}\n{\"topic\":\"\"}");
        let bad: Vec<u32> = lines.rejections.described.iter().map(|r| r.line).collect();
        assert_eq!((lines.events, bad), (2, vec![2, 4]));
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
        check("{\"text\":\"hello\"}", Refusal::Unsupported, "tenant programs");
        check(&"[".repeat(100_000), Refusal::Malformed, "not an event");
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
        assert_eq!(read(&allowed).events, 1);
    }

    #[test]
    fn the_event_clock_has_no_future() {
        let rules = Rules { tenant: Some("acme"), now_ms: 0, clock: Clock::Event };
        let lines = Lines::read(b"{\"topic\":\"a\",\"ts\":253402300799999}", &rules);
        assert_eq!(lines.events, 1);
    }

    #[test]
    fn refuses_bytes_that_are_not_utf8() {
        let rules = Rules { tenant: Some("acme"), now_ms: 0, clock: Clock::Wall };
        let lines = Lines::read(b"{\"topic\":\"a\xff\"}\n{\"topic\":\"b\"}", &rules);
        assert_eq!((lines.events, lines.rejections.count), (1, 1));
    }

    #[test]
    fn mixed_lines_are_grouped_by_tenant() {
        let rules = Rules { tenant: None, now_ms: NOW_MS, clock: Clock::Wall };
        let body = "{\"tenant\":\"a\",\"topic\":\"x\"}\n{\"tenant\":\"b\",\"topic\":\"x\"}\n\
                    {\"tenant\":\"a\",\"topic\":\"y\"}\n{\"topic\":\"x\"}\n\
                    {\"tenant\":\"\",\"topic\":\"x\"}";
        let lines = Lines::read(body.as_bytes(), &rules);
        let sizes: Vec<(&str, usize)> =
            lines.groups.iter().map(|g| (&*g.name, g.events.len())).collect();
        assert_eq!(sizes, vec![("a", 2), ("b", 1)]);
        let why: Vec<&str> =
            lines.rejections.described.iter().map(|r| r.message.as_str()).collect();
        assert!(why[0].contains("tenant is missing"), "{why:?}");
        assert!(why[1].contains("tenant: name is empty"), "{why:?}");
    }

    #[test]
    fn rejections_are_all_counted_and_some_described() {
        let body = "x\n".repeat(REJECTED_LINES_MAX + 5);
        let lines = read(&body);
        assert_eq!(lines.rejections.count as usize, REJECTED_LINES_MAX + 5);
        assert_eq!(lines.rejections.described.len(), REJECTED_LINES_MAX);
    }
}
