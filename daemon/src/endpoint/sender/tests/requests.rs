//! What may be asked, and what the answers are.

use super::*;

fn placeholders(found: &[Filesystem]) -> Vec<(&str, bool)> {
    assert!(found.iter().all(|it| it.resume_token.is_empty()));
    let facts = found.iter();
    facts
        .map(|it| (it.path.as_str(), it.is_placeholder))
        .collect()
}

#[tokio::test]
async fn filesystems_of_the_filter_are_listed_with_placeholders() {
    let filter = [
        ("p/a<", true),
        ("p/a/not", false),
        ("p/b", true),
        ("p/none<", true),
        ("q/none", true),
        ("q/nothing", true),
    ];
    let bed = Bed::with(&["p/a/not/but", "p/a/x", "p/b/c", "p/d"], |settings| {
        settings.filesystems = FilesystemFilter::new(filter).expect("valid");
    });
    bed.zfs.set("p/a", placeholder::PROPERTY, "on");
    bed.zfs.set("p/a/x", placeholder::PROPERTY, "off");
    let found = bed.filesystems().await.expect("lists");
    // What is inherited makes no placeholder.
    let expected = [
        ("p/a", true),
        ("p/a/not/but", false),
        ("p/a/x", false),
        ("p/b", false),
    ];
    assert_eq!(placeholders(&found), expected);
    let calls = [
        "datasets -r p/a p/none",
        "exists p",
        "datasets -r p/a",
        "datasets -d0 p/b q/none q/nothing",
        // The whole pool is missing.
        "exists q",
        "datasets -d0 p/b",
    ];
    assert_eq!(bed.zfs.calls(), calls);
    assert_eq!(bed.filesystems().await.map(|it| it.len()), Ok(4));
}

#[tokio::test]
async fn a_pool_that_cannot_be_listed_is_an_error_and_not_an_empty_list() {
    let bed = Bed::new(&["p/a"]);
    bed.zfs
        .fail(Operation::ListDatasets, "p", Reason::PoolSuspended);
    let error = bed.filesystems().await.expect_err("fails");
    assert_eq!(
        error,
        "cannot list datasets p: the pool is suspended; repair the devices and run zpool clear"
    );
}

#[tokio::test]
async fn everything_is_listed_pool_by_pool() {
    let bed = Bed::with(&["p/a", "q"], |settings| {
        settings.filesystems = FilesystemFilter::new([("<", true), ("p<", false)]).expect("valid");
    });
    let found = bed.filesystems().await.expect("lists");
    assert_eq!(placeholders(&found), [("q", false)]);
    assert_eq!(bed.zfs.calls(), ["pools", "datasets -r p q"]);
}

#[tokio::test]
async fn versions_are_in_the_order_of_zfs_list_and_complete() {
    let names = [
        "p/a@z",
        "p/a@y",
        "p/a#b=p/a@z",
        "p/a#a=p/a@y",
        "p/a/child@x",
    ];
    let bed = Bed::new(&names);
    assert_eq!(
        bed.versions("p/a").await.expect("lists"),
        ["@z", "#b", "@y", "#a"]
    );
    let request = ListFilesystemVersionsReq {
        filesystem: "p/a".to_owned(),
    };
    let answer = bed.sender.list_filesystem_versions(request).await;
    let versions = answer.expect("lists").versions;
    let (guid, create_txg) = (bed.zfs.guid("p/a@z"), bed.zfs.createtxg("p/a@z"));
    let expected = pdu::FilesystemVersion {
        r#type: 1,
        name: "b".to_owned(),
        guid,
        create_txg,
        creation: format!("1970-01-01T00:00:0{create_txg}Z"),
    };
    assert_eq!(versions[1], expected);
    assert_eq!(versions[0].guid, guid);
    let error = bed.versions("p/b").await.expect_err("fails");
    assert_eq!(error, "cannot list versions p/b: it does not exist");
}

