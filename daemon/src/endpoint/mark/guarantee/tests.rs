use super::super::tests::{inventory, job, short, version};
use super::*;

const RESUMABILITY: GuaranteeKind = GuaranteeKind::Resumability;
const INCREMENTAL: GuaranteeKind = GuaranteeKind::IncrementalReplication;
const NOTHING: GuaranteeKind = GuaranteeKind::Nothing;

fn made(plan: &Plan) -> String {
    let marks: Vec<_> = plan.create().iter().map(|it| short(&it.mark)).collect();
    marks.join(" ")
}

fn removed(plan: &Plan) -> String {
    let marks: Vec<_> = plan.remove().iter().map(|it| short(&it.mark)).collect();
    marks.join(" ")
}

/// `@1` or the marks that [`inventory`] reads, as what a step starts from.
fn start(text: &str) -> FilesystemVersion {
    let (kind, number) = text.split_at(1);
    let guid: u64 = number.parse().expect(text);
    let name = match kind {
        "@" => format!("p/a@{guid}"),
        "#" => format!("p/a#{guid}"),
        "C" => format!("p/a#zrepl_CURSOR_G_{guid:016x}_J_job"),
        "c" => format!("p/a#zrepl_CURSOR_G_{guid:016x}_J_other"),
        "T" => format!("p/a#zrepl_CURSORTENTATIVE__G_{guid:016x}_J_job"),
        _ => panic!("{text}"),
    };
    version(&name, guid)
}

#[test]
fn before_a_send_both_ends_are_marked_and_marks_of_other_steps_go() {
    // Promise, start, marks there; marks made, marks removed, is the start unprotected.
    for (promise, from, there, creates, removes, unprotected) in [
        (RESUMABILITY, None, "", "S5", "", false),
        (RESUMABILITY, Some("@4"), "", "S4 S5", "", false),
        (RESUMABILITY, Some("@4"), "S4 S5", "S4 S5", "", false),
        (
            RESUMABILITY,
            Some("@4"),
            "C3 S3 T3 T4 S4 S6",
            "S4 S5",
            "T3 S3 T4 S6",
            false,
        ),
        (RESUMABILITY, Some("C4"), "C4 S4", "S5", "", false),
        (RESUMABILITY, Some("C4"), "C4 T3", "S5", "T3", false),
        (RESUMABILITY, Some("T4"), "T4 T3", "S5", "T3", false),
        (RESUMABILITY, Some("#4"), "T3", "S5", "T3", true),
        (RESUMABILITY, Some("#4"), "T4 T3", "S5", "T3", false),
        (RESUMABILITY, Some("c4"), "c4", "S5", "", true),
        (INCREMENTAL, None, "", "T5", "", false),
        (INCREMENTAL, Some("@4"), "C4", "T4 T5", "", false),
        (
            INCREMENTAL,
            Some("@4"),
            "S4 S5 T3 C4",
            "T4 T5",
            "T3 S4 S5",
            false,
        ),
        (INCREMENTAL, Some("T4"), "T4", "T5", "", false),
        (INCREMENTAL, Some("C4"), "C4 T4 T3", "T5", "T3", false),
        (NOTHING, None, "S5", "", "S5", false),
        (
            NOTHING,
            Some("@4"),
            "C3 T3 S4 T4 S5",
            "",
            "T3 S4 T4 S5",
            false,
        ),
        (NOTHING, Some("T4"), "T4 T3 S5", "", "T3 S5", false),
        // Nobody else's business.
        (RESUMABILITY, Some("@4"), "s3 t4 c1 s4", "S4 S5", "", false),
        (NOTHING, Some("@4"), "s3 t4 c1 s4 l3 L3", "", "", false),
    ] {
        let there = inventory(there);
        let from = from.map(start);
        let to = start("@5");
        let step = Step {
            from: from.as_ref(),
            to: &to,
        };
        let plan = before_send(step, promise, &job("job"), &there).expect("fits");
        let case = format!("{promise:?} {from:?} {there:?}");
        assert_eq!(made(&plan), creates, "{case}");
        // Oldest first; at one txg in the order of kinds.
        let mut wanted: Vec<_> = removes.split_whitespace().collect();
        let mut found: Vec<_> = plan.remove().iter().map(|it| short(&it.mark)).collect();
        wanted.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, wanted, "{case}");
        assert_eq!(plan.unprotected().is_some(), unprotected, "{case}");
    }
}

#[test]
fn after_a_send_the_cursor_moves_first_and_old_cursors_go_last() {
    for (promise, there, creates, removes) in [
        (RESUMABILITY, "C4 S4 S5", "C5", "S4 S5 C4"),
        (RESUMABILITY, "", "C5", ""),
        (RESUMABILITY, "C5 S5", "C5", "S5"),
        (INCREMENTAL, "C4 T4 T5", "C5", "T4 T5 C4"),
        (INCREMENTAL, "C1 C4 T4 T5 S2 S5", "C5", "S2 S5 T4 T5 C1 C4"),
        (NOTHING, "C1 C4 T4 S5", "", "S5 T4 C1 C4"),
        (NOTHING, "", "", ""),
        (NOTHING, "C5", "", "C5"),
        (RESUMABILITY, "c1 t2 s3 l4 L4", "C5", ""),
    ] {
        let there = inventory(there);
        let to = start("@5");
        let step = Step {
            from: None,
            to: &to,
        };
        let plan = after_send(step, promise, &job("job"), &there).expect("fits");
        assert_eq!(made(&plan), creates, "{there:?}");
        assert_eq!(removed(&plan), removes, "{there:?}");
        assert_eq!(plan.is_empty(), creates.is_empty() && removes.is_empty());
    }
}

