use super::super::fake::Fake;
use super::*;
use crate::zfs::Zfs;

fn run(script: &str) -> Result<ProgramValue, ProgramFailure> {
    let pool = PoolName::new("p").expect("valid");
    Fake::new(script)
        .cli
        .run_program(&pool, &Program::sync("return 1"))
        .map_err(|error| error.failure)
}

fn failing(text: &str) -> ProgramFailure {
    let program = Program {
        instruction_limit: 0,
        ..Program::sync("return 1")
    };
    let reason = stderr::reason_of(Operation::Program, text).unwrap_or(Reason::Process);
    failure_of(text, reason, &program)
}

#[test]
fn program_and_limits_reach_the_command() {
    let fake = Fake::new("cat >&2; echo '{\"return\":1}'");
    let pool = PoolName::new("p").expect("valid");
    let program = Program {
        memory_limit: 7,
        ..Program::read_only("return 1")
    };
    assert_eq!(
        fake.cli.run_program(&pool, &program),
        Ok(ProgramValue::Integer(1))
    );
    assert_eq!(fake.calls(), ["zfs program -j -n -t 10000000 -m 7 -- p -"]);
}

#[test]
fn a_memory_limit_above_any_maximum_is_not_tried() {
    let fake = Fake::new("exit 0");
    let pool = PoolName::new("p").expect("valid");
    let program = Program {
        memory_limit: (1 << 30) + 1,
        ..Program::sync("return 1")
    };
    let failure = fake
        .cli
        .run_program(&pool, &program)
        .map_err(|error| error.failure);
    assert!(matches!(failure, Err(ProgramFailure::InvalidRequest(_))));
    assert!(fake.calls().is_empty());
}

#[test]
fn results_are_read() {
    assert_eq!(run("printf '{}'"), Ok(ProgramValue::Nil));
    assert_eq!(
        run("printf '{\"return\":true}'"),
        Ok(ProgramValue::Boolean(true))
    );
    assert_eq!(
        run("printf '%s' '{\"return\":{\"1\":-3,\"a\":\"b\\nc\",\"\\\\c3a4\":{}}}'"),
        Ok(ProgramValue::table([
            ("1", ProgramValue::Integer(-3)),
            ("a", ProgramValue::from("b\nc")),
            ("ä", ProgramValue::table([])),
        ]))
    );
    assert_eq!(
        run("printf '{\"N_MORE_ERRORS\":1}'"),
        Err(ProgramFailure::ResultTooLarge)
    );
    // Cut off by the tool, which succeeds nevertheless.
    assert!(matches!(
        run("printf '{\"return\":\"a'"),
        Err(ProgramFailure::Runtime(_))
    ));
}

#[test]
fn failures_are_told_apart() {
    use ProgramFailure as F;
    let lua = |text: &str| format!("Channel program execution failed:\n{text}\n");
    let trace = "[string \"channel program\"]:2: boom\nstack traceback:\n\t[C]: in function 'error'\n\t[string \"channel \
                 program\"]:2: in main chunk";
    assert_eq!(failing(&lua(trace)), F::Runtime(trace.to_owned()));
    let syntax = "[string \"channel program\"]:2: <eof> expected near 'x'";
    assert_eq!(failing(&lua(syntax)), F::Syntax(syntax.to_owned()));
    for text in [
        "Multiple return values not supported",
        "Invalid value type 'function' for key 'return'",
        "Maximum table depth (20) exceeded for table",
        "stack traceback:\n\t[C]: in function 'error'",
    ] {
        assert_eq!(failing(&lua(text)), F::Runtime(text.to_owned()));
    }
    let timed_out = "Channel program timed out.\nstack traceback:\n\t[string \"channel program\"]:1: in main chunk\n1100 Lua \
                     instructions";
    assert_eq!(failing(&lua(timed_out)), F::InstructionLimit(Some(1100)));
    assert_eq!(failing(&lua("Timed out.")), F::InstructionLimit(None));
    assert_eq!(failing(&lua("Memory limit exhausted.")), F::MemoryLimit);
    assert_eq!(failing(&lua("Return value too large.")), F::ResultTooLarge);
    assert!(matches!(
        failing(&lua("Invalid instruction or memory limit.")),
        F::InvalidRequest(_)
    ));
    assert_eq!(
        failing(&lua(
            "Permission denied. Channel programs must be run as root."
        )),
        F::Refused(Reason::PermissionDenied)
    );
    assert_eq!(
        failing("Channel program execution failed: pool is read-only\n"),
        F::Refused(Reason::PoolReadOnly)
    );
    assert_eq!(
        failing("cannot open 'nopool': no such pool\ncannot open pool 'nopool'\n"),
        F::Refused(Reason::NotFound)
    );
    assert_eq!(run("kill -15 $$"), Err(F::Interrupted));
}
