//! What the first replication of a filesystem sends.

use zrepl_daemon::config::transfer::InitialReplication;

use crate::case::Case;
use crate::replication::Replication;
use crate::run::Run;
use crate::{Scenario, Verdict};

pub(crate) const LIST: &[Scenario] = &[
    Scenario::new("ReplicationInitialAll", |case| Box::pin(all(case))),
    Scenario::new("ReplicationInitialMostRecent", |case| {
        Box::pin(most_recent(case))
    }),
    Scenario::new("ReplicationInitialFail", |case| Box::pin(fail(case))),
];

/// Names run backwards: only createtxg counts.
async fn replicate(
    case: &mut Case,
    initial: InitialReplication,
) -> Result<Run, Box<dyn std::error::Error + Send + Sync>> {
    case.set_up("+ sender\n+ sender@3\n+ sender@2\n+ sender@1")?;
    let replication = Replication {
        initial,
        ..Replication::of_sender(case)
    };
    replication.run(case).await
}

async fn all(mut case: Case) -> Verdict {
    let run = replicate(&mut case, InitialReplication::All).await?;
    run.assert_done();
    let expected = [("", "@3"), ("@3", "@2"), ("@2", "@1")];
    assert_eq!(run.filesystem("sender").path(), expected);
    assert_eq!(case.snapshots(&case.received("sender")), ["@3", "@2", "@1"]);
    Ok(())
}

async fn most_recent(mut case: Case) -> Verdict {
    let run = replicate(&mut case, InitialReplication::MostRecent).await?;
    run.assert_done();
    assert_eq!(run.filesystem("sender").path(), [("", "@1")]);
    assert_eq!(case.snapshots(&case.received("sender")), ["@1"]);
    Ok(())
}

async fn fail(mut case: Case) -> Verdict {
    let run = replicate(&mut case, InitialReplication::Fail).await?;
    run.filesystem("sender").assert_plan_error(
        "automatic conflict resolution for initial replication is disabled in config",
    );
    assert_eq!(run.ending.failed_filesystems, Some(1));
    assert!(!case.exists(&case.received("sender")));
    Ok(())
}
