//! A job's files, made by hand.

use super::*;
use crate::population::Population;
use crate::programs::Folder;
use crate::sample::Sample;
use crate::scenario::Scenario;

const SLIDE_MS: u64 = 1_000;
const WINDOW_MS: u64 = 3_000;

/// What two subtasks emit, event by event, with its time.
struct Truth {
    events: Events,
    sampled: Vec<u32>,
    emitted: [Vec<(u64, Event)>; 2],
}

impl Truth {
    fn new() -> Self {
        let scenario = Scenario {
            tenants: 12,
            connections: 2,
            frame_events: 11,
            pool_bytes: 20_000,
            vocabulary: 40,
            topics_per_tenant: 15,
            sample: 5,
            weight: 3,
            ..Scenario::default()
        };
        let (population, sample) = (Population::new(&scenario), Sample::new(&scenario));
        let events = Events::draw(&scenario, &population, &sample).unwrap();
        let emit = |subtask: usize| {
            let share = events.share(subtask, 2).iter().cycle().copied();
            // Uneven times, and a gap in which a whole slide holds nothing.
            let times = (0..2_000_u64).map(|n| 50_300 + n * 7 + if n > 900 { 2_500 } else { 0 });
            times.zip(share).collect()
        };
        let emitted = [emit(0), emit(1)];
        Self { events, sampled: sample.tenants().to_vec(), emitted }
    }

    /// The rows of a window, by brute force.
    fn rows(&self, tenant: u32, end_ms: u64) -> Vec<(u32, u64)> {
        let mut weights = BTreeMap::new();
        for (ms, event) in self.emitted.iter().flatten() {
            if event.tenant == tenant && (end_ms - WINDOW_MS..end_ms).contains(ms) {
                *weights.entry(event.topic).or_insert(0) += u64::from(event.weight);
            }
        }
        let mut rows: Vec<_> = weights.into_iter().collect();
        rows.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        rows.truncate(10);
        rows
    }

    fn ends() -> impl Iterator<Item = u64> {
        (51_000..66_000).step_by(1_000)
    }

    /// Writes the files of a job that answered right.
    fn write(&self, folder: &Path) {
        let mut slides = String::new();
        for (subtask, emitted) in self.emitted.iter().enumerate() {
            let mut last = u64::MAX;
            for (before, (ms, _)) in emitted.iter().enumerate() {
                if ms / SLIDE_MS != last {
                    last = ms / SLIDE_MS;
                    slides.push_str(&format!("{subtask} {} {before}\n", last * SLIDE_MS));
                }
            }
        }
        std::fs::write(folder.join("slides.txt"), slides).unwrap();
        let mut windows = String::new();
        let mut answers = [Vec::new(), Vec::new()];
        for end_ms in Self::ends() {
            for subtask in 0..2_u64 {
                let last_ms = end_ms + 100 * (subtask + 1);
                windows.push_str(&format!("{subtask} {end_ms} 50 6 {last_ms}\n"));
            }
            for &tenant in &self.sampled {
                for (topic, weight) in self.rows(tenant, end_ms) {
                    let file = &mut answers[(tenant % 2) as usize];
                    file.extend(end_ms.to_be_bytes());
                    file.extend((end_ms + 150).to_be_bytes());
                    file.extend(tenant.to_be_bytes());
                    file.extend(topic.to_be_bytes());
                    file.extend(weight.to_be_bytes());
                }
            }
        }
        std::fs::write(folder.join("windows.txt"), windows).unwrap();
        for (subtask, answers) in answers.iter().enumerate() {
            std::fs::write(folder.join(format!("answers.{subtask}")), answers).unwrap();
        }
    }

    fn windows(&self) -> Windows {
        let folder = Folder::new().unwrap();
        self.write(folder.path());
        Windows::read(folder.path(), (&self.events, &self.sampled), (2, WINDOW_MS)).unwrap()
    }
}

#[test]
fn right_answers_pass_as_brute_force_counts_them() {
    let truth = Truth::new();
    let windows = truth.windows();
    let checked = windows.check(0..u64::MAX);
    assert_eq!(checked.explained, Vec::<String>::new());
    // No slide begins after 66,800: of windows until then, all events are known.
    assert_eq!((checked.windows, checked.answers), (15, 75));
    assert!(checked.topics > 600, "{checked:?}");
    assert_eq!(windows.check(53_000..56_000).windows, 3);
    assert_eq!(windows.rounds[&52_000], Round { tenants: 12, last_ms: 52_200 });
    assert_eq!(windows.answers[&(52_000, truth.sampled[0])].arrived_ms, 52_150);
}

#[test]
fn a_wrong_weight_place_or_absence_is_found() {
    let truth = Truth::new();
    let key = (60_000, truth.sampled[1]);
    let found = |change: &dyn Fn(&mut Windows)| {
        let mut windows = truth.windows();
        change(&mut windows);
        let checked = windows.check(0..u64::MAX);
        assert_eq!(checked.explained.len() as u64, checked.mismatches.min(10));
        checked.mismatches
    };
    assert_eq!(found(&|_| {}), 0);
    assert_eq!(found(&|w| w.answers.get_mut(&key).unwrap().rows[0].1 += 1), 1);
    assert_eq!(found(&|w| w.answers.get_mut(&key).unwrap().rows.swap(1, 2)), 2);
    assert_eq!(found(&|w| w.answers.get_mut(&key).unwrap().rows.truncate(1)), 1);
    assert_eq!(found(&|w| w.answers.retain(|of, _| *of != key)), 1);
}

#[test]
fn a_window_whose_events_are_not_all_known_is_not_checked() {
    let truth = Truth::new();
    let mut windows = truth.windows();
    windows.shares[1].slides.retain(|slide| slide.0 < 60_000);
    let checked = windows.check(0..u64::MAX);
    assert_eq!((checked.windows, checked.mismatches), (9, 0));
}

#[test]
fn files_that_are_torn_are_told() {
    let truth = Truth::new();
    let mut windows = truth.windows();
    assert!(windows.add_answers(&[0; 33]).is_err());
    assert!(windows.add_answers(&[0xff; 32]).is_err());
    let folder = Folder::new().unwrap();
    let path = folder.path().join("slides.txt");
    std::fs::write(&path, "0 1 2\n0 1\n").unwrap();
    let error = numbers::<3>(&path).unwrap_err().to_string();
    assert!(error.contains("\"0 1\" is not 3 numbers"), "{error}");
}

#[test]
fn places_are_counted_over_whole_and_torn_rounds() {
    for length in 1..6 {
        for place in 0..length {
            for n in 0..30 {
                let brute = (0..n).filter(|k| k % length == place).count() as u64;
                assert_eq!(below(n, place, length), brute, "{n} {place} {length}");
            }
        }
    }
}
