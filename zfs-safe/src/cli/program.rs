//! Channel programs through `zfs program`.

use serde_json::Value as Json;

use super::{Cli, lua, stderr};
use crate::error::{Operation, Reason};
use crate::name::PoolName;
use crate::program::{Program, ProgramError, ProgramFailure, ProgramValue};

/// Above any limit that a kernel accepts: its default maximum is 100 MiB (`zfs_lua_max_memlimit`).
const MAX_MEMORY: u64 = 1 << 30;

pub(super) fn run(
    cli: &Cli,
    pool: &PoolName,
    program: &Program,
) -> Result<ProgramValue, ProgramError> {
    let failed = |failure| ProgramError {
        pool: pool.clone(),
        failure,
    };
    let Some(text) = lua::wrapped(&program.text, &program.arguments) else {
        let problem = "the arguments are not a table, or hold nil".to_owned();
        return Err(failed(ProgramFailure::InvalidRequest(problem)));
    };
    // zfs(8) makes room for a reply of that size first, and takes its own failure for the program's.
    if program.memory_limit > MAX_MEMORY {
        return Err(failed(out_of_range(program)));
    }
    let finished = cli
        .zfs("program")
        .args(["-j"])
        .args((!program.sync).then_some("-n"))
        .args([
            "-t",
            &program.instruction_limit.to_string(),
            "-m",
            &program.memory_limit.to_string(),
        ])
        .operands([pool.as_str(), "-"])
        .input(text.into_bytes())
        .run(Operation::Program, pool.as_str())
        .map_err(|error| failed(ProgramFailure::Refused(error.reason)))?;
    match finished.failure(Operation::Program, pool.as_str()) {
        None => result_of(&finished.stdout).map_err(failed),
        Some(error) => Err(failed(failure_of(&finished.stderr, error.reason, program))),
    }
}

fn result_of(output: &str) -> Result<ProgramValue, ProgramFailure> {
    // zfs(8) stops in the middle of what it cannot print, and succeeds.
    let Ok(Json::Object(reply)) = serde_json::from_str(output) else {
        return Err(ProgramFailure::Runtime(
            "zfs(8) could not print the result".to_owned(),
        ));
    };
    match reply.get("return") {
        Some(value) => from_json(value),
        // A result that does not fit is dropped without an error of its own.
        None if reply.contains_key("N_MORE_ERRORS") => Err(ProgramFailure::ResultTooLarge),
        None => Ok(ProgramValue::Nil),
    }
}

fn from_json(value: &Json) -> Result<ProgramValue, ProgramFailure> {
    let unexpected =
        || ProgramFailure::Runtime(format!("a result of an unexpected type came back: {value}"));
    Ok(match value {
        Json::Bool(boolean) => ProgramValue::Boolean(*boolean),
        Json::Number(number) => ProgramValue::Integer(number.as_i64().ok_or_else(unexpected)?),
        Json::String(text) => ProgramValue::Text(lua::original(text)),
        Json::Object(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| Ok((lua::original(key), from_json(value)?)));
            ProgramValue::Table(entries.collect::<Result<_, ProgramFailure>>()?)
        }
        Json::Null | Json::Array(_) => return Err(unexpected()),
    })
}

/// Reads the message: a first line that says only that it failed, what Lua or zfs(8) says, and after a time-out the number
/// of instructions.
fn failure_of(text: &str, reason: Reason, program: &Program) -> ProgramFailure {
    const FAILED: &str = "Channel program execution failed:";
    const TIMED_OUT: [&str; 2] = ["Channel program timed out.", "Timed out."];
    let Some(message) = text
        .strip_prefix(FAILED)
        .and_then(|rest| rest.strip_prefix('\n'))
    else {
        return match reason {
            Reason::Interrupted => ProgramFailure::Interrupted,
            reason => ProgramFailure::Refused(reason),
        };
    };
    let message = message.trim_end();
    let first = message.lines().next().unwrap_or_default();
    let is_syntax = || {
        // Syntax errors come without a trace, errors at run time with one.
        first.starts_with("[string ") && !message.contains("\nstack traceback:")
    };
    match first {
        _ if TIMED_OUT.contains(&first) => {
            let instructions = message
                .lines()
                .last()
                .and_then(|line| line.strip_suffix(" Lua instructions"));
            ProgramFailure::InstructionLimit(instructions.and_then(|number| number.parse().ok()))
        }
        "Memory limit exhausted." => ProgramFailure::MemoryLimit,
        "Return value too large." => ProgramFailure::ResultTooLarge,
        "Invalid instruction or memory limit." => out_of_range(program),
        _ if first.starts_with("Permission denied.") => {
            ProgramFailure::Refused(Reason::PermissionDenied)
        }
        _ if is_syntax() => ProgramFailure::Syntax(lua::unwrapped(message)),
        _ if first.starts_with("[string ")
            || message.contains("stack traceback:")
            || is_lua(first) =>
        {
            ProgramFailure::Runtime(lua::unwrapped(message))
        }
        other => match stderr::reason_of_description(Operation::Program, other) {
            Reason::Process => ProgramFailure::Runtime(lua::unwrapped(message)),
            Reason::Interrupted => ProgramFailure::Interrupted,
            reason => ProgramFailure::Refused(reason),
        },
    }
}

fn out_of_range(program: &Program) -> ProgramFailure {
    ProgramFailure::InvalidRequest(format!(
        "a limit is out of range ({} instructions, {} bytes) or an argument has no Lua form",
        program.instruction_limit, program.memory_limit
    ))
}

/// Messages of the kernel about results, which have neither a place nor a trace.
fn is_lua(first: &str) -> bool {
    first == "Multiple return values not supported"
}

#[cfg(test)]
mod tests;
