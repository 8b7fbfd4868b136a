use proptest::prelude::*;

use super::super::model::{bookmark, snapshot, token, token_with};
use super::*;

const FS: &str = "p/a";

fn decide_with(
    token: &str,
    sender: &[Version],
    receiver: &[Version],
    policy: Option<StreamPolicy>,
) -> Result<Resumption, Unusable> {
    let histories = (
        &History::new(sender.to_vec()),
        &History::of_snapshots(receiver.to_vec()),
    );
    let filesystem = DatasetPath::new(FS).expect("valid");
    resume(token, None, &filesystem, histories, policy)
}

fn decide(token: &str, sender: &[Version], receiver: &[Version]) -> Result<Resumption, Unusable> {
    decide_with(token, sender, receiver, None)
}

/// `from>to` for each step, `-` for none.
fn shown(resumption: &Resumption) -> Vec<String> {
    let step = |step: &Step| {
        let from = step
            .from
            .as_ref()
            .map_or("-".to_owned(), ToString::to_string);
        let mark = if step.resume_token.is_some() {
            " resumed"
        } else {
            ""
        };
        format!("{from}>{}{mark}", step.to)
    };
    resumption.steps.iter().map(step).collect()
}

#[test]
fn goes_on_with_the_interrupted_step_and_then_to_the_newest() {
    let [one, mark, two, three] = [
        snapshot("1", 1, 1),
        bookmark("m", 1, 1),
        snapshot("2", 2, 2),
        snapshot("3", 3, 3),
    ];
    let all = [three.clone(), two.clone(), mark.clone(), one.clone()];
    let full = token(FS, None, 1);
    let resumed = decide(&full, &all, &[]).expect("usable");
    assert_eq!(shown(&resumed), ["->@1 resumed", "@1>@2", "@2>@3"]);
    assert_eq!(resumed.bytes, 4096);
    assert_eq!(resumed.steps[0].resume_token, Some(full));

    let incremental = token(FS, Some(1), 2);
    for (sender, expected) in [
        (&all[..], ["@1>@2 resumed", "@2>@3"]),
        (
            &[mark, two.clone(), three.clone()][..],
            ["#m>@2 resumed", "@2>@3"],
        ),
    ] {
        let resumed = decide(&incremental, sender, std::slice::from_ref(&one)).expect("usable");
        assert_eq!(shown(&resumed), expected);
    }
    // A snapshot renamed since, but not the filesystem.
    let renamed = [one.clone(), snapshot("other", 2, 2)];
    let resumed = decide(&incremental, &renamed, &[one]).expect("usable");
    assert_eq!(shown(&resumed), ["@1>@other resumed"]);
}

#[test]
fn a_token_that_cannot_be_used_is_discarded_with_a_reason() {
    let [one, two, nine] = [
        snapshot("1", 1, 1),
        snapshot("2", 2, 2),
        snapshot("9", 9, 9),
    ];
    let both = [one.clone(), two.clone()];
    let incremental = token(FS, Some(1), 2);
    let full = token(FS, None, 2);
    let cases: &[(&str, &[Version], &[Version], &str)] = &[
        ("1-garbage", &both, &[], "it cannot be decoded"),
        ("2-0-0-00", &both, &[], "it cannot be decoded"),
        (
            &incremental,
            std::slice::from_ref(&one),
            std::slice::from_ref(&one),
            "its `toguid` = 2 is not found on the sender (`toname` = \"p/a@s2\")",
        ),
        (
            &incremental,
            &[one.clone(), bookmark("2", 2, 2)],
            std::slice::from_ref(&one),
            "its `toguid` = 2 is not found on the sender (`toname` = \"p/a@s2\")",
        ),
        (
            &incremental,
            std::slice::from_ref(&two),
            std::slice::from_ref(&one),
            "its `fromguid` = 1 is not found on the sender",
        ),
        (
            &incremental,
            &[snapshot("1", 1, 5), two.clone()],
            std::slice::from_ref(&one),
            "its base @1 is not older than its target @2",
        ),
        (
            &incremental,
            &both,
            &[one.clone(), two.clone()],
            "its target @2 is already on the receiver",
        ),
        (
            &incremental,
            &both,
            &[one.clone(), nine.clone()],
            "its base is not the receiver's newest snapshot @9",
        ),
        (
            &incremental,
            &both,
            &[],
            "its base is not on the receiver, which has no snapshots",
        ),
        (
            &full,
            &both,
            std::slice::from_ref(&nine),
            "its base is not the receiver's newest snapshot @9",
        ),
    ];
    for &(token, sender, receiver, expected) in cases {
        let reason = decide(token, sender, receiver).expect_err(expected);
        assert_eq!(reason.to_string(), expected);
    }
    for name in ["p/b", "p", "p/a/b", "p/aa"] {
        let reason = decide(&token(name, None, 2), &both, &[]).expect_err(name);
        let to_name = format!("{name}@s2");
        assert_eq!(reason, Unusable::OtherFilesystem { to_name });
    }
    // Both ends the same.
    let reason = decide(&token(FS, Some(2), 2), &both, std::slice::from_ref(&two));
    assert!(matches!(reason, Err(Unusable::Backwards { .. })));
}