#[tokio::test]
async fn a_round_without_news_costs_a_listing_and_the_bookmarks() {
    let bed = Bed::new(&["p/a@1", "p/b@1", "p/b@2"]);
    for round in 0..3 {
        bed.zfs.calls();
        assert_eq!(bed.filesystems().await.map(|it| it.len()), Ok(3));
        assert_eq!(bed.versions("p/a").await.expect("lists"), ["@1"]);
        assert_eq!(bed.versions("p/b").await.expect("lists"), ["@1", "@2"]);
        let calls = bed.zfs.calls();
        if round > 0 {
            let expected = [
                "datasets -r p",
                "versions p/a bookmarks",
                "versions p/b bookmarks",
            ];
            assert_eq!(calls, expected);
        }
    }
    // What was read serves once.
    bed.zfs.make("p/a@2");
    assert_eq!(bed.versions("p/a").await.expect("lists"), ["@1", "@2"]);
    bed.filesystems().await.expect("lists");
    bed.zfs.make("p/a@3");
    assert_eq!(bed.versions("p/a").await.expect("lists"), ["@1", "@2"]);
    let all = bed.versions("p/a").await.expect("lists");
    assert_eq!(all, ["@1", "@2", "@3"]);
    // And not after what we have done ourselves.
    bed.filesystems().await.expect("lists");
    let request = DestroySnapshotsReq {
        filesystem: "p/a".to_owned(),
        snapshots: vec![bed.version("p/a@2")],
    };
    let answer = bed.sender.destroy_snapshots(request).await;
    answer.expect("destroys");
    assert_eq!(bed.versions("p/a").await.expect("lists"), ["@1", "@3"]);
}

#[test]
fn what_a_listing_has_read_is_good_for_a_minute() {
    use std::time::Duration;
    let zfs: Arc<dyn zfs_safe::Zfs> = Arc::new(FakeZfs::with(&["p@1"]));
    let memory = VersionMemory::new(Arc::clone(&zfs)).expect("opens");
    let dataset = DatasetPath::new("p").expect("valid");
    let properties = zfs.properties(&dataset.clone().into(), memory.evidence());
    let evidence = memory.evidence_of(&properties.expect("reads"));
    assert!(evidence.is_some());
    let (listing, begun) = (Listing::default(), Instant::now());
    let after = |seconds| begun + Duration::from_secs(seconds);
    let keep = || listing.keep(begun, [(dataset.clone(), evidence.clone().expect("there"))]);
    keep();
    assert_eq!(listing.take(&dataset, after(60)), evidence);
    keep();
    assert_eq!(listing.take(&dataset, after(61)), None);
    assert_eq!(listing.take(&dataset, begun), None, "forgotten for good");
    keep();
    listing.forget(&dataset);
    assert_eq!(listing.take(&dataset, begun), None);
}

#[tokio::test]
async fn nothing_outside_of_the_filter_can_be_reached() {
    let bed = Bed::new(&["p/a@1", "q/a@1"]);
    for (filesystem, expected) in [
        ("q/a", "endpoint does not allow access to filesystem q/a"),
        ("", "empty filesystem not allowed"),
        ("p/a@1", "contains forbidden characters (any of '@#|\t<>*')"),
    ] {
        let (filesystem, expected) = (filesystem.to_owned(), Err(expected.to_owned()));
        assert_eq!(bed.versions(&filesystem).await.map(drop), expected);
        let request = ReplicationCursorReq {
            filesystem: filesystem.clone(),
        };
        let answer = bed.sender.replication_cursor(request).await;
        assert_eq!(answer.map(drop).map_err(text), expected);
        let request = DestroySnapshotsReq {
            filesystem: filesystem.clone(),
            snapshots: vec![bed.version("q/a@1")],
        };
        let answer = bed.sender.destroy_snapshots(request).await;
        assert_eq!(answer.map(drop).map_err(text), expected);
        let request = SendReq {
            filesystem,
            ..bed.step(None, "", GuaranteeKind::Resumability)
        };
        let answer = bed.sender.send_dry(request.clone()).await;
        assert_eq!(answer.map(drop).map_err(text), expected);
        assert_eq!(bed.send(&request).await.map(drop), expected);
        assert_eq!(bed.complete(&request).await, expected);
    }
    assert_eq!(bed.zfs.calls(), [""; 0]);
}

