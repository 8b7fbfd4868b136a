//! Where a tag (`!…`) stands right before a comma, on which the parser panics (libyaml-safer 0.3.0): to be known before it
//! gets there. Whether an exclamation mark begins a tag only the parser's own scanner can tell, so the scanner is shown a text
//! with a blank before each comma in question: after a tag that is no trouble, and what stands elsewhere is not looked at.

use std::io::Read;

use libyaml_safer::{Error, Scanner, TokenData};

use super::{MAX_DEPTH, SyntaxError, advice, place, syntax_message};

/// Looks for the first such tag in the first document.
pub(super) fn refuse_before_comma(text: &str) -> Result<(), SyntaxError> {
    let (text, blanks) = with_blanks(text);
    if blanks.is_empty() {
        return Ok(());
    }
    let mut scanner = Scanner::new();
    scanner.set_input(text.as_bytes().chain(&b"\n"[..]));
    let (mut begun, mut depth) = (false, 0);
    loop {
        let token = scanner
            .next()
            .transpose()
            .map_err(|error| not_yaml(&error))?;
        let Some(token) = token else {
            return Ok(());
        };
        match token.data {
            TokenData::Tag { .. } if blanks.binary_search(&token.end_mark.index).is_ok() => {
                return Err(SyntaxError {
                    at: place(token.start_mark),
                    message: "a tag (`!…`) with nothing between it and a comma".to_owned(),
                    hint: Some("a text that begins with `!` needs quotes"),
                });
            }
            TokenData::DocumentStart if !begun => begun = true,
            TokenData::DocumentStart | TokenData::DocumentEnd => return Ok(()),
            TokenData::StreamStart { .. }
            | TokenData::TagDirective { .. }
            | TokenData::VersionDirective { .. } => {}
            TokenData::FlowMappingStart | TokenData::FlowSequenceStart => {
                (begun, depth) = (true, depth + 1);
                // The parser does not get beyond this either.
                if depth > MAX_DEPTH {
                    return Ok(());
                }
            }
            TokenData::FlowMappingEnd | TokenData::FlowSequenceEnd => {
                depth = depth.saturating_sub(1);
            }
            _ => begun = true,
        }
    }
}

/// Puts a blank before each comma that something with an exclamation mark reaches up to, and says where. Tags are ASCII.
fn with_blanks(text: &str) -> (String, Vec<u64>) {
    let (mut changed, mut blanks) = (String::new(), Vec::new());
    let (mut copied, mut marked) = (0, false);
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b',' if marked => {
                changed.push_str(&text[copied..index]);
                blanks.push(changed.len() as u64);
                changed.push(' ');
                copied = index;
            }
            b'!' => marked = true,
            _ => marked &= byte.is_ascii_graphic(),
        }
    }
    changed.push_str(&text[copied..]);
    (changed, blanks)
}

fn not_yaml(error: &Error) -> SyntaxError {
    SyntaxError {
        at: error.problem_mark().map_or(super::START, place),
        message: syntax_message(error),
        hint: advice(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(text: &str) -> Option<u32> {
        refuse_before_comma(text).err().map(|error| error.at.column)
    }

    #[test]
    fn tags_before_commas_are_found_wherever_they_can_be() {
        for (text, at) in [
            ("[!,]", 2),
            ("[a, !b,c]", 5),
            ("{a: !b, c: d}", 5),
            ("{a: \":1\"!, b: c}", 9),
            ("[[a]!b, c]", 5),
            ("[!<tag:x>, c]", 2),
            ("[a!b, !c, d]", 8),
            ("a: b 'c\nd: [!x, y]", 5),
            ("a: \"b\nd: [!x, y]\"\nd: [!x, y]", 5),
            ("[\n\u{feff}!b, c]", 2),
            ("--- [!x,]\n--- ]", 6),
        ] {
            assert_eq!(column(text), Some(at), "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_one_is_no_trouble() {
        for text in [
            "a: '^!x,'",
            "a: |\n  b !c, d\n",
            "# !a,\na: b",
            "a: b !c, d",
            "[a!b, c !d, e]",
            "{a: !b c, d: \"!e,\"}",
            "[!a ,b]",
            "a: b\n---\n[!c,]",
            "a: b\n...\n[!c,",
        ] {
            assert_eq!(column(text), None, "{text}");
        }
    }
}