#[test]
fn a_refused_token_is_not_tried_again_but_another_one_is() {
    let sender = History::new(vec![snapshot("1", 1, 1)]);
    let filesystem = DatasetPath::new(FS).expect("valid");
    let token = token(FS, None, 1);
    let decide = |refused: &str| {
        let refused = RefusedToken {
            token: refused.to_owned(),
            reason: "no".to_owned(),
        };
        let histories = (&sender, &History::default());
        resume(&token, Some(&refused), &filesystem, histories, None)
    };
    let reason = decide(&token).expect_err("refused");
    assert_eq!(reason.to_string(), "it was refused: no");
    assert!(decide("1-other").is_ok());
}

#[test]
fn a_token_of_streams_that_the_policy_forbids_is_discarded() {
    let sender = [snapshot("1", 1, 1)];
    let text = |raw| token_with(FS, None, 1, raw);
    for (encrypted, raw, plain_is_fine, raw_is_fine) in [
        (false, false, true, false),
        (false, true, true, true),
        (true, false, false, true),
        (true, true, false, true),
    ] {
        let policy = Some(StreamPolicy { encrypted, raw });
        for (raw_token, is_fine) in [(false, plain_is_fine), (true, raw_is_fine)] {
            let decided = decide_with(&text(raw_token), &sender, &[], policy);
            assert_eq!(decided.is_ok(), is_fine, "{policy:?} {raw_token}");
            if !is_fine {
                assert_eq!(decided, Err(Unusable::Policy { raw: raw_token }));
            }
            assert!(decide_with(&text(raw_token), &sender, &[], None).is_ok());
        }
    }
}

#[test]
fn recorded_tokens_are_understood() {
    // vectors/09-resume-tokens: enc-full-plain
    let text = "1-a99f10e8a-b8-789c636064000310a500c4ec50360710e72765a52697303030419460caa7a515a796806444e0f26c48f2499525a9c5403a435c0cabfe92fcf4d2cc14068605fa39ea37b337aed54092e704cbe725e6a63230141725eb97a43a2432200100d4df14d0";
    let sender = History::new(vec![snapshot("a", 12_515_903_419_852_795_808, 1)]);
    let filesystem = DatasetPath::new("src/te").expect("valid");
    let resumed = resume(
        text,
        None,
        &filesystem,
        (&sender, &History::default()),
        None,
    );
    assert_eq!(resumed.expect("usable").bytes, 1_447_784);
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*|1-[0-9a-f]{1,9}-[0-9a-f]{1,3}-[0-9a-f]{0,40}") {
        prop_assert!(decide(&text, &[snapshot("1", 1, 1)], &[]).is_err());
    }
}
