//! Properties that travel with a stream, and what the receiver makes of them.

use zfs_safe::property::Source;
use zrepl_proto::pdu::GuaranteeKind;

use crate::case::Case;
use crate::replication::{Replication, both};
use crate::set_up::shell;
use crate::{Scenario, Verdict};

pub(crate) const LIST: &[Scenario] = &[Scenario::new(
    "ReplicationPropertyReplicationWorks",
    |case| Box::pin(properties(case)),
)];

async fn properties(mut case: Case) -> Verdict {
    case.set_up("+ a\n+ a/child")?;
    let root = case.root();
    shell(&format!(
        "zfs set zrepl:ignored=i zrepl:replicate=r {root}/a; zfs set zrepl:ignored=i zrepl:replicate=r zrepl:overridden=o {root}/a/child"
    ))?;
    case.set_up("+ a@1\n+ a/child@1")?;
    let replication = Replication::of(&case, &["a", "a/child"])
        .protect(both(GuaranteeKind::Nothing))
        .send("{send_properties: true}")
        .recv("{properties: {inherit: ['zrepl:ignored'], override: {'zrepl:overridden': overridden value}}}");
    let run = replication.run(&mut case).await?;
    run.assert_done();
    for name in ["a", "a/child"] {
        let filesystem = run.filesystem(name);
        assert_eq!((filesystem.steps().len(), filesystem.current_step), (1, 1));
        let there = case.received(name);
        let read = |property| {
            case.property(&there, property)
                .map(|it| (it.value, it.source))
        };
        let set = |value: &str, source| Some((value.to_owned(), source));
        assert_eq!(read("zrepl:ignored"), None, "{name}");
        assert_eq!(
            read("zrepl:replicate"),
            set("r", Source::Received),
            "{name}"
        );
        assert_eq!(
            read("zrepl:overridden"),
            set("overridden value", Source::Local),
            "{name}"
        );
    }
    Ok(())
}
