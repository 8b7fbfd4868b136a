//! Channel programs as zfs(8) takes them: it passes strings only and prints JSON, so arguments are written into the program
//! and its result is made fit for printing.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::program::ProgramValue;

/// Goes before the caller's program, on its first line so that line numbers stay as they are.
const BEFORE: &str = "local function program(...) ";

/// Goes after it.
///
/// zfs(8) prints nil like true, so a result of nil becomes no result, which is the same thing for the kernel. It stops
/// printing at bytes that are not ASCII, so texts with control or other characters become a backslash and hexadecimal
/// digits; what starts with a backslash does too. Only what must change is changed, and tables stay the same objects, which
/// keeps the cost in memory and instructions small. Deeper than the kernel allows tables to be there is no need to look.
const AFTER: &str = r"
end
local type, next, rawset, select = type, next, rawset, select
local find, gsub, format, byte = string.find, string.gsub, string.format, string.byte
local function hexadecimal(c)
    return format('%02x', byte(c))
end
local function plain(value, depth)
    if type(value) == 'string' then
        if find(value, '^\\') or find(value, '[^ -~]') then
            return '\\' .. gsub(value, '.', hexadecimal)
        end
    elseif type(value) == 'table' and depth < 22 then
        local odd = {}
        for key, entry in next, value do
            local new = plain(entry, depth + 1)
            if new ~= entry then
                rawset(value, key, new)
            end
            if type(key) == 'string' and plain(key, 0) ~= key then
                odd[#odd + 1] = key
            end
        end
        for i = 1, #odd do
            rawset(value, plain(odd[i], 0), value[odd[i]])
            rawset(value, odd[i], nil)
        end
    end
    return value
end
local function deliver(...)
    if select('#', ...) ~= 1 then
        return ...
    end
    local result = ...
    if result == nil then
        return
    end
    return (plain(result, 0))
end
return deliver(program(";

/// The program that zfs(8) is given for the caller's, with its arguments; `None` if they have no Lua form.
pub(super) fn wrapped(text: &str, arguments: &ProgramValue) -> Option<String> {
    let ProgramValue::Table(_) = arguments else {
        return None;
    };
    let mut program = format!("{BEFORE}{text}{AFTER}");
    literal(arguments, &mut program)?;
    program.push_str("))\n");
    Some(program)
}

/// Writes a value as a Lua expression.
fn literal(value: &ProgramValue, into: &mut String) -> Option<()> {
    match value {
        ProgramValue::Nil => return None,
        ProgramValue::Boolean(boolean) => into.push_str(if *boolean { "true" } else { "false" }),
        // Lua has no literal for the smallest number: it is the negation of one too large.
        ProgramValue::Integer(i64::MIN) => into.push_str("(-9223372036854775807 - 1)"),
        ProgramValue::Integer(number) => into.push_str(&number.to_string()),
        ProgramValue::Text(text) => quote(text, into),
        ProgramValue::Table(entries) => table(value, entries, into)?,
    }
    Some(())
}

/// Lists of texts have numbers for keys, other tables texts: so they are when they come through the kernel's interface.
fn table(
    value: &ProgramValue,
    entries: &BTreeMap<String, ProgramValue>,
    into: &mut String,
) -> Option<()> {
    let items = value.items();
    let is_text_list =
        items.len() == entries.len() && items.iter().all(|item| item.as_text().is_some());
    into.push('{');
    if is_text_list {
        for item in items {
            literal(item, into)?;
            into.push(',');
        }
    } else {
        for (key, entry) in entries {
            into.push('[');
            quote(key, into);
            into.push_str("]=");
            literal(entry, into)?;
            into.push(',');
        }
    }
    into.push('}');
    Some(())
}

/// Writes a string literal on one line: letters, digits and harmless signs as they are, other bytes by number.
fn quote(text: &str, into: &mut String) {
    into.push('"');
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b" @#/:._-=,%".contains(&byte) {
            into.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(into, "\\{byte:03}");
        }
    }
    into.push('"');
}

/// Undoes what the wrapper did to the texts of a result.
pub(super) fn original(text: &str) -> String {
    let Some(digits) = text.strip_prefix('\\') else {
        return text.to_owned();
    };
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
    bytes.map_or_else(
        || text.to_owned(),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}

/// A message about the wrapped program as it would be about the caller's: the innermost function of a trace is named after
/// what the caller wrote.
pub(super) fn unwrapped(message: &str) -> String {
    const IN_PROGRAM: &str = " in function 'program'";
    let mut lines: Vec<String> = message.lines().map(str::to_owned).collect();
    if let Some(position) = lines.iter().rposition(|line| line.ends_with(IN_PROGRAM)) {
        // What follows is the wrapper calling it.
        lines.truncate(position + 1);
        lines[position] = lines[position].replace(IN_PROGRAM, " in main chunk");
    }
    // The caller's program ends with the wrapper's `end`.
    lines
        .iter()
        .map(|line| {
            line.replace(
                "'end' expected (to close 'function' at line 1) near",
                "<eof> expected near",
            )
            .replace(":1: 'end' expected near", ":1: <eof> expected near")
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal_of(value: &ProgramValue) -> String {
        let mut text = String::new();
        literal(value, &mut text).expect("has a form");
        text
    }

    #[test]
    fn values_become_expressions() {
        let cases = [
            (ProgramValue::Boolean(false), "false"),
            (ProgramValue::Integer(-5), "-5"),
            (
                ProgramValue::Integer(i64::MIN),
                "(-9223372036854775807 - 1)",
            ),
            (ProgramValue::from("p/a@x y"), "\"p/a@x y\""),
            (
                ProgramValue::from("\"]]\\\n\0ü"),
                r#""\034\093\093\092\010\000\195\188""#,
            ),
            (
                ProgramValue::list([ProgramValue::from("a"), ProgramValue::from("b")]),
                r#"{"a","b",}"#,
            ),
            (
                ProgramValue::list([ProgramValue::Integer(1)]),
                r#"{["1"]=1,}"#,
            ),
            (ProgramValue::table([]), "{}"),
            (
                ProgramValue::table([("a b", ProgramValue::table([]))]),
                r#"{["a b"]={},}"#,
            ),
        ];
        for (value, text) in cases {
            assert_eq!(literal_of(&value), text);
        }
    }

    #[test]
    fn what_has_no_form_is_refused() {
        assert!(wrapped("return 1", &ProgramValue::Nil).is_none());
        assert!(wrapped("return 1", &ProgramValue::from("a")).is_none());
        assert!(wrapped("return 1", &ProgramValue::table([("a", ProgramValue::Nil)])).is_none());
    }

    #[test]
    fn a_comment_at_the_end_comments_out_nothing_of_ours() {
        let text = wrapped("return 1 -- done", &ProgramValue::table([])).expect("has a form");
        assert!(text.starts_with("local function program(...) return 1 -- done\nend\n"));
        assert!(text.ends_with("return deliver(program({}))\n"));
    }

    #[test]
    fn texts_come_back() {
        assert_eq!(original("plain"), "plain");
        assert_eq!(original("\\61c3a40a"), "aä\n");
        assert_eq!(original("\\5c78"), "\\x");
        assert_eq!(original("\\ff"), "\u{fffd}");
        // Not ours: nothing of ours looks like this.
        assert_eq!(original("\\zz"), "\\zz");
    }

    #[test]
    fn messages_are_about_the_callers_program() {
        let trace = |last: &str| {
            format!(
                "[string \"channel program\"]:2: boom\nstack traceback:\n\t[C]: in function 'error'\n\t{last}"
            )
        };
        let printed = trace(
            "[string \"channel program\"]:2: in function 'program'\n\t[string \"channel program\"]:44: in main chunk",
        );
        assert_eq!(
            unwrapped(&printed),
            trace("[string \"channel program\"]:2: in main chunk")
        );
        assert_eq!(
            unwrapped("[string \"channel program\"]:1: 'end' expected near 'x'"),
            "[string \"channel program\"]:1: <eof> expected near 'x'"
        );
        assert_eq!(
            unwrapped(
                "[string \"channel program\"]:2: 'end' expected (to close 'function' at line 1) near 'x'"
            ),
            "[string \"channel program\"]:2: <eof> expected near 'x'"
        );
    }
}
