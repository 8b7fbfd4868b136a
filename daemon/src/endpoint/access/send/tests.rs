use super::*;

fn path(name: &str) -> DatasetPath {
    DatasetPath::new(name).expect(name)
}

fn token(to_name: &str, from: Option<u64>, to: u64, raw: bool) -> ResumeToken {
    ResumeToken {
        to_guid: Guid::new(to),
        from_guid: from.map(Guid::new),
        object: 1,
        offset: 0,
        bytes: 0,
        to_name: to_name.to_owned(),
        large_block: false,
        embed: false,
        compress: false,
        raw,
        saved: false,
        redact_snaps: None,
        book_redact_snaps: None,
        text: String::new(),
    }
}

const PLAIN: SendPolicy = SendPolicy {
    encrypted: false,
    raw: false,
};
const ENCRYPTED: SendPolicy = SendPolicy {
    encrypted: true,
    raw: false,
};

#[test]
fn encrypted_datasets_and_policies_fit_as_in_zrepl() {
    let not_encrypted =
        "encrypted send mandated by policy, but filesystem \"p/a\" is not encrypted";
    let encrypted = "policy mandates raw+unencrypted sends, but filesystem \"p/a\" is encrypted";
    // The dataset is encrypted, the policy says `encrypted`, it says `raw`.
    for (is_encrypted, encrypted_policy, raw, error) in [
        (false, false, false, None),
        (false, false, true, None),
        (false, true, false, Some(not_encrypted)),
        (false, true, true, Some(not_encrypted)),
        (true, false, false, None),
        (true, false, true, Some(encrypted)),
        (true, true, false, None),
        (true, true, true, None),
    ] {
        let policy = SendPolicy {
            encrypted: encrypted_policy,
            raw,
        };
        let found = policy.check_dataset(&path("p/a"), is_encrypted).err();
        assert_eq!(
            found.map(|error| error.to_string()).as_deref(),
            error,
            "{is_encrypted} {policy:?}"
        );
    }
}

#[test]
fn a_token_must_be_of_the_step_that_is_asked_for() {
    let dataset = path("p/a");
    let cases: &[(ResumeToken, Option<u64>, Option<&str>)] = &[
        (token("p/a@s", None, 7, false), None, None),
        (token("p/a@s", Some(5), 7, false), Some(5), None),
        // It may have been renamed since.
        (token("p/a@another name", Some(5), 7, false), Some(5), None),
        (
            token("p/b@s", None, 7, false),
            None,
            Some(
                "filesystem in resume token field `toname` = \"p/b\" does not match expected value \"p/a\"",
            ),
        ),
        (
            token("p@s", None, 7, false),
            None,
            Some(
                "filesystem in resume token field `toname` = \"p\" does not match expected value \"p/a\"",
            ),
        ),
        (
            token("p/a", None, 7, false),
            None,
            Some("resume token field `toname` = \"p/a\" is not the name of a snapshot"),
        ),
        (
            token("p/a@s@t", None, 7, false),
            None,
            Some("resume token field `toname` = \"p/a@s@t\" is not the name of a snapshot"),
        ),
        (
            token("p/a@s", Some(5), 7, false),
            None,
            Some("resume token not expected to be incremental, but `fromguid` = 5"),
        ),
        (
            token("p/a@s", None, 7, false),
            Some(5),
            Some("resume token expected to be incremental, but `fromguid` not present"),
        ),
        (
            token("p/a@s", Some(6), 7, false),
            Some(5),
            Some("resume token `fromguid` != expected: 6 != 5"),
        ),
        (
            token("p/a@s", Some(5), 8, false),
            Some(5),
            Some("resume token `toguid` != expected: 8 != 7"),
        ),
    ];
    for (token, from, error) in cases {
        let step = RequestedStep {
            dataset: &dataset,
            from: from.map(Guid::new),
            to: Guid::new(7),
        };
        let found = PLAIN.check_token(token, step, false).err();
        assert_eq!(
            found.map(|error| error.to_string()).as_deref(),
            *error,
            "{token:?}"
        );
    }
}

#[test]
fn a_token_leads_to_a_stream_as_the_policy_wants_it() {
    let dataset = path("p/a");
    let step = RequestedStep {
        dataset: &dataset,
        from: None,
        to: Guid::new(7),
    };
    let not_raw = "resume token does not have rawok=true which would result in an unencrypted send, but policy mandates \
                   encrypted sends only";
    let raw = "resume token has rawok=true which would result in encrypted send, but policy mandates unencrypted sends only";
    for (policy, is_raw, is_encrypted, error) in [
        (PLAIN, false, false, None),
        (PLAIN, false, true, None),
        // Raw says nothing about encryption if there is none.
        (PLAIN, true, false, None),
        (PLAIN, true, true, Some(raw)),
        (ENCRYPTED, true, true, None),
        (ENCRYPTED, false, true, Some(not_raw)),
        (ENCRYPTED, true, false, Some(not_raw)),
        (ENCRYPTED, false, false, Some(not_raw)),
    ] {
        let token = token("p/a@s", None, 7, is_raw);
        let found = policy.check_token(&token, step, is_encrypted).err();
        assert_eq!(
            found.map(|error| error.to_string()).as_deref(),
            error,
            "{policy:?} {is_raw} {is_encrypted}"
        );
    }
}

#[test]
fn errors_stay_short_whatever_a_token_says() {
    let dataset = path("p/a");
    let step = RequestedStep {
        dataset: &dataset,
        from: None,
        to: Guid::new(7),
    };
    let long = "x".repeat(1 << 20);
    for name in [long.clone(), format!("{long}@s"), format!("p/a@{long}")] {
        let error = PLAIN
            .check_token(&token(&name, None, 7, false), step, false)
            .expect_err("not that one");
        assert!(error.to_string().len() < 500);
    }
}
