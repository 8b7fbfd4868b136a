//! Channel programs: values in both directions, and every way to fail.

use zfs_safe::program::{Effects, Program, ProgramFailure, ProgramValue};

use super::{Scenario, Verdict};
use crate::bed::{Bed, last_txg, pool, sh};

pub(super) const LIST: &[Scenario] = &[
    Scenario::new("program_values", program_values),
    Scenario::new(
        "program_changes_in_one_transaction_group",
        program_changes_in_one_transaction_group,
    ),
    Scenario::new("program_failures", program_failures),
];

fn program_values(bed: &mut Bed) -> Verdict {
    let arguments = ProgramValue::table([
        (
            "text",
            ProgramValue::from("quote \" backslash \\ line\nend ]] \u{fc}"),
        ),
        ("number", ProgramValue::Integer(-9_223_372_036_854_775_807)),
        ("yes", ProgramValue::Boolean(true)),
        ("no", ProgramValue::Boolean(false)),
        (
            "list",
            ProgramValue::list(["a", "b", "c"].map(ProgramValue::from)),
        ),
        (
            "nested",
            ProgramValue::table([(
                "inner",
                ProgramValue::table([("x", ProgramValue::Integer(7))]),
            )]),
        ),
    ]);
    let echo = Program::read_only("local a = ...\nreturn a -- a comment at the end")
        .with_arguments(arguments.clone());
    let result = bed.zfs.run_program(&pool("conf"), &echo);
    bed.saw("echo", &result);
    assert_eq!(result.as_ref(), Ok(&arguments));
    let count = Program::read_only("local a = ... return #a['list']").with_arguments(arguments);
    assert_eq!(
        bed.zfs.run_program(&pool("conf"), &count),
        Ok(ProgramValue::Integer(3))
    );
    for text in [
        "",
        "return nil",
        "return 5",
        "return 'x'",
        "return true",
        "return {}",
        "return {1, 'two', {three = 3}}",
    ] {
        bed.saw(
            text,
            bed.zfs
                .run_program(&pool("conf"), &Program::read_only(text)),
        );
    }
    assert_eq!(
        bed.zfs
            .run_program(&pool("conf"), &Program::read_only("return")),
        Ok(ProgramValue::Nil)
    );
    Ok(())
}

fn program_changes_in_one_transaction_group(bed: &mut Bed) -> Verdict {
    sh("zfs create conf/a; zfs create conf/b");
    let program = Program::sync(
        "zfs.sync.snapshot('conf/a@p') zfs.sync.snapshot('conf/b@p') zfs.sync.bookmark('conf/a@p', 'conf/a#p') \
         zfs.sync.set_prop('conf/a', 'u:cursor', 'x') zfs.sync.destroy('conf/b@p') return zfs.exists('conf/a@p')",
    );
    let before = last_txg("conf");
    let result = bed.zfs.run_program(&pool("conf"), &program);
    assert_eq!(result, Ok(ProgramValue::Boolean(true)));
    assert_eq!(last_txg("conf") - before, 1);
    bed.saw(
        "left",
        sh("zfs list -H -o name -t all -r conf; zfs get -H -o value u:cursor conf/a"),
    );
    Ok(())
}

fn program_failures(bed: &mut Bed) -> Verdict {
    use ProgramFailure as F;
    sh("zfs create conf/a");
    let mut run = |what: &str, program: Program| {
        let failure = bed
            .zfs
            .run_program(&pool("conf"), &program)
            .expect_err(what);
        // Messages carry the program's name and position, which differ; their kind must not.
        let kind = format!("{:?}", failure.failure)
            .split(['(', ' '])
            .next()
            .unwrap_or_default()
            .to_owned();
        bed.saw(what, (kind, failure.effects()));
        failure
    };
    let error = run("syntax", Program::read_only("return return"));
    assert!(
        matches!(&error.failure, F::Syntax(text) if text.contains("return")),
        "{error}"
    );
    let error = run("error()", Program::read_only("error('on purpose')"));
    assert!(
        matches!(&error.failure, F::Runtime(text) if text.contains("on purpose")),
        "{error}"
    );
    let error = run(
        "wrong argument",
        Program::read_only("return zfs.get_prop(5)"),
    );
    assert!(matches!(error.failure, F::Runtime(_)), "{error}");
    let error = run(
        "missing dataset",
        Program::read_only("return zfs.get_prop('conf/none', 'used')"),
    );
    assert!(matches!(error.failure, F::Runtime(_)), "{error}");
    let error = run(
        "change without sync",
        Program::read_only("zfs.sync.snapshot('conf/a@x')"),
    );
    assert!(matches!(error.failure, F::Runtime(_)), "{error}");
    let error = run("two results", Program::read_only("return 1, 2"));
    assert!(matches!(error.failure, F::Runtime(_)), "{error}");
    let endless = Program {
        instruction_limit: 10_000,
        ..Program::read_only("while true do end")
    };
    let error = run("endless", endless);
    assert!(matches!(error.failure, F::InstructionLimit(_)), "{error}");
    let hungry = Program {
        memory_limit: 200_000,
        ..Program::read_only("local t = {} for i = 1, 1000000 do t[i] = i end")
    };
    let error = run("hungry", hungry);
    assert!(matches!(error.failure, F::MemoryLimit), "{error}");
    let error = run(
        "limit 0",
        Program {
            instruction_limit: 0,
            ..Program::read_only("return 1")
        },
    );
    assert!(matches!(error.failure, F::InvalidRequest(_)), "{error}");
    let error = run(
        "limit too large",
        Program {
            memory_limit: 1 << 40,
            ..Program::read_only("return 1")
        },
    );
    assert!(matches!(error.failure, F::InvalidRequest(_)), "{error}");

    // Effects stay when a program fails after them.
    let late = Program::sync("zfs.sync.snapshot('conf/a@stays') error('late')");
    let error = run("error after a change", late);
    assert_eq!(error.effects(), Effects::Possible);
    assert_eq!(sh("zfs list -H -o name -t snapshot"), "conf/a@stays");

    let missing = bed
        .zfs
        .run_program(&pool("nopool"), &Program::read_only("return 1"))
        .expect_err("no pool");
    bed.saw("missing pool", &missing.failure);
    assert_eq!(missing.effects(), Effects::None);
    Ok(())
}
