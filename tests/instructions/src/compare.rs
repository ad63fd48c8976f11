//! Counts against rows: which agree, which are worse, better, new or gone.
//!
//! Owns: the tolerance and the verdicts. Never touches: files, valgrind.
//!
//! ```text
//!        row - 5 %        row        row + 5 %
//! better    |         same            |     worse: fails
//! ```

use crate::table::Row;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What became of one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// The case.
    pub(crate) name: String,
    /// The verdict.
    pub(crate) verdict: Verdict,
}

/// A count beside its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Within the tolerance.
    Same { row: u64, counted: u64 },
    /// Below it.
    Better { row: u64, counted: u64 },
    /// Above it.
    Worse { row: u64, counted: u64 },
    /// A case without a row.
    New { counted: u64 },
    /// A row without a case.
    Gone { row: u64 },
}

impl Verdict {
    /// The verdict on a count that has a row.
    pub(crate) const fn of(row: u64, counted: u64) -> Self {
        if counted * 100 > row * (100 + TOLERANCE_PERCENT) {
            Self::Worse { row, counted }
        } else if counted * 100 < row * (100 - TOLERANCE_PERCENT) {
            Self::Better { row, counted }
        } else {
            Self::Same { row, counted }
        }
    }

    /// Whether the change may not pass without a reason.
    pub(crate) const fn fails(self) -> bool {
        match self {
            Self::Same { .. } | Self::Better { .. } => false,
            Self::Worse { .. } | Self::New { .. } | Self::Gone { .. } => true,
        }
    }
}

/// One line for each case and each row, by name.
pub(crate) fn compare(rows: &BTreeMap<String, Row>, counts: &BTreeMap<String, u64>) -> Vec<Line> {
    let names: BTreeSet<&String> = rows.keys().chain(counts.keys()).collect();
    let verdict = |name: &String| {
        let row = rows.get(name).map(|row| row.instructions);
        match (row, counts.get(name).copied()) {
            (Some(row), Some(counted)) => Some(Verdict::of(row, counted)),
            (None, Some(counted)) => Some(Verdict::New { counted }),
            (Some(row), None) => Some(Verdict::Gone { row }),
            (None, None) => None,
        }
    };
    let line = |name: &String| Some(Line { name: name.clone(), verdict: verdict(name)? });
    names.into_iter().filter_map(line).collect()
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:28} ", self.name)?;
        match self.verdict {
            Verdict::Same { row, counted } => pair(f, row, counted, "same"),
            Verdict::Better { row, counted } => pair(f, row, counted, "better"),
            Verdict::Worse { row, counted } => pair(f, row, counted, "WORSE"),
            Verdict::New { counted } => write!(f, "{:>12} -> {counted:>12}  NO ROW", ""),
            Verdict::Gone { row } => write!(f, "{row:>12} -> {:>12}  NO CASE", ""),
        }
    }
}

fn pair(f: &mut fmt::Formatter<'_>, row: u64, counted: u64, word: &str) -> fmt::Result {
    // Hundredths of a percent, towards zero.
    let moved = (i128::from(counted) - i128::from(row)) * 10_000 / i128::from(row.max(1));
    let (sign, moved) = (if moved < 0 { '-' } else { '+' }, moved.abs());
    let percent = format!("{sign}{}.{:02}", moved / 100, moved % 100);
    write!(f, "{row:>12} -> {counted:>12}  {percent:>7} %  {word}")
}

/// How far a count may move without a word.
pub(crate) const TOLERANCE_PERCENT: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[(&str, u64)]) -> BTreeMap<String, Row> {
        let row = |instructions| Row { instructions, reason: "why".to_owned() };
        rows.iter().map(|&(name, count)| (name.to_owned(), row(count))).collect()
    }

    fn counts(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
        counts.iter().map(|&(name, count)| (name.to_owned(), count)).collect()
    }

    fn verdicts(table: &[(&str, u64)], counted: &[(&str, u64)]) -> Vec<Verdict> {
        compare(&rows(table), &counts(counted)).into_iter().map(|line| line.verdict).collect()
    }

    #[test]
    fn five_percent_either_way_are_the_same() {
        let row = 1_000;
        for counted in [950, 1_000, 1_050] {
            assert_eq!(Verdict::of(row, counted), Verdict::Same { row, counted });
        }
        assert!(!Verdict::of(row, 1_050).fails());
    }

    #[test]
    fn more_than_five_percent_above_fails() {
        assert_eq!(Verdict::of(1_000, 1_051), Verdict::Worse { row: 1_000, counted: 1_051 });
        assert!(Verdict::of(1_000, 1_051).fails());
    }

    #[test]
    fn more_than_five_percent_below_is_better_and_passes() {
        assert_eq!(Verdict::of(1_000, 949), Verdict::Better { row: 1_000, counted: 949 });
        assert!(!Verdict::of(1_000, 949).fails());
    }

    #[test]
    fn a_case_without_a_row_and_a_row_without_a_case_fail() {
        let found = verdicts(&[("a", 10), ("b", 20)], &[("b", 20), ("c", 30)]);
        let same = Verdict::Same { row: 20, counted: 20 };
        assert_eq!(found, [Verdict::Gone { row: 10 }, same, Verdict::New { counted: 30 }]);
        assert_eq!(found.iter().filter(|verdict| verdict.fails()).count(), 2);
    }

    #[test]
    fn a_line_says_the_figures_and_the_verdict() {
        let line = |verdict| Line { name: "a".to_owned(), verdict }.to_string();
        let words = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(line(Verdict::of(1_000, 1_102))), "a 1000 -> 1102 +10.20 % WORSE");
        assert_eq!(words(line(Verdict::of(1_000, 899))), "a 1000 -> 899 -10.10 % better");
        assert_eq!(words(line(Verdict::of(1_000, 999))), "a 1000 -> 999 -0.10 % same");
        assert_eq!(words(line(Verdict::New { counted: 7 })), "a -> 7 NO ROW");
        assert_eq!(words(line(Verdict::Gone { row: 7 })), "a 7 -> NO CASE");
    }
}
