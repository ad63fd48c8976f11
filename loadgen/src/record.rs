//! Recorded files: `tenant \t ts_ms \t topic \t weight [\t text]`, sorted by time, maybe gzip'ed.
//!
//! Strict: what is wrong is told with file, line and what to do, and nothing is guessed.

use crate::limits::LINE_BYTES_MAX;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use thiserror::Error;
use trendsrv_proto::limits::{TIME_MS_MAX, WEIGHT_MAX};
use trendsrv_proto::{NameError, TextError, check_name, check_text};

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) ts_ms: u64,
    pub(crate) topic: &'a str,
    pub(crate) weight: u32,
    /// The text column, where the line has one.
    pub(crate) text: Option<&'a str>,
}

/// What is wrong with a file, where, and what to do.
#[derive(Debug, Error)]
#[error("{}:{line}: {wrong}", file.display())]
pub(crate) struct RecordError {
    file: PathBuf,
    line: u64,
    wrong: Wrong,
}

/// What is wrong with a line.
#[derive(Debug, Error)]
pub(crate) enum Wrong {
    #[error("cannot read: {0}")]
    Read(#[from] io::Error),
    #[error("the file is empty; it needs a line `tenant TAB ts_ms TAB topic TAB weight`")]
    Empty,
    #[error("line is longer than {LINE_BYTES_MAX} bytes; is it a recorded file?")]
    TooLong,
    #[error("not UTF-8 at byte {0}; convert the file, for instance with iconv")]
    NotUtf8(usize),
    #[error("{0} columns; write tenant, ts_ms, topic, weight and maybe text, with tabs between")]
    Columns(usize),
    #[error("{column}: {source}")]
    Name { column: &'static str, source: NameError },
    #[error("the line has no column 5, the text; leave out --text to send topics")]
    NoText,
    #[error("column 5: {0}")]
    Text(TextError),
    #[error("ts_ms is {0:?}; write milliseconds since 1970, at most {TIME_MS_MAX}")]
    Time(String),
    #[error("weight is {0:?}; write a whole number from 1 to {WEIGHT_MAX}")]
    Weight(String),
    #[error(
        "ts_ms {ts_ms} is before {last_ms} in line {last_line}; sort by column 2: sort -t'\t' -s -k2,2n"
    )]
    Unsorted { ts_ms: u64, last_ms: u64, last_line: u64 },
}

/// Reads records one by one.
pub(crate) struct Reader {
    input: Box<dyn BufRead>,
    file: PathBuf,
    line: u64,
    bytes: Vec<u8>,
    last_ms: u64,
    needs_text: bool,
}

impl Reader {
    /// Opens a file; a name that ends in `.gz` is unpacked.
    pub(crate) fn open(file: &Path) -> Result<Self, RecordError> {
        let plain = File::open(file).map_err(|source| RecordError {
            file: file.to_owned(),
            line: 0,
            wrong: source.into(),
        })?;
        let packed = file.extension().is_some_and(|e| e == "gz");
        let input: Box<dyn BufRead> = if packed {
            Box::new(BufReader::new(MultiGzDecoder::new(BufReader::new(plain))))
        } else {
            Box::new(BufReader::new(plain))
        };
        Ok(Self::new(input, file))
    }

    fn new(input: Box<dyn BufRead>, file: &Path) -> Self {
        let (line, last_ms, needs_text) = (0, 0, false);
        Self { input, file: file.to_owned(), line, bytes: Vec::new(), last_ms, needs_text }
    }

    /// From now on every line must have a text that can be sent.
    pub(crate) const fn needs_text(mut self, needs_text: bool) -> Self {
        self.needs_text = needs_text;
        self
    }

    /// The next record; none at the end of the file.
    pub(crate) fn next(&mut self) -> Result<Option<Record<'_>>, RecordError> {
        self.bytes.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let read = self.input.by_ref().take(limit).read_until(b'\n', &mut self.bytes);
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(source) => return Err(self.error(1, source.into())),
        };
        if bytes == 0 {
            return if self.line == 0 { Err(self.error(1, Wrong::Empty)) } else { Ok(None) };
        }
        self.line += 1;
        if bytes > LINE_BYTES_MAX {
            return Err(self.error(0, Wrong::TooLong));
        }
        if self.bytes.last() == Some(&b'\n') {
            self.bytes.pop();
        }
        match parse(&self.bytes, self.needs_text) {
            Ok(record) if record.ts_ms < self.last_ms => {
                let (ts_ms, last_ms) = (record.ts_ms, self.last_ms);
                let last_line = self.line - 1;
                Err(self.error(0, Wrong::Unsorted { ts_ms, last_ms, last_line }))
            }
            Ok(record) => {
                self.last_ms = record.ts_ms;
                Ok(Some(record))
            }
            Err(wrong) => Err(self.error(0, wrong)),
        }
    }

    fn error(&self, after: u64, wrong: Wrong) -> RecordError {
        RecordError { file: self.file.clone(), line: self.line + after, wrong }
    }
}

