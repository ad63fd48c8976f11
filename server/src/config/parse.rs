//! Reading one value from text: durations, byte sizes, counts, switches and core lists.
//!
//! Each function answers with the value or with the rule the text broke, as a sentence that follows
//! the setting's name.

use std::path::PathBuf;

/// Milliseconds from `250ms`, `60s`, `1m` or `1h`.
pub(super) fn duration_ms(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err("must be a whole number with ms, s, m or h, such as 500ms or 60s".into()),
    };
    scaled(number, unit_ms)
        .ok_or_else(|| "must be a whole number of time units, such as 60s".into())
}

/// Bytes from `1048576`, `512MiB`, `2GiB`, `64K` (binary) or `500MB` (decimal).
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split_unit(text);
    let unit_bytes = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err("must be a whole number of bytes, KiB, MiB or GiB".into()),
    };
    scaled(number, unit_bytes).ok_or_else(|| "must be a whole number, such as 512MiB".into())
}

/// A count within `low..=high`; `_` may group digits.
pub(super) fn count(text: &str, low: u64, high: u64) -> Result<u64, String> {
    scaled(text, 1)
        .filter(|n| (low..=high).contains(n))
        .ok_or_else(|| format!("must be a whole number from {low} to {high}"))
}

/// A switch.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("must be true or false".into()),
    }
}

/// Core numbers from `0,1` or `0-3,8`, in the order given and without repeats.
pub(super) fn cores(text: &str) -> Result<Vec<usize>, String> {
    let rule = || "must be core numbers such as 0,1 or 0-3, each once".to_owned();
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().map_err(|_| rule())?;
        let last: usize = last.trim().parse().map_err(|_| rule())?;
        if first > last || last >= CORES_MAX {
            return Err(rule());
        }
        for core in first..=last {
            if cores.contains(&core) {
                return Err(rule());
            }
            cores.push(core);
        }
    }
    Ok(cores)
}

/// A directory, which need not be there yet.
pub(super) fn directory(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.contains('\0') {
        return Err("must be the path of a directory".into());
    }
    Ok(PathBuf::from(text))
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '_')).unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

fn scaled(number: &str, unit: u64) -> Option<u64> {
    let digits = number.trim().replace('_', "");
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

const CORES_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration_ms("500ms"), Ok(500));
        assert_eq!(duration_ms("60s"), Ok(60_000));
        assert_eq!(duration_ms("1m"), Ok(60_000));
        assert_eq!(duration_ms(" 1 h "), Ok(3_600_000));
        for bad in
            ["", "60", "s", "1.5s", "-1s", "1d", "99999999999999999999s", "5124095576030431h"]
        {
            assert!(duration_ms(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(bytes("1_000"), Ok(1_000));
        assert_eq!(bytes("512MiB"), Ok(512 << 20));
        assert_eq!(bytes("2 gib"), Ok(2 << 30));
        assert_eq!(bytes("500MB"), Ok(500_000_000));
        for bad in ["", "MiB", "1.5GiB", "-1", "1XB", "99999999TiB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn counts_and_switches() {
        assert_eq!(count("100_000", 1, 100_000), Ok(100_000));
        assert!(count("0", 1, 9).is_err());
        assert!(count("ten", 1, 9).is_err());
        assert_eq!(switch("ON"), Ok(true));
        assert_eq!(switch("0"), Ok(false));
        assert!(switch("maybe").is_err());
    }

    #[test]
    fn core_lists() {
        assert_eq!(cores("0,1"), Ok(vec![0, 1]));
        assert_eq!(cores("2-4,0"), Ok(vec![2, 3, 4, 0]));
        for bad in ["", "a", "1-", "3-1", "0,0", "0-2,1", "99999"] {
            assert!(cores(bad).is_err(), "{bad}");
        }
    }
}
