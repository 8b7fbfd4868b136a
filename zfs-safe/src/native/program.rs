//! Channel programs through libzfs_core.

use super::Native;
use super::signals::SignalsBlocked;
use crate::errno::{Errno, Symbol};
use crate::error::{Operation, Reason};
use crate::name::PoolName;
use crate::nvlist::{NvList, Value};
use crate::program::{Program, ProgramError, ProgramFailure, ProgramValue};

/// Above any limit that a kernel accepts: its default maximum is 100 MiB (`zfs_lua_max_memlimit`).
const LARGEST_REPLY: u64 = 1 << 30;

pub(super) fn run(
    native: &Native,
    pool: &PoolName,
    program: &Program,
) -> Result<ProgramValue, ProgramError> {
    let failed = |failure| ProgramError {
        pool: pool.clone(),
        failure,
    };
    let Some(Value::List(arguments)) = to_value(&program.arguments) else {
        return Err(failed(ProgramFailure::InvalidRequest(
            "the arguments are not a table, or hold nil".to_owned(),
        )));
    };
    if program.memory_limit > LARGEST_REPLY {
        // The library would ask for a reply buffer of that size before the kernel could refuse.
        return Err(failed(ProgramFailure::InvalidRequest(format!(
            "a memory limit of {} bytes is out of range",
            program.memory_limit
        ))));
    }
    let _blocked = SignalsBlocked::new();
    let limits = (program.instruction_limit, program.memory_limit);
    let reply = native.core.channel_program(
        pool.as_str(),
        &program.text,
        program.sync,
        limits,
        &arguments,
    );
    native.count_mutation(Operation::Program, reply.errno);
    match reply.errno {
        None => result_of(&reply.list).map_err(failed),
        Some(errno) => Err(failed(failure_of(errno, &reply.list, program))),
    }
}

fn result_of(reply: &NvList) -> Result<ProgramValue, ProgramFailure> {
    // A result that does not fit is dropped without an error of its own.
    if reply.get("N_MORE_ERRORS").is_some() && reply.get("return").is_none() {
        return Err(ProgramFailure::ResultTooLarge);
    }
    reply
        .get("return")
        .map_or(Ok(ProgramValue::Nil), from_value)
}

fn failure_of(errno: Errno, reply: &NvList, program: &Program) -> ProgramFailure {
    let message = || match reply.get("error") {
        Some(Value::String(text)) => text.to_string_lossy().into_owned(),
        Some(value) => format!("{value:?}"),
        None => String::new(),
    };
    match errno.symbol() {
        Symbol::EINVAL if reply.get("error").is_some() => ProgramFailure::Syntax(message()),
        Symbol::EINVAL => ProgramFailure::InvalidRequest(format!(
            "a limit is out of range ({} instructions, {} bytes) or an argument has no Lua form",
            program.instruction_limit, program.memory_limit
        )),
        // Without a message no program has run: the pool could not be opened.
        Symbol::ECHRNG => ProgramFailure::Runtime(message()),
        Symbol::ETIME => ProgramFailure::InstructionLimit(reply.u64("instrlimit")),
        Symbol::ENOSPC => ProgramFailure::MemoryLimit,
        Symbol::ENOMEM => ProgramFailure::ResultTooLarge,
        Symbol::EINTR => ProgramFailure::Interrupted,
        symbol => ProgramFailure::Refused(Reason::of(Operation::Program, symbol)),
    }
}

/// `None` for nil, which an nvlist cannot hold.
fn to_value(value: &ProgramValue) -> Option<Value> {
    Some(match value {
        ProgramValue::Nil => return None,
        ProgramValue::Boolean(boolean) => Value::BooleanValue(*boolean),
        ProgramValue::Integer(number) => Value::Int64(*number),
        ProgramValue::Text(text) => Value::from(text.as_str()),
        ProgramValue::Table(_) if is_text_list(value) => Value::StringArray(
            value
                .items()
                .into_iter()
                .filter_map(ProgramValue::as_text)
                .map(Into::into)
                .collect(),
        ),
        ProgramValue::Table(entries) => {
            let mut list = NvList::new();
            for (key, value) in entries {
                list.insert(key.as_str(), to_value(value)?);
            }
            Value::List(list)
        }
    })
}

/// A list of strings goes as an array: as a table its keys would reach Lua as strings, not as numbers.
fn is_text_list(value: &ProgramValue) -> bool {
    let ProgramValue::Table(entries) = value else {
        return false;
    };
    let items = value.items();
    !items.is_empty()
        && items.len() == entries.len()
        && items.iter().all(|item| item.as_text().is_some())
}

fn from_value(value: &Value) -> Result<ProgramValue, ProgramFailure> {
    Ok(match value {
        Value::Boolean => ProgramValue::Nil,
        Value::BooleanValue(boolean) => ProgramValue::Boolean(*boolean),
        Value::Int64(number) => ProgramValue::Integer(*number),
        Value::String(text) => ProgramValue::Text(text.to_string_lossy().into_owned()),
        Value::List(list) => {
            let entries = list
                .iter()
                .map(|(key, value)| Ok((key.to_owned(), from_value(value)?)));
            ProgramValue::Table(entries.collect::<Result<_, ProgramFailure>>()?)
        }
        other => {
            return Err(ProgramFailure::Runtime(format!(
                "a result of an unexpected type came back: {other:?}"
            )));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_strings_become_arrays_and_come_back_as_tables() {
        let list = ProgramValue::list([ProgramValue::from("a"), ProgramValue::from("b")]);
        assert!(matches!(to_value(&list), Some(Value::StringArray(texts)) if texts.len() == 2));
        let table = ProgramValue::table([
            ("x", ProgramValue::Integer(-1)),
            ("y", ProgramValue::Boolean(true)),
        ]);
        assert_eq!(
            from_value(&to_value(&table).expect("has a form")),
            Ok(table)
        );
        assert_eq!(
            to_value(&ProgramValue::table([("x", ProgramValue::Nil)])),
            None
        );
    }

    #[test]
    fn a_result_that_was_dropped_is_told_from_no_result() {
        assert_eq!(result_of(&NvList::new()), Ok(ProgramValue::Nil));
        let dropped = NvList::from_iter([("N_MORE_ERRORS", Value::Int32(1))]);
        assert_eq!(result_of(&dropped), Err(ProgramFailure::ResultTooLarge));
    }
}
