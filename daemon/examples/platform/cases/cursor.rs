//! The replication cursor of a job.

use zfs_safe::zfs::VersionQuery;
use zrepl_daemon::endpoint::Endpoint as _;
use zrepl_daemon::endpoint::mark::guarantee::{Step, after_send};
use zrepl_daemon::endpoint::mark::{Inventory, JobId, Mark, MarkError, MarkKind};
use zrepl_proto::pdu::{GuaranteeKind, ReplicationCursorReq};

use crate::case::Case;
use crate::replication::{Replication, SENDER_JOB};
use crate::{Scenario, Verdict};

pub(crate) const LIST: &[Scenario] = &[Scenario::new("CreateReplicationCursor", |case| {
    Box::pin(create_replication_cursor(case))
})];

async fn create_replication_cursor(case: Case) -> Verdict {
    for number in 1..=3 {
        let name = format!("{number} with space");
        if number == 1 {
            case.set_up(r#"+ "foo bar""#)?;
        }
        case.set_up(&format!(
            "+ \"foo bar@{name}\"\n+ \"foo bar#{name}\" \"foo bar@{name}\""
        ))?;
    }
    case.set_up(r#"- "foo bar@3 with space""#)?;
    let job = JobId::new(SENDER_JOB)?;
    let snapshot = case.version("foo bar@1 with space");
    let dataset = case.dataset("foo bar");

    // On the snapshot, and again.
    let mark = Mark::new(MarkKind::Cursor, &job, &snapshot)?;
    let creation = mark.creation(&case.snapshot("foo bar@1 with space"));
    for _ in 0..2 {
        case.shared.make_marks(vec![creation.clone()])?;
    }
    let name = case.mark(MarkKind::Cursor, SENDER_JOB, "foo bar@1 with space");
    assert_eq!(
        name,
        format!("zrepl_CURSOR_G_{:016x}_J_sender-job", snapshot.guid.get())
    );
    let marks: Vec<_> = case
        .bookmarks("foo bar")
        .into_iter()
        .filter(|it| it.starts_with("zrepl"))
        .collect();
    assert_eq!(marks, [&*name]);

    // By a bookmark of the same snapshot, or by the cursor itself, it is the same mark.
    for bookmark in ["foo bar#1 with space".to_owned(), format!("foo bar#{name}")] {
        let other = Mark::new(MarkKind::Cursor, &job, &case.version(&bookmark))?;
        assert_eq!(other.place(), mark.place(), "{bookmark}");
        assert!(mark.is_bookmark(&case.version_name(&format!("foo bar#{name}"))));
    }
    // A bookmark whose snapshot is gone gets no cursor: ZFS does not copy bookmarks before 2.0, and zrepl never.
    let gone = case.version("foo bar#3 with space");
    let step = Step {
        from: None,
        to: &gone,
    };
    let plan = after_send(
        step,
        GuaranteeKind::Resumability,
        &job,
        &Inventory::default(),
    );
    assert!(
        matches!(plan, Err(MarkError::NotASnapshot { .. })),
        "{plan:?}"
    );

    // The job finds it again.
    let bookmarks = case.zfs.versions(&dataset, &VersionQuery::BOOKMARKS)?;
    let found: Vec<_> = bookmarks.iter().filter_map(Mark::of_bookmark).collect();
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].createtxg(), found[0].guid()),
        (snapshot.createtxg, snapshot.guid)
    );
    let sender = Replication::of(&case, &["foo bar"]).sender(&case)?;
    let request = ReplicationCursorReq {
        filesystem: dataset.to_string(),
    };
    let answer = sender.replication_cursor(request).await?;
    assert_eq!(answer.cursor()?, Some(snapshot.guid.get()));
    Ok(())
}
