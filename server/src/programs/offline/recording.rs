//! Recorded events: `tenant \t ts_ms \t topic \t weight [\t text]`, sorted by time, maybe packed.
//!
//! Strict: what is wrong is told with file and line, and nothing is guessed.

use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use trendsrv_proto::limits::{TEXT_BYTES_MAX, TIME_MS_MAX, WEIGHT_MAX};
use trendsrv_proto::{NameError, check_name};

/// One line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Line {
    pub(super) tenant: Box<str>,
    pub(super) ts_ms: u64,
    pub(super) topic: Box<str>,
    pub(super) weight: u32,
    pub(super) text: Option<Box<str>>,
}

/// What is wrong, and where.
#[derive(Debug, thiserror::Error)]
#[error("{}:{line}: {wrong}", file.display())]
pub(super) struct RecordingError {
    file: PathBuf,
    line: u64,
    wrong: Wrong,
}

#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error("cannot read: {0}")]
    Read(#[from] io::Error),
    #[error("longer than {LINE_BYTES_MAX} bytes; is it a recording?")]
    TooLong,
    #[error("not UTF-8")]
    NotUtf8,
    #[error("{0} columns; there are tenant, ts_ms, topic, weight and maybe text, tabs between")]
    Columns(usize),
    #[error("{column}: {source}")]
    Name { column: &'static str, source: NameError },
    #[error("ts_ms is {0:?}; it is milliseconds since 1970, at most {TIME_MS_MAX}")]
    Time(String),
    #[error("weight is {0:?}; it is a whole number from 1 to {WEIGHT_MAX}")]
    Weight(String),
    #[error("text has {0} bytes; at most {TEXT_BYTES_MAX}")]
    Text(usize),
    #[error("ts_ms {0} comes after {1}: sort by column 2")]
    Unsorted(u64, u64),
}

/// Reads line by line.
pub(super) struct Recording {
    input: Box<dyn BufRead>,
    file: PathBuf,
    line: u64,
    last_ms: u64,
}

impl Recording {
    /// Opens a file; a name that ends in `.gz` is unpacked.
    pub(super) fn open(file: &Path) -> Result<Self, RecordingError> {
        let opened = File::open(file).map_err(|error| RecordingError {
            file: file.to_owned(),
            line: 0,
            wrong: error.into(),
        })?;
        let input: Box<dyn BufRead> = if file.extension().is_some_and(|end| end == "gz") {
            Box::new(BufReader::new(MultiGzDecoder::new(opened)))
        } else {
            Box::new(BufReader::new(opened))
        };
        Ok(Self { input, file: file.to_owned(), line: 0, last_ms: 0 })
    }

    /// The next line; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Line>, RecordingError> {
        self.line += 1;
        self.read().map_err(|wrong| RecordingError {
            file: self.file.clone(),
            line: self.line,
            wrong,
        })
    }

    fn read(&mut self) -> Result<Option<Line>, Wrong> {
        let mut bytes = Vec::new();
        let most = LINE_BYTES_MAX as u64 + 1;
        (&mut self.input).take(most).read_until(b'\n', &mut bytes)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.len() > LINE_BYTES_MAX {
            return Err(Wrong::TooLong);
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| Wrong::NotUtf8)?;
        let line = parse(text.strip_suffix('\n').unwrap_or(text))?;
        if line.ts_ms < self.last_ms {
            return Err(Wrong::Unsorted(line.ts_ms, self.last_ms));
        }
        self.last_ms = line.ts_ms;
        Ok(Some(line))
    }
}

fn parse(line: &str) -> Result<Line, Wrong> {
    let columns: Vec<&str> = line.split('\t').collect();
    let (tenant, ts, topic, weight, text) = match columns[..] {
        [tenant, ts, topic, weight] => (tenant, ts, topic, weight, None),
        [tenant, ts, topic, weight, text] => (tenant, ts, topic, weight, Some(text)),
        _ => return Err(Wrong::Columns(columns.len())),
    };
    for (column, name) in [("tenant", tenant), ("topic", topic)] {
        check_name(name.as_bytes()).map_err(|source| Wrong::Name { column, source })?;
    }
    if let Some(text) = text.filter(|text| text.len() > TEXT_BYTES_MAX) {
        return Err(Wrong::Text(text.len()));
    }
    let ts_ms = number(ts).filter(|ms| *ms <= TIME_MS_MAX);
    let weighed = number(weight).and_then(|weight| u32::try_from(weight).ok());
    let weighed = weighed.filter(|weight| (1..=WEIGHT_MAX).contains(weight));
    Ok(Line {
        tenant: tenant.into(),
        ts_ms: ts_ms.ok_or_else(|| Wrong::Time(ts.to_owned()))?,
        topic: topic.into(),
        weight: weighed.ok_or_else(|| Wrong::Weight(weight.to_owned()))?,
        text: text.map(Box::from),
    })
}

/// Digits only: `parse` alone would take a sign.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

/// Two names, two numbers, a text and tabs.
const LINE_BYTES_MAX: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    fn read(bytes: &[u8]) -> Result<Vec<Line>, String> {
        let folder = Folder::new(&format!("recording-{:016x}", rand::random::<u64>()));
        std::fs::create_dir_all(&folder.0).unwrap();
        let file = folder.0.join("events.tsv");
        std::fs::write(&file, bytes).unwrap();
        let mut recording = Recording::open(&file).unwrap();
        let mut lines = Vec::new();
        loop {
            match recording.next() {
                Ok(Some(line)) => lines.push(line),
                Ok(None) => return Ok(lines),
                Err(error) => {
                    let error = error.to_string();
                    return Err(error.split_once("events.tsv").unwrap().1.to_owned());
                }
            }
        }
    }

    #[test]
    fn lines_have_four_columns_or_five() {
        let lines = read("a\t1\tb c\t2\nä\t5\tt\t1\tsome text".as_bytes()).unwrap();
        assert_eq!((lines[0].weight, lines[0].text.as_deref()), (2, None));
        assert_eq!((&*lines[1].tenant, lines[1].text.as_deref()), ("ä", Some("some text")));
        assert_eq!(read(b"").unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let long = format!("a\t1\tb\t1\t{}", "x".repeat(TEXT_BYTES_MAX + 1));
        let cases: [(&[u8], &str); 9] = [
            (b"a\t1\tb\t1\n\n", ":2: 1 columns"),
            (b"a\t1\tb\t1\tc\td", ":1: 6 columns"),
            (b"a\t1\tb\t0", ":1: weight is \"0\""),
            (b"a\t+1\tb\t1", ":1: ts_ms is \"+1\""),
            (b"\t1\tb\t1", ":1: tenant: "),
            (b"a\t1\t\xff\t1", ":1: not UTF-8"),
            (b"a\t5\tb\t1\na\t4\tb\t1", ":2: ts_ms 4 comes after 5"),
            (long.as_bytes(), ":1: text has 4097 bytes"),
            (&[b'x'; LINE_BYTES_MAX + 1], ":1: longer than"),
        ];
        for (bytes, words) in cases {
            let error = read(bytes).unwrap_err();
            assert!(error.starts_with(words), "{error}");
        }
        assert!(Recording::open(Path::new("/nowhere.tsv")).is_err());
    }
}
