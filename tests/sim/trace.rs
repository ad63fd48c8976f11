//! What happened: a hash of every step, and the last steps in words when somebody wants them.

use std::collections::VecDeque;
use std::fmt::{Arguments, Write};
use trendsrv_proto::{Frame, Split, fmix64, split};

/// The steps of one world.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    hash: u64,
    steps: u64,
    told_max: usize,
    last: VecDeque<String>,
}

impl Trace {
    /// Keeps so many of the last steps in words.
    pub(crate) fn new(told_max: usize) -> Self {
        Self { told_max, ..Self::default() }
    }

    /// One step: its time, what it is, and what tells it apart.
    pub(crate) fn step(&mut self, now_us: u64, what: &'static str, which: [u64; 3]) {
        self.steps += 1;
        let kind = what.bytes().fold(0_u64, |hash, byte| hash << 5 ^ hash >> 59 ^ u64::from(byte));
        for word in [now_us, kind].into_iter().chain(which) {
            self.hash = fmix64(self.hash ^ word).wrapping_add(word);
        }
        // A turn of a shard that had nothing to do says nothing.
        if self.told_max > 0 && (which[1..] != [0, 0] || what != "turn") {
            let [a, b, c] = which;
            self.tell(now_us, format_args!("{what} {a} {b} {c}"));
        }
    }

    /// A remark for people only.
    pub(crate) fn tell(&mut self, now_us: u64, words: Arguments<'_>) {
        if self.told_max == 0 {
            return;
        }
        if self.last.len() == self.told_max {
            self.last.pop_front();
        }
        let mut line = String::new();
        let (ms, us) = (now_us / 1_000, now_us % 1_000);
        write!(line, "{ms:>9}.{us:03} ms  {words}").expect("a String takes any text");
        self.last.push_back(line);
    }

    /// Says which frames a client sends or hears; bytes that are no whole frame say nothing.
    pub(crate) fn frames(&mut self, now_us: u64, who: &str, bytes: &[u8]) {
        let mut rest = bytes;
        while self.told_max > 0
            && let Split::Frame(header, body) = split(rest)
        {
            let tag = header.tag();
            match Frame::parse(header, body) {
                Ok(Frame::HelloOk(hello_ok)) => {
                    self.tell(now_us, format_args!("{who} {:?}", hello_ok.welcome()));
                }
                Ok(Frame::Events(events)) => {
                    let (seq, count) = (events.head.seq(), events.records.len());
                    self.tell(now_us, format_args!("{who} EVENTS {seq} of {count}"));
                }
                Ok(Frame::Text(events)) => {
                    let (seq, count) = (events.head.seq(), events.iter().count());
                    self.tell(now_us, format_args!("{who} TEXT {seq} of {count}"));
                }
                Ok(Frame::Summary(_)) => self.tell(now_us, format_args!("{who} SUMMARY {tag}")),
                Ok(Frame::Update(_)) => self.tell(now_us, format_args!("{who} UPDATE {tag}")),
                Ok(frame) => self.tell(now_us, format_args!("{who} {frame:?}")),
                Err(error) => self.tell(now_us, format_args!("{who} {error}")),
            }
            rest = &rest[header.length()..];
        }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) const fn steps(&self) -> u64 {
        self.steps
    }

    /// The last steps, one a line.
    pub(crate) fn last(&self) -> String {
        self.last.iter().fold(String::new(), |text, line| text + line + "\n")
    }
}
