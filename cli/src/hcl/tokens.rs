//! HCL as tokens, comments among them.

/// One token and the lines it covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) text: String,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Comment,
    /// A name, or a bare word such as `true`.
    Word,
    Text,
    Number,
    Heredoc,
    /// One of `{ } [ ] = ,`.
    Mark(char),
}

/// Takes `text` apart.
pub(super) fn read(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '\n' {
            line += 1;
        }
        if first.is_whitespace() || first == '\u{feff}' {
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
            continue;
        }
        let (kind, length) = next(rest, first).map_err(|why| format!("line {line}: {why}"))?;
        let (taken, tail) = rest.split_at(length);
        let lines = taken.matches('\n').count();
        let text = match kind {
            Kind::Comment => moved(taken, text.get(..text.len() - rest.len()).unwrap_or_default()),
            _ => taken.to_owned(),
        };
        tokens.push(Token { kind, text, start: line, end: line + lines });
        line += lines;
        rest = tail;
    }
    Ok(tokens)
}

/// A comment as it would stand at the start of a line: its further lines move with the first.
fn moved(comment: &str, before: &str) -> String {
    let lead = before.rsplit('\n').next().unwrap_or_default();
    if !lead.chars().all(char::is_whitespace) {
        return comment.trim_end().to_owned();
    }
    let indent = lead.chars().count();
    let mut lines = comment.trim_end().split('\n');
    let mut text = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        let blank = line.chars().take(indent).take_while(|c| c.is_whitespace());
        let cut = blank.map(char::len_utf8).sum();
        text.push('\n');
        text.push_str(line.get(cut..).unwrap_or_default());
    }
    text
}

fn next(rest: &str, first: char) -> Result<(Kind, usize), String> {
    let until_newline = || rest.find('\n').unwrap_or(rest.len());
    match first {
        '#' => Ok((Kind::Comment, until_newline())),
        '/' if rest.starts_with("//") => Ok((Kind::Comment, until_newline())),
        '/' if rest.starts_with("/*") => match rest.find("*/") {
            Some(at) => Ok((Kind::Comment, at + 2)),
            None => Err("the comment does not end".to_owned()),
        },
        '{' | '}' | '[' | ']' | '=' | ',' => Ok((Kind::Mark(first), 1)),
        '"' => quoted(rest),
        '<' if rest.starts_with("<<") => heredoc(rest),
        _ if first.is_ascii_digit() || first == '-' || first == '+' => {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+')));
            Ok((Kind::Number, end.unwrap_or(rest.len())))
        }
        _ if first.is_alphabetic() || first == '_' => {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.')));
            Ok((Kind::Word, end.unwrap_or(rest.len())))
        }
        other => Err(format!("{other:?} has no meaning here")),
    }
}

fn quoted(rest: &str) -> Result<(Kind, usize), String> {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '\n' => break,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Ok((Kind::Text, at + 1)),
            _ => {}
        }
    }
    Err("the string does not end on its line".to_owned())
}

/// `<<END` up to the line that holds only `END`, which belongs to it without its newline.
fn heredoc(rest: &str) -> Result<(Kind, usize), String> {
    let first_end = rest.find('\n').ok_or("the heredoc does not end")?;
    let (head, body) = rest.split_at(first_end + 1);
    let marker = head.trim_end().trim_start_matches("<<").trim_start_matches('-');
    if marker.is_empty() || !marker.chars().all(|c| c.is_alphanumeric() || c == '_') {
        return Err("the heredoc has no marker".to_owned());
    }
    let mut length = head.len();
    for line in body.split_inclusive('\n') {
        if line.trim() == marker {
            return Ok((Kind::Heredoc, length + line.trim_end().len()));
        }
        length += line.len();
    }
    Err(format!("the heredoc does not end with {marker}"))
}