#[tokio::test]
async fn what_is_missing_in_a_request_is_an_error() {
    let bed = Bed::new(&["p/a@1"]);
    let answer = bed.sender.send_completed(SendCompletedReq::default()).await;
    let empty = "empty filesystem not allowed".to_owned();
    assert_eq!(answer.map(drop).map_err(text), Err(empty));
    let request = bed.step(None, "", GuaranteeKind::Resumability);
    let nothing = "validate `to` exists: must not be nil".to_owned();
    assert_eq!(bed.complete(&request).await, Err(nothing));
    // The promise comes last, and an estimate needs none.
    let mut request = bed.step(None, "@1", GuaranteeKind::Resumability);
    let zero = "pdu.ReplicationConfigProtection: field Initial: \"GuaranteeInvalid\"".to_owned();
    let missing = "pdu.ReplicationConfigProtection must not be nil".to_owned();
    let zeros = pdu::ReplicationConfigProtection::default();
    for (config, expected) in [
        (None, &missing),
        (Some(ReplicationConfig::default()), &missing),
        (
            Some(ReplicationConfig {
                protection: Some(zeros),
            }),
            &zero,
        ),
    ] {
        request.replication_config = config;
        assert_eq!(bed.send(&request).await.map(drop).as_ref(), Err(expected));
        assert_eq!(bed.complete(&request).await.as_ref(), Err(expected));
        let answer = bed.sender.send_dry(request.clone()).await;
        answer.expect("estimates");
    }
    assert_eq!(bed.zfs.contents("p/a"), ["@1"]);
}

