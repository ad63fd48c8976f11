//! A producer: recorded edits at many times their pace, each followed by page views.

use anyhow::Context;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use trendsrv_client::blocking::{Client, Options};
use trendsrv_proto::{TopicId, fmix64};

/// A producer of sample traffic.
pub(super) struct Traffic {
    client: Client,
    edits: Vec<Edit>,
}

/// One recorded edit.
#[derive(Clone, Copy)]
struct Edit {
    channel: &'static str,
    page: &'static str,
    at_ms: u64,
}

/// A page that is being looked at.
#[derive(Clone, Copy)]
struct Viewed {
    edit: Edit,
    views_left: u32,
}

impl Traffic {
    /// Connects.
    pub(super) fn connect(address: &str) -> anyhow::Result<Self> {
        let client = Client::connect(address, Options::default())?;
        Ok(Self { client, edits: edits() })
    }

    /// The tenants with the most edits, busiest first.
    pub(super) fn busiest_tenants(&self, count: usize) -> Vec<&'static str> {
        let mut edits = BTreeMap::<&str, usize>::new();
        for edit in &self.edits {
            *edits.entry(edit.channel).or_default() += 1;
        }
        let mut tenants: Vec<_> = edits.into_iter().collect();
        tenants.sort_by_key(|&(channel, edits)| (std::cmp::Reverse(edits), channel));
        tenants.into_iter().take(count).map(|(channel, _)| channel).collect()
    }

    /// Plays the recording again and again until told to stop.
    pub(super) fn run(mut self, over: &AtomicBool) -> anyhow::Result<()> {
        let mut pages: VecDeque<Viewed> = VecDeque::with_capacity(PAGES_MAX);
        let (mut next, mut start) = (0, Instant::now());
        while !over.load(Ordering::Acquire) {
            let played_ms = SPEED * u64::try_from(start.elapsed().as_millis()).unwrap_or(0);
            let until_ms = self.edits[0].at_ms + played_ms;
            while let Some(edit) = self.edits.get(next).filter(|edit| edit.at_ms <= until_ms) {
                if pages.len() == PAGES_MAX {
                    pages.pop_front();
                }
                pages.push_back(Viewed { edit: *edit, views_left: views_of(edit) });
                next += 1;
            }
            if next == self.edits.len() {
                (next, start) = (0, Instant::now());
            }
            self.view(&mut pages)?;
            self.client.turn(STEP).context("the server is gone")?;
        }
        Ok(())
    }

    /// Every page that is looked at draws one more view.
    fn view(&mut self, pages: &mut VecDeque<Viewed>) -> anyhow::Result<()> {
        let now_ms = super::reader::now_ms();
        for page in pages.iter_mut() {
            page.views_left -= 1;
            self.client.send(page.edit.channel, page.edit.page, 1, now_ms)?;
        }
        pages.retain(|page| page.views_left > 0);
        Ok(())
    }
}

/// A few pages draw many views, most draw few.
fn views_of(edit: &Edit) -> u32 {
    let draw = fmix64(TopicId::of(edit.page).0) % 1_000;
    match draw {
        0..20 => 200,
        20..200 => 30,
        _ => 4,
    }
}

fn edits() -> Vec<Edit> {
    let lines = SAMPLE.lines().filter_map(|line| {
        let mut columns = line.split('\t');
        let (channel, at_ms, page) = (columns.next()?, columns.next()?, columns.next()?);
        Some(Edit { channel, page, at_ms: at_ms.parse().ok()? })
    });
    lines.collect()
}

/// 4,000 edits of 2015-09-12; tests/data/README.md says where they come from.
const SAMPLE: &str = include_str!("../../../tests/data/wiki-sample.tsv");
/// Recorded milliseconds played in one.
const SPEED: u64 = 120;
/// Time between two views of a page.
const STEP: Duration = Duration::from_millis(50);
/// Pages looked at at a time.
const PAGES_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_sample_is_an_edit_in_order() {
        let edits = edits();
        assert_eq!(edits.len(), SAMPLE.lines().count());
        assert!(edits.is_sorted_by_key(|edit| edit.at_ms) && edits.len() > 1_000);
        assert!(edits.iter().all(|edit| views_of(edit) > 0));
    }
}
