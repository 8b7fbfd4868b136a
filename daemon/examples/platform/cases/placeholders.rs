//! Parents that the receiver makes itself.

use zfs_safe::property::Source;
use zrepl_daemon::endpoint::placeholder::{PROPERTY, is_placeholder};

use crate::case::Case;
use crate::replication::Replication;
use crate::set_up::shell;
use crate::{Scenario, Verdict};

pub(crate) const LIST: &[Scenario] = &[
    Scenario::new(
        "ReplicationPlaceholderEncryption__UnspecifiedLeadsToFailureAtRuntimeWhenCreatingPlaceholders",
        |case| Box::pin(unspecified(case)),
    ),
    Scenario::new(
        "ReplicationPlaceholderEncryption__UnspecifiedIsOkForClientIdentityPlaceholder",
        |case| Box::pin(of_client(case)),
    ),
    Scenario::new(
        "ReplicationPlaceholderEncryption__EncryptOnReceiverUseCase__WorksIfConfiguredWithInherit",
        |case| Box::pin(encrypted_by_receiver(case)),
    ),
    Scenario::new(
        "ReplicationOfPlaceholderFilesystemsInChainedReplicationScenario",
        |case| Box::pin(chained(case)),
    ),
];

/// Is it one by its own property?
pub(crate) fn is_one(case: &Case, name: &str) -> bool {
    case.property(name, PROPERTY)
        .is_some_and(|it| it.source == Source::Local && is_placeholder(&case.full(name), &it.value))
}

async fn unspecified(mut case: Case) -> Verdict {
    case.set_up("+ sender\n+ sender/a\n+ sender/a/child\n+ sender/a/child@1")?;
    let replication = Replication::of(&case, &["sender/a/child"]);
    let run = replication.run(&mut case).await?;
    let filesystem = run.filesystem("sender/a/child");
    filesystem.assert_step_error(
        "placeholder filesystem encryption handling is unspecified in receiver config",
    );
    let first_missing = case.full(&case.received("sender"));
    assert!(
        filesystem.error().contains(&format!(
            "cannot create placeholder filesystem {first_missing}:"
        )),
        "{}",
        filesystem.error()
    );
    assert!(!case.exists(&case.received("sender")));
    Ok(())
}

/// The pool itself is sent, so the only parent to make is the client's root.
async fn of_client(mut case: Case) -> Verdict {
    let (pool, root) = (case.pool().to_owned(), case.root().to_owned());
    let snapshot = root.rsplit('/').next().unwrap_or_default().to_owned();
    shell(&format!(
        "zfs snapshot {pool}@{snapshot}; zfs snapshot {root}@{snapshot}"
    ))?;
    let replication = Replication {
        filesystems: vec![(pool.clone(), true), (root.clone(), true)],
        client: Some("testclientid"),
        ..Replication::of(&case, &[])
    };
    let run = replication.run(&mut case).await?;
    run.assert_done();
    for name in [&pool, &root] {
        assert_eq!(run.absolute(name).path(), [("", &*format!("@{snapshot}"))]);
        assert_eq!(
            case.snapshots(&format!("receiver/testclientid/{name}")),
            [format!("@{snapshot}")]
        );
    }
    assert!(is_one(&case, "receiver/testclientid"));
    Ok(())
}

async fn encrypted_by_receiver(mut case: Case) -> Verdict {
    case.set_up("+ sender\n+ sender/a\n+ sender/a@1\n+ encrypted encrypted")?;
    let replication = Replication {
        root_fs: "encrypted",
        ..Replication::of(&case, &["sender/a"]).recv("{placeholder: {encryption: inherit}}")
    };
    let run = replication.run(&mut case).await?;
    run.assert_done();
    let there = format!("encrypted/{}/sender/a", case.root());
    assert_eq!(case.guid(&format!("{there}@1")), case.guid("sender/a@1"));
    assert_eq!(case.value(&there, "encryptionroot"), case.full("encrypted"));
    assert_eq!(case.value("sender/a", "encryption"), "off");
    Ok(())
}

/// A placeholder of the second host is one of the third, too.
async fn chained(mut case: Case) -> Verdict {
    case.set_up(
        "+ host1\n+ host1/a\n+ host1/a/b\n+ host1/a/b@1\n+ host2\n+ host2/sink\n+ host3\n+ host3/sink",
    )?;
    let root = case.root().to_owned();
    let first = Replication {
        root_fs: "host2/sink",
        sender_job: "h1-to-h2-sender",
        receiver_job: "h1-to-h2-receiver",
        ..Replication::of(&case, &["host1/a/b"]).recv("{placeholder: {encryption: off}}")
    };
    first.run(&mut case).await?.assert_done();
    let second = Replication {
        filesystems: vec![
            (format!("{root}/host2/sink"), false),
            (format!("{root}/host2/sink<"), true),
        ],
        root_fs: "host3/sink",
        sender_job: "h2-to-h3-sender",
        receiver_job: "h2-to-h3-receiver",
        ..first
    };
    let run = second.run(&mut case).await?;
    run.assert_done();
    let on_second = format!("host2/sink/{root}/host1/a");
    let on_third = format!("host3/sink/{root}/{on_second}");
    assert_eq!(
        case.guid(&format!("{on_third}/b@1")),
        case.guid("host1/a/b@1")
    );
    for name in [&on_second, &on_third] {
        assert!(is_one(&case, name), "{name}");
        assert!(!is_one(&case, &format!("{name}/b")), "{name}/b");
    }
    assert!(run.filesystem(&on_second).steps().is_empty());
    Ok(())
}