#[test]
fn after_a_receive_the_hold_moves() {
    for (promise, there, creates, removes) in [
        (RESUMABILITY, "", "L5", ""),
        (RESUMABILITY, "L4", "L5", "L4"),
        (INCREMENTAL, "L3 L4 L5", "L5", "L3 L4"),
        (NOTHING, "L3 L5", "", "L3 L5"),
        (NOTHING, "", "", ""),
        (RESUMABILITY, "l3 s2 S2 C1 T1", "L5", ""),
    ] {
        let there = inventory(there);
        let plan = after_receive(&start("@5"), promise, &job("job"), &there).expect("fits");
        assert_eq!(made(&plan), creates, "{there:?}");
        assert_eq!(removed(&plan), removes, "{there:?}");
    }
}

#[test]
fn reasons_say_what_has_changed() {
    let to = start("@5");
    let step = Step {
        from: None,
        to: &to,
    };
    let there = inventory("C4 S4");
    let reasons = |plan: Plan| -> Vec<String> {
        let removals = plan.remove().iter();
        removals.map(|it| it.reason.to_string()).collect()
    };
    let owner = job("job");
    let plan = before_send(step, RESUMABILITY, &owner, &there).expect("fits");
    assert_eq!(reasons(plan), ["made for another step"]);
    let plan = before_send(step, NOTHING, &owner, &there).expect("fits");
    assert_eq!(reasons(plan), ["no guarantee is asked for"]);
    let plan = after_send(step, RESUMABILITY, &owner, &there).expect("fits");
    assert_eq!(
        reasons(plan),
        ["the step is complete", "a newer one has taken its place"]
    );
    let plan = after_send(step, NOTHING, &owner, &there).expect("fits");
    assert_eq!(
        reasons(plan),
        ["the step is complete", "no guarantee is asked for"]
    );
}

#[test]
fn changes_come_in_the_order_that_was_recorded_but_for_the_cursor() {
    // 02-push-incr: hold s2, hold s3, send, cursor of s3; then 0.7.0 destroyed the old cursor before it released the holds.
    let s2 = version("src/p/a@s2", 0x8f14_f311_d466_0c9d);
    let s3 = version("src/p/a@s3", 0x4b4a_6fd8_7261_e720);
    let cursor = version(
        "src/p/a#zrepl_CURSOR_G_8f14f311d4660c9d_J_push_job",
        s2.guid.get(),
    );
    let step = Step {
        from: Some(&s2),
        to: &s3,
    };
    let owner = job("push_job");
    let there = Inventory::new([(&cursor, &[][..])]);
    let plan = before_send(step, RESUMABILITY, &owner, &there).expect("fits");
    assert_eq!(
        shown(&plan),
        [
            "hold zrepl_STEP_J_push_job src/p/a@s2",
            "hold zrepl_STEP_J_push_job src/p/a@s3",
        ]
    );
    let tags = [super::super::tests::tag("zrepl_STEP_J_push_job")];
    let there = Inventory::new([(&cursor, &[][..]), (&s2, &tags[..]), (&s3, &tags[..])]);
    let plan = after_send(step, RESUMABILITY, &owner, &there).expect("fits");
    let mut changes = shown(&plan);
    assert_eq!(
        changes.pop().expect("four"),
        "destroy src/p/a#zrepl_CURSOR_G_8f14f311d4660c9d_J_push_job"
    );
    assert_eq!(
        changes.remove(0),
        "bookmark src/p/a@s3 src/p/a#zrepl_CURSOR_G_4b4a6fd87261e720_J_push_job"
    );
    changes.sort();
    assert_eq!(
        changes,
        [
            "release zrepl_STEP_J_push_job src/p/a@s2",
            "release zrepl_STEP_J_push_job src/p/a@s3",
        ]
    );
}

fn shown(plan: &Plan) -> Vec<String> {
    let show = |change| match change {
        Change::Bookmark(it) => format!("bookmark {} {}", it.source, it.bookmark),
        Change::DestroyBookmark(bookmark) => format!("destroy {bookmark}"),
        Change::Hold(it) => format!("hold {} {}", it.tag, it.snapshot),
        Change::Release(it) => format!("release {} {}", it.tag, it.snapshot),
    };
    plan.changes().map(show).collect()
}

#[test]
fn a_bookmark_is_no_end_of_a_step() {
    let to = start("#5");
    let step = Step {
        from: None,
        to: &to,
    };
    let none = Inventory::default();
    let owner = job("job");
    for plan in [
        before_send(step, RESUMABILITY, &owner, &none),
        before_send(step, INCREMENTAL, &owner, &none),
        after_send(step, INCREMENTAL, &owner, &none),
        after_receive(&to, INCREMENTAL, &owner, &none),
    ] {
        let error = plan.expect_err("a bookmark").to_string();
        // recorded in 06h-crafted, where it ends zrepl
        assert!(error.ends_with("version must be a snapshot"), "{error}");
    }
}