fn parse(line: &[u8], needs_text: bool) -> Result<Record<'_>, Wrong> {
    let line = std::str::from_utf8(line).map_err(|e| Wrong::NotUtf8(e.valid_up_to()))?;
    let mut columns = line.splitn(5, '\t');
    let (Some(tenant), Some(ts), Some(topic), Some(weight)) =
        (columns.next(), columns.next(), columns.next(), columns.next())
    else {
        return Err(Wrong::Columns(line.split('\t').count()));
    };
    let text = columns.next();
    if text.is_some_and(|text| text.contains('\t')) {
        return Err(Wrong::Columns(line.split('\t').count()));
    }
    if needs_text {
        check_text(text.ok_or(Wrong::NoText)?.as_bytes()).map_err(Wrong::Text)?;
    }
    for (column, name) in [("tenant", tenant), ("topic", topic)] {
        check_name(name.as_bytes()).map_err(|source| Wrong::Name { column, source })?;
    }
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let ts_ms = Some(ts).filter(|ts| digits(ts)).and_then(|ts| ts.parse().ok());
    let weight_of = Some(weight).filter(|w| digits(w)).and_then(|w| w.parse().ok());
    Ok(Record {
        tenant,
        ts_ms: ts_ms.filter(|ts| *ts <= TIME_MS_MAX).ok_or_else(|| Wrong::Time(ts.to_owned()))?,
        topic,
        weight: weight_of
            .filter(|w| (1..=WEIGHT_MAX).contains(w))
            .ok_or_else(|| Wrong::Weight(weight.to_owned()))?,
        text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// Reads all lines; the first error in words.
    fn read(text: &[u8]) -> Result<usize, String> {
        let mut reader = Reader::new(Box::new(Cursor::new(text.to_vec())), Path::new("f.tsv"));
        let mut records = 0;
        while reader.next().map_err(|e| e.to_string())?.is_some() {
            records += 1;
        }
        Ok(records)
    }

    #[test]
    fn lines_with_and_without_text_are_read() {
        let text = "a\t5\tb c\t1\nä\t5\tb\t1000000000\tsome text".as_bytes();
        assert_eq!(read(text), Ok(2));
        let mut reader = Reader::new(Box::new(Cursor::new(text.to_vec())), Path::new("f"));
        let want = Record { tenant: "a", ts_ms: 5, topic: "b c", weight: 1, text: None };
        assert_eq!(reader.next().unwrap(), Some(want));
        assert_eq!(reader.next().unwrap().unwrap().text, Some("some text"));
    }

    #[test]
    fn every_fault_is_told_with_its_line() {
        let long = format!("{}\t1\tb\t1\n", "a".repeat(256));
        let huge = vec![b'x'; LINE_BYTES_MAX + 2];
        let cases: [(&[u8], &str); 14] = [
            (b"", "f.tsv:1: the file is empty"),
            (b"a\t1\tb\t1\n\n", "f.tsv:2: 1 columns"),
            (b"a\t1\tb\n", "f.tsv:1: 3 columns"),
            (b"a\t1\tb\t1\tt\tu\n", "f.tsv:1: 6 columns"),
            (b"a\t1\t\xff\t1\n", "f.tsv:1: not UTF-8 at byte 4"),
            (b"a\t1\tb\t0\n", "f.tsv:1: weight is \"0\""),
            (b"a\t1\tb\t1000000001\n", "f.tsv:1: weight is \"1000000001\""),
            (b"a\t1\tb\t+1\n", "f.tsv:1: weight is \"+1\""),
            (b"a\t1\tb\t1\r\n", "f.tsv:1: weight is \"1\\r\""),
            (b"a\tx\tb\t1\n", "f.tsv:1: ts_ms is \"x\""),
            (b"\t1\tb\t1\n", "f.tsv:1: tenant: name is empty"),
            (b"a\t1\tb\x07\t1\n", "f.tsv:1: topic: name has a control character at byte 1"),
            (long.as_bytes(), "f.tsv:1: tenant: name has 256 bytes"),
            (&huge, "f.tsv:1: line is longer"),
        ];
        for (text, want) in cases {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(want), "{error}");
        }
    }

    #[test]
    fn a_text_that_is_needed_must_be_there_and_fit() {
        let long = format!("a\t1\tb\t1\t{}\n", "x".repeat(4_097));
        let cases: [(&[u8], &str); 4] = [
            (b"a\t1\tb\t1\n", "f.tsv:1: the line has no column 5"),
            (b"a\t1\tb\t1\tx\na\t1\tb\t1\t\n", "f.tsv:2: column 5: text is empty"),
            (b"a\t1\tb\t1\tx\0\n", "f.tsv:1: column 5: text has a NUL at byte 1"),
            (long.as_bytes(), "f.tsv:1: column 5: text has 4097 bytes"),
        ];
        for (text, want) in cases {
            assert!(read(text).is_ok(), "nobody looks at the text");
            let input = Box::new(Cursor::new(text.to_vec()));
            let mut reader = Reader::new(input, Path::new("f.tsv")).needs_text(true);
            let error = loop {
                if let Err(error) = reader.next() {
                    break error.to_string();
                }
            };
            assert!(error.starts_with(want), "{error}");
        }
    }

    #[test]
    fn time_that_runs_backward_names_both_lines() {
        let error = read(b"a\t5\tb\t1\na\t5\tb\t1\na\t4\tb\t1\n").unwrap_err();
        assert!(error.starts_with("f.tsv:3: ts_ms 4 is before 5 in line 2"), "{error}");
    }

    #[test]
    fn a_missing_file_and_a_broken_gzip_are_told() {
        let error = Reader::open(Path::new("nowhere.tsv")).err().unwrap().to_string();
        assert!(error.contains("nowhere.tsv") && error.contains("cannot read"), "{error}");
        let path = std::env::temp_dir().join(format!("loadgen-{}.tsv.gz", std::process::id()));
        std::fs::write(&path, b"not gzip at all").unwrap();
        let error = Reader::open(&path).unwrap().next().unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(error.contains("cannot read"), "{error}");
    }
}
