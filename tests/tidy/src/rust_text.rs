//! Rust text with comments and literals blanked out, so that a scan sees code only.
//!
//! Owns: a scanner that knows comments, strings, raw strings and character literals; nothing
//! else of the language. Line and column of what remains do not change.
//!
//! ```text
//! code --"//"--> line comment --"\n"--> code
//!      --"/*"--> block comment (nested) --"*/"--> code
//!      --"\""--> string (escapes) --"\""--> code
//!      --r#"..--> raw string --"#..--> code
//!      --'x'---> character --> code        ('a alone is a lifetime and stays)
//! ```

/// The text with every comment and literal replaced by spaces; line ends stay.
pub fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match literal_end(&chars, at) {
            Some(end) => end,
            None => {
                out.push(chars[at]);
                at += 1;
                continue;
            }
        };
        for &c in &chars[at..end] {
            out.push(if c == '\n' { '\n' } else { ' ' });
        }
        at = end;
    }
    out
}

/// True when `word` stands at a byte range of `line` with no identifier character beside it.
pub fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        !before.is_some_and(is_identifier) && !after.is_some_and(is_identifier)
    })
}

/// The line (from 1) where the inline tests of a file begin, or one past its last line.
///
/// Inline tests are a `#[cfg(test)]` in the first column followed by a module with a body.
pub fn tests_begin(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let opens_module = lines[index + 1..]
            .iter()
            .find(|next| !next.starts_with("#["))
            .is_some_and(|next| next.starts_with("mod ") && next.trim_end().ends_with('{'));
        if line.starts_with("#[cfg(test)]") && opens_module {
            return index + 1;
        }
    }
    lines.len() + 1
}

fn is_identifier(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where the comment or literal that starts at `at` ends, if one starts there.
fn literal_end(chars: &[char], at: usize) -> Option<usize> {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => {
            Some(at + chars[at..].iter().take_while(|&&c| c != '\n').count())
        }
        '/' if next == Some('*') => Some(block_comment_end(chars, at)),
        '"' => Some(string_end(chars, at)),
        '\'' => character_end(chars, at),
        'r' | 'b' | 'c' if at == 0 || !is_identifier(chars[at - 1]) => raw_string_end(chars, at),
        _ => None,
    }
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    chars.len()
}

fn string_end(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// The end of `'x'` or `'\n'`; none for a lifetime.
fn character_end(chars: &[char], start: usize) -> Option<usize> {
    match (chars.get(start + 1)?, chars.get(start + 2)?) {
        ('\\', _) => {
            let tail = chars.get(start + 3..)?;
            Some(start + 4 + tail.iter().position(|&c| c == '\'')?)
        }
        (_, '\'') => Some(start + 3),
        _ => None,
    }
}

/// The end of `r"…"`, `r#"…"#`, `br"…"`; none when no raw string starts here.
fn raw_string_end(chars: &[char], start: usize) -> Option<usize> {
    let mut at = start;
    if chars[at] != 'r' {
        at += 1;
    }
    if chars.get(at) != Some(&'r') {
        return None;
    }
    at += 1;
    let hashes = chars[at..].iter().take_while(|&&c| c == '#').count();
    at += hashes;
    if chars.get(at) != Some(&'"') {
        return None;
    }
    at += 1;
    while at < chars.len() {
        let closed = chars[at] == '"'
            && chars[at + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes;
        if closed {
            return Some(at + 1 + hashes);
        }
        at += 1;
    }
    Some(chars.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, code: &str) {
        assert_eq!(code_only(text).split_whitespace().collect::<Vec<_>>().join(" "), code);
    }

    #[test]
    fn blanks_comments_and_literals_and_nothing_else() {
        check("let a = 1; // unsafe", "let a = 1;");
        check("a /* b /* c */ d */ e", "a e");
        check(r#"f("un\"safe") g"#, "f( ) g");
        check("r#\"a \" b\"# c br\"x\" d", "c d");
        check("'\"' x '\\'' y 'a z", "x y 'a z");
        check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
        check("bar\"x\"", "bar");
    }

    #[test]
    fn keeps_the_lines_where_they_were() {
        assert_eq!(code_only("a /* \n */ b\n\"x\ny\"").lines().count(), 4);
    }

    #[test]
    fn a_word_is_not_a_part_of_a_word() {
        assert!(has_word("unsafe {", "unsafe"));
        assert!(has_word("x(unsafe{})", "unsafe"));
        assert!(!has_word("unsafe_code", "unsafe"));
    }

    #[test]
    fn inline_tests_begin_at_their_attribute() {
        assert_eq!(tests_begin("a\n#[cfg(test)]\nmod tests {\n}\n"), 2);
        assert_eq!(tests_begin("a\n#[cfg(test)]\nmod tests;\nb\n"), 5);
    }
}