/// Everything that can be wrong with a step, in the order of zrepl 0.7.0.
#[tokio::test]
async fn what_is_wrong_with_a_step_is_said_as_zrepl_says_it() {
    let bed = Bed::new(&["p/a@1", "p/a@2", "p/a#1=p/a@1"]);
    let good = bed.step(Some("@1"), "@2", GuaranteeKind::Resumability);
    let snapshot = |name: &str, guid| {
        Some(pdu::FilesystemVersion {
            name: name.to_owned(),
            guid,
            ..pdu::FilesystemVersion::default()
        })
    };
    let kind = |r#type| {
        let version = bed.version("p/a@1");
        Some(pdu::FilesystemVersion { r#type, ..version })
    };
    let to = |to| SendReq { to, ..good.clone() };
    let from = |from| SendReq {
        from,
        ..good.clone()
    };
    let token = |resume_token| SendReq {
        resume_token,
        ..good.clone()
    };
    let real = bed.zfs.guid("p/a@1");
    let guid = format!("`GUID` field does not match real dataset's GUID: '{real}' != '7'");
    let secret = bed.token(Some("@1"), "@2", |token| {
        "q/x@2".clone_into(&mut token.to_name);
    });
    let cases = [
        (to(None), "`To` must not be nil".to_owned()),
        (
            SendReq {
                from: snapshot("gone too", 1),
                ..to(snapshot("gone", 1))
            },
            "`To` invalid: dataset \"p/a@gone\" does not exist".to_owned(),
        ),
        (to(snapshot("1", 7)), format!("`To` invalid: {guid}")),
        (
            to(kind(1)),
            "`To` invalid: version must be a snapshot".to_owned(),
        ),
        (
            to(kind(2)),
            "`To` invalid: version type 2 is unknown".to_owned(),
        ),
        (from(snapshot("1", 7)), format!("`From` invalid: {guid}")),
        (
            from(kind(2)),
            "`From` invalid: version type 2 is unknown".to_owned(),
        ),
        (
            token("1-x".to_owned()),
            "resume token is corrupt: resume token is not of the form VERSION-CHECKSUM-LENGTH-PAYLOAD"
                .to_owned(),
        ),
        (
            token(bed.token(None, "@2", |_| ())),
            "resume token expected to be incremental, but `fromguid` not present".to_owned(),
        ),
        (
            token(secret),
            "filesystem in resume token field `toname` = \"q/x\" does not match expected value \"p/a\""
                .to_owned(),
        ),
    ];
    for (request, expected) in cases {
        let expected = Err(format!("validate send arguments: {expected}"));
        let answer = bed.sender.send_dry(request.clone()).await;
        assert_eq!(answer.map(drop).map_err(text), expected);
        assert_eq!(bed.send(&request).await.map(drop), expected);
    }
    // A name that is none is not looked for.
    bed.zfs.calls();
    let error = bed.send(&to(snapshot("a@b", 1))).await;
    let error = error.map(drop).expect_err("fails");
    assert!(
        error.starts_with("validate send arguments: `To` invalid: "),
        "{error}"
    );
    assert_eq!(bed.zfs.calls(), [""; 0]);
    assert_eq!(bed.zfs.contents("p/a"), ["@1", "#1", "@2"]);
}

#[tokio::test]
async fn the_policy_decides_what_is_sent_and_how() {
    const AES: &str = "aes-256-gcm";
    for (encryption, policy, expected) in [
        ("off", "{}", Ok("send p/a@1")),
        ("off", "{raw: true}", Ok("send -w p/a@1")),
        (
            "off",
            "{encrypted: true}",
            Err("encrypted send mandated by policy, but filesystem \"p/a\" is not encrypted"),
        ),
        (AES, "{encrypted: true}", Ok("send -w p/a@1")),
        (AES, "{}", Ok("send p/a@1")),
        (
            AES,
            "{raw: true}",
            Err("policy mandates raw+unencrypted sends, but filesystem \"p/a\" is encrypted"),
        ),
        (
            "-",
            "{}",
            Err(
                "cannot check whether filesystem \"p/a\" is encrypted: cannot read properties p/a: it failed (no value of \
                 `encryption`)",
            ),
        ),
        (
            "off",
            "{large_blocks: true, compressed: true, embedded_data: true, saved: true, send_properties: true, \
             backup_properties: true}",
            Ok("send -p -b -L -c -e -S p/a@1"),
        ),
    ] {
        let bed = Bed::with(&["p/a@1"], |settings| settings.send = options(policy));
        bed.zfs.set("p", "encryption", encryption);
        let request = bed.step(None, "@1", GuaranteeKind::Nothing);
        let sent = bed.send(&request).await.map(drop);
        let last = bed.zfs.calls().pop();
        match expected {
            Ok(call) => {
                assert_eq!(sent, Ok(()), "{encryption} {policy}");
                assert_eq!(last.as_deref(), Some(call));
            }
            Err(error) => assert_eq!(sent, Err(format!("validate send arguments: {error}"))),
        }
    }
}

#[tokio::test]
async fn a_resumed_step_has_the_form_that_it_began_with_and_is_told_as_such() {
    let bed = Bed::with(&["p/a@1", "p/a@2"], |settings| {
        settings.send = options("{large_blocks: true, send_properties: true}");
    });
    let mut request = bed.step(Some("@1"), "@2", GuaranteeKind::Resumability);
    let answer = bed.sender.send(request.clone()).await;
    assert_eq!(answer.expect("sends").0, SendRes::default());
    let last = bed.zfs.calls().pop();
    assert_eq!(last.as_deref(), Some("send -p -L -i p/a@1 p/a@2"));
    request.resume_token = bed.token(Some("@1"), "@2", |_| ());
    let answer = bed.sender.send(request.clone()).await;
    assert!(answer.expect("sends").0.used_resume_token);
    let last = bed.zfs.calls().pop();
    assert_eq!(last.as_deref(), Some("send -t -i p/a@1 p/a@2"));
    bed.zfs.stream_len(1000);
    let answer = bed.sender.send_dry(request).await.expect("estimates");
    let expected = SendRes {
        used_resume_token: true,
        expected_size: 1312,
    };
    assert_eq!(answer, expected);
    let last = bed.zfs.calls().pop();
    assert_eq!(last.as_deref(), Some("estimate -t -i p/a@1 p/a@2"));
}

#[tokio::test]
async fn from_a_bookmark_nothing_is_estimated_and_all_else_is_as_ever() {
    let bed = Bed::with(&["p/a@1", "p/a#1=p/a@1", "p/a@2"], |settings| {
        settings.send = options("{send_properties: true, compressed: true}");
    });
    let request = bed.step(Some("#1"), "@2", GuaranteeKind::Nothing);
    let answer = bed.sender.send_dry(request.clone()).await;
    assert_eq!(answer.expect("answers"), SendRes::default());
    let calls = bed.zfs.calls();
    let estimates = calls.iter().filter(|call| call.starts_with("estimate"));
    assert_eq!(estimates.count(), 0);
    bed.send(&request).await.expect("sends");
    let last = bed.zfs.calls().pop();
    assert_eq!(last.as_deref(), Some("send -p -c -i p/a#1 p/a@2"));
}

#[tokio::test]
async fn zfs_is_quoted_with_what_can_be_done() {
    let bed = Bed::new(&["p/a@1"]);
    bed.zfs.fail(Operation::Send, "p/a@1", Reason::KeyNotLoaded);
    bed.zfs.fail(Operation::EstimateSend, "p/a@1", Reason::Busy);
    let request = bed.step(None, "@1", GuaranteeKind::Nothing);
    let error = bed.send(&request).await.map(drop).expect_err("fails");
    assert_eq!(
        error,
        "zfs send failed: cannot send p/a@1: its encryption key is not loaded; load the key (zfs load-key) or send raw"
    );
    let answer = bed.sender.send_dry(request.clone()).await;
    let error = answer.map_err(text).expect_err("fails");
    assert_eq!(
        error,
        "zfs send dry failed: cannot estimate send p/a@1: it is busy"
    );
    bed.zfs.mend();
    let stream = bed.send(&request).await.expect("sends");
    let answer = bed.sender.receive(ReceiveReq::default(), stream).await;
    let expected = "sender does not implement Receive()".to_owned();
    assert_eq!(answer.map(drop).map_err(text), Err(expected));
}

#[tokio::test]
async fn streams_are_whole_and_pay_the_jobs_limit() {
    use crate::bandwidth::TokenBucket;
    let limit = Arc::new(Limit::from(TokenBucket::with(1 << 20, 1 << 20)));
    let bed = Bed::with(&["p/a@1"], |settings| {
        settings.limit = Some(Arc::clone(&limit));
    });
    bed.zfs.stream_len(100_000);
    let request = bed.step(None, "@1", GuaranteeKind::Nothing);
    let stream = bed.send(&request).await.expect("sends");
    assert!(stream.limits.iter().any(|it| Arc::ptr_eq(it, &limit)));
    assert_eq!(read(stream).await, Ok(100_312));
}

#[tokio::test]
async fn snapshots_are_destroyed_each_with_its_result() {
    let names = ["p/a@1", "p/a@2", "p/a@3", "p/a@4", "p/a#1=p/a@1"];
    let bed = Bed::new(&names);
    bed.zfs.hold_by_hand("p/a@2", "mine");
    let denied = Reason::PermissionDenied;
    bed.zfs.fail(Operation::DestroySnapshots, "p/a@4", denied);
    let named = |names: &[&str]| DestroySnapshotsReq {
        filesystem: "p/a".to_owned(),
        snapshots: names.iter().map(|name| bed.version(name)).collect(),
    };
    let mut request = named(&["p/a@3", "p/a@1", "p/a@2", "p/a@1", "p/a@4"]);
    "a@b".clone_into(&mut request.snapshots[1].name);
    "gone".clone_into(&mut request.snapshots[3].name);
    let answer = bed.sender.destroy_snapshots(request.clone()).await;
    let results = answer.expect("answers").results;
    let named_again: Vec<_> = results
        .iter()
        .filter_map(|it| it.snapshot.clone())
        .collect();
    assert_eq!(named_again, request.snapshots);
    let errors: Vec<_> = results.iter().map(|it| it.error.as_str()).collect();
    assert!(errors[1].contains("a@b"), "{errors:?}");
    let expected = [
        "",
        errors[1],
        "cannot destroy snapshot p/a@2: it is held by mine",
        // Nobody wants it to be there.
        "",
        "cannot destroy snapshot p/a@4: permission denied; run as root or delegate the permission (zfs allow)",
    ];
    assert_eq!(errors, expected);
    // What is there, and held, is looked up first.
    let calls = bed.zfs.calls();
    assert_eq!(calls.last().expect("some"), "destroy p/a@3 p/a@2 p/a@4");
    assert_eq!(calls.len(), 4, "{calls:?}");
    let left = ["@1", "#1", "@2 mine", "@4"];
    assert_eq!(bed.zfs.contents("p/a"), left);
    // Gone when it is looked up, and somebody takes another one of that name before the others are destroyed.
    let mut request = named(&["p/a@1", "p/a@4"]);
    "new".clone_into(&mut request.snapshots[0].name);
    bed.zfs.before("destroy", |zfs| zfs.make("p/a@new"));
    let answer = bed.sender.destroy_snapshots(request).await;
    assert_eq!(answer.expect("answers").results[0].error, "");
    assert!(bed.zfs.contents("p/a").contains(&"@new".to_owned()));
    bed.zfs.calls();
    // Destroyed and taken again since it was listed.
    let mut request = named(&["p/a@1"]);
    request.snapshots[0].guid ^= 1;
    let answer = bed.sender.destroy_snapshots(request).await;
    let error = &answer.expect("answers").results[0].error;
    assert!(error.contains("taken again meanwhile"), "{error}");
    assert!(
        bed.zfs
            .calls()
            .iter()
            .all(|call| !call.starts_with("destroy"))
    );
    let request = named(&["p/a@1", "p/a#1"]);
    let answer = bed.sender.destroy_snapshots(request).await;
    let expected = "version \"1\" is not a snapshot".to_owned();
    assert_eq!(answer.map(drop).map_err(text), Err(expected));
    let answer = bed.sender.destroy_snapshots(named(&[])).await;
    assert_eq!(answer.expect("answers"), DestroySnapshotsRes::default());
    assert_eq!(bed.zfs.calls(), [""; 0]);
}

#[tokio::test]
async fn the_newest_own_cursor_is_told_or_that_of_the_job_before() {
    let names = [
        "p/a@1",
        "p/a@2",
        "p/a@3",
        "p/a#zrepl_replication_cursor=p/a@3",
    ];
    let bed = Bed::with(&names, |settings| {
        settings.fallback_job = JobId::new("before").ok();
    });
    let ask = async || {
        let request = ReplicationCursorReq {
            filesystem: "p/a".to_owned(),
        };
        let answer = bed.sender.replication_cursor(request).await;
        answer.expect("answers").cursor().expect("complete")
    };
    let mark = |job: &str, snapshot: &str, guid: u64| {
        let name = format!("p/a#zrepl_CURSOR_G_{guid:016x}_J_{job}=p/a{snapshot}");
        bed.zfs.make(&name);
    };
    let [one, two, three] = ["p/a@1", "p/a@2", "p/a@3"].map(|name| bed.zfs.guid(name));
    mark("other", "@3", three);
    bed.zfs
        .make(&format!("p/a{}=p/a@3", tentative(&bed, "p/a@3")));
    // Labelled as what it is not.
    mark("job", "@3", one);
    assert_eq!(ask().await, None);
    mark("before", "@3", three);
    assert_eq!(ask().await, Some(three));
    mark("job", "@2", two);
    mark("job", "@1", one);
    bed.zfs.calls();
    assert_eq!(ask().await, Some(two));
    assert_eq!(bed.zfs.calls(), ["versions p/a bookmarks"]);
}
