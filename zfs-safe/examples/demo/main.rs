//! `cargo vm demo`: replicates three datasets from one pool to another through zfs-safe, interrupts a transfer and resumes
//! it, and proves that both sides are equal.
//!
//! Pools, data and checksums are made with zpool(8), zfs(8) and a shell, as a user of ZFS would; everything in between goes
//! to the kernel directly. Pools `source` and `backup` must not exist; they are destroyed at the end unless `--keep` is
//! given. Needs root.

mod compare;
mod device;
mod report;
mod shell;
mod transfer;
mod world;

use std::error::Error;
use std::process::ExitCode;

use zfs_safe::counters::Counts;
use zfs_safe::error::Reason;
use zfs_safe::name::{BookmarkName, DatasetPath, EntityName, HoldTag, SnapshotName, VersionName};
use zfs_safe::native::Native;
use zfs_safe::property::PropertyName;
use zfs_safe::resume_token::ResumeToken;
use zfs_safe::version::Txg;
use zfs_safe::zfs::{BookmarkRequest, HoldRequest, SendArgs, SendFlags, VersionQuery};
use zfs_safe::{Outcome, Zfs};

use crate::compare::{Comparison, Contents, guid};
use crate::report::{Report, mebibytes, milliseconds};
use crate::transfer::{Transferred, transfer};
use crate::world::{BACKUP, DOCUMENTS, Material, SECRET, SOURCE, World};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let keep = std::env::args().any(|argument| argument == "--keep");
    let mut report = Report::default();
    match run(&mut report, keep) {
        Ok(()) => {
            println!("demo: all checksums and guids are equal");
            ExitCode::SUCCESS
        }
        Err(error) => {
            report.failure(&*error);
            ExitCode::FAILURE
        }
    }
}

fn run(report: &mut Report, keep: bool) -> Result<()> {
    report.step("connect");
    let zfs = Native::open()?;
    report.line(
        "the ZFS kernel module answers",
        format!("OpenZFS {}", zfs.module_version()?),
    );
    report.step("pools");
    let mut world = World::create(keep)?;
    let online = zfs
        .pools()?
        .iter()
        .filter(|pool| [SOURCE, BACKUP].contains(&pool.name.as_str()))
        .count();
    report.line(
        format!("{SOURCE} and {BACKUP}, on files in {}", world::DIRECTORY),
        format!("{online} imported"),
    );
    report.step("data");
    for line in world.fill()? {
        report.line(line.text, mebibytes(line.bytes));
    }

    println!(
        "\nFrom here on zfs-safe works; the demo itself only changes files and computes checksums.\n"
    );
    let mut demo = Demo {
        zfs: &zfs,
        world: &world,
        compared: Vec::new(),
        bytes: 0,
    };
    let before = zfs.counters().now();
    demo.take_snapshots(report, "monday", &world::ALL)?;
    demo.hold(report)?;
    demo.send_everything(report)?;
    demo.forget_monday(report)?;
    demo.update(report)?;
    demo.interrupt_and_resume(report)?;
    demo.compare(report)?;
    report_cost(report, zfs.counters().now() - before, demo.bytes)
}

struct Demo<'a> {
    zfs: &'a Native,
    world: &'a World,
    /// Snapshots to compare, with what the source had in them.
    compared: Vec<Recorded>,
    /// Bytes of all streams.
    bytes: u64,
}

/// What was in a snapshot of the source when it was taken.
struct Recorded {
    material: Material,
    snapshot: &'static str,
    contents: Contents,
}

impl Demo<'_> {
    fn take_snapshots(
        &mut self,
        report: &mut Report,
        name: &'static str,
        of: &[Material],
    ) -> Result<()> {
        report.step("snapshot");
        let snapshots = of
            .iter()
            .map(|material| Ok(material.source()?.snapshot(name)?))
            .collect::<Result<Vec<_>>>()?;
        require(&self.zfs.snapshot(&snapshots, &[]))?;
        let mut txgs: Vec<Txg> = Vec::new();
        for snapshot in &snapshots {
            let versions = self
                .zfs
                .versions(&snapshot.dataset(), &VersionQuery::SNAPSHOTS)?;
            let taken = versions
                .into_iter()
                .find(|version| version.name.as_str() == snapshot.as_str());
            txgs.push(
                taken
                    .ok_or_else(|| format!("{snapshot} is not listed"))?
                    .createtxg,
            );
        }
        let [first, rest @ ..] = &txgs[..] else {
            return Err("nothing to take snapshots of".into());
        };
        if rest.iter().any(|txg| txg != first) {
            return Err(format!("snapshots of one call have different createtxg: {txgs:?}").into());
        }
        let names: Vec<_> = of.iter().map(|material| material.name).collect();
        report.line(
            format!("@{name} of {}, at one instant", names.join(", ")),
            format!("txg {first}"),
        );
        for &material in of {
            let contents = Contents::of(material, &material.source()?.snapshot(name)?)?;
            self.compared.push(Recorded {
                material,
                snapshot: name,
                contents,
            });
        }
        Ok(())
    }

    fn hold(&self, report: &mut Report) -> Result<()> {
        report.step("hold");
        let before = self.zfs.counters().now();
        require(&self.zfs.hold(&monday_holds()?))?;
        let waits = (self.zfs.counters().now() - before).txg_waits;
        report.line(
            "all three in one call: nobody can destroy them now",
            counted(waits, "txg wait"),
        );
        let held = DOCUMENTS.source()?.snapshot("monday")?;
        match &self.zfs.destroy_snapshots(&[held])[..] {
            [Outcome::Failed(error)] if matches!(&error.reason, Reason::Held(_)) => {
                report.line(
                    format!("  trying to destroy one: {}", error.reason),
                    "refused",
                );
                Ok(())
            }
            other => Err(format!("destroying a held snapshot gave {other:?}").into()),
        }
    }

    /// Full streams of all three. The encrypted one goes as it is on disk: no key is needed on either side.
    fn send_everything(&mut self, report: &mut Report) -> Result<()> {
        report.step("estimate");
        for material in world::ALL {
            let estimate = self.zfs.estimate(&full(material, "monday")?)?;
            report.line(
                format!("{}@monday would take", material.name),
                mebibytes(estimate),
            );
        }
        report.step("send");
        for material in world::ALL {
            let sent = self.replicate(material, "monday", &full(material, "monday")?)?;
            report.line(
                format!("{}@monday, {}", material.name, form("full", material)),
                figure(&sent),
            );
        }
        let status = self.property(&SECRET.backup()?, "keystatus")?;
        report.line(
            format!(
                "  {}: its key was not needed, and in {BACKUP} it is",
                SECRET.name
            ),
            status,
        );
        Ok(())
    }

    /// Leaves only bookmarks of what was sent: all that the source needs for the next update.
    fn forget_monday(&self, report: &mut Report) -> Result<()> {
        report.step("bookmark");
        let before = self.zfs.counters().now();
        let requests = world::ALL
            .iter()
            .map(|material| {
                let source = VersionName::from(material.source()?.snapshot("monday")?);
                Ok(BookmarkRequest {
                    bookmark: monday(*material)?,
                    source,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        require(&self.zfs.bookmark(&requests))?;
        require(&self.zfs.release(&monday_holds()?))?;
        let snapshots: Vec<_> = monday_holds()?
            .into_iter()
            .map(|hold| hold.snapshot)
            .collect();
        require(&self.zfs.destroy_snapshots(&snapshots))?;
        let waits = (self.zfs.counters().now() - before).txg_waits;
        report.line(
            "#monday of all three, holds released, @monday destroyed",
            counted(waits, "txg wait"),
        );
        Ok(())
    }

    /// Incremental streams from the bookmarks.
    fn update(&mut self, report: &mut Report) -> Result<()> {
        report.step("change");
        let change = self.world.change()?;
        report.line(change.text, mebibytes(change.bytes));
        self.take_snapshots(report, "tuesday", &world::ALL)?;
        report.step("update");
        for material in world::ALL {
            let send = incremental(material, monday(material)?.into(), "tuesday")?;
            let sent = self.replicate(material, "tuesday", &send)?;
            report.line(
                format!(
                    "{} from #monday to @tuesday, {}",
                    material.name,
                    form("incremental", material)
                ),
                figure(&sent),
            );
        }
        Ok(())
    }

    fn interrupt_and_resume(&mut self, report: &mut Report) -> Result<()> {
        report.step("change");
        let change = world::grow()?;
        report.line(change.text, mebibytes(change.bytes));
        self.take_snapshots(report, "wednesday", &[DOCUMENTS])?;
        let tuesday = DOCUMENTS.source()?.snapshot("tuesday")?;
        let send = incremental(DOCUMENTS, tuesday.into(), "wednesday")?;
        let target = DOCUMENTS.backup()?.snapshot("wednesday")?;

        report.step("interrupt");
        let estimate = self.zfs.estimate(&send)?;
        let cut = transfer(self.zfs, &send, &target, Some(estimate / 2))?;
        self.bytes += cut.bytes;
        if cut.complete {
            return Err("the stream was over before it could be cut".into());
        }
        report.line("estimate of the whole stream", mebibytes(estimate));
        report.line(
            format!("{}@wednesday, cut off in the middle", DOCUMENTS.name),
            figure(&cut),
        );

        report.step("token");
        let text = self.property(&target.dataset(), "receive_resume_token")?;
        let token = ResumeToken::decode(&text)?;
        if token.to_guid != guid(self.zfs, &send.snapshot.dataset(), "wednesday")? {
            return Err(format!("the token is for another snapshot: {token:?}").into());
        }
        let start = text.get(..36).unwrap_or(&text);
        report.line(
            format!("{start}…, decoded:"),
            format!("{} characters", text.len()),
        );
        report.line("  snapshot, whose guid is right", &token.to_name);
        report.line(
            "  the receiver goes on at",
            format!("object {}, byte {}", token.object, token.offset),
        );
        report.line("  of the stream it has kept", mebibytes(token.bytes));

        report.step("resume");
        let rest = SendArgs {
            resume: Some(token),
            ..send
        };
        let left = self.zfs.estimate(&rest)?;
        report.line("estimate of the rest", mebibytes(left));
        let resumed = self.replicate(DOCUMENTS, "wednesday", &rest)?;
        report.line("sent and received to the end", figure(&resumed));
        if resumed.bytes >= estimate {
            return Err(format!(
                "the rest has {} bytes, more than the whole stream ({estimate})",
                resumed.bytes
            )
            .into());
        }
        Ok(())
    }

    fn compare(&self, report: &mut Report) -> Result<()> {
        report.step("compare");
        report.line(Comparison::header(), "");
        let mut different = 0;
        for recorded in &self.compared {
            let comparison = Comparison::make(self.zfs, recorded)?;
            let [source, backup] = comparison.lines();
            report.line(source, "");
            let verdict = if comparison.is_equal() {
                "equal"
            } else {
                "DIFFERENT"
            };
            report.line(backup, verdict);
            different += usize::from(!comparison.is_equal());
        }
        if different == 0 {
            Ok(())
        } else {
            Err(format!("{different} snapshots are different").into())
        }
    }

    fn replicate(
        &mut self,
        material: Material,
        snapshot: &str,
        send: &SendArgs,
    ) -> Result<Transferred> {
        let sent = transfer(
            self.zfs,
            send,
            &material.backup()?.snapshot(snapshot)?,
            None,
        )?;
        self.bytes += sent.bytes;
        Ok(sent)
    }

    fn property(&self, dataset: &DatasetPath, name: &str) -> Result<String> {
        let wanted: PropertyName = name.parse()?;
        let properties = self
            .zfs
            .properties(&EntityName::from(dataset.clone()), &[wanted])?;
        let value = properties.into_iter().next().map(|property| property.value);
        Ok(value.ok_or_else(|| format!("{dataset} has no {name}"))?)
    }
}

fn report_cost(report: &mut Report, cost: Counts, bytes: u64) -> Result<()> {
    report.step("cost");
    report.line("bytes moved from pool to pool", mebibytes(bytes));
    report.line("ioctls", cost.ioctls.to_string());
    report.line("transaction groups waited for", cost.txg_waits.to_string());
    report.line("processes started by zfs-safe", cost.processes.to_string());
    println!();
    if cost.processes == 0 {
        Ok(())
    } else {
        Err("zfs-safe has started processes".into())
    }
}

fn full(material: Material, snapshot: &str) -> Result<SendArgs> {
    let snapshot: SnapshotName = material.source()?.snapshot(snapshot)?;
    let flags = SendFlags {
        raw: material.encrypted,
        ..SendFlags::default()
    };
    Ok(SendArgs {
        snapshot,
        base: None,
        flags,
        resume: None,
    })
}

fn incremental(material: Material, base: VersionName, snapshot: &str) -> Result<SendArgs> {
    Ok(SendArgs {
        base: Some(base),
        ..full(material, snapshot)?
    })
}

fn monday_holds() -> Result<Vec<HoldRequest>> {
    let tag = HoldTag::new("zrepl_demo")?;
    let request = |material: &Material| {
        Ok(HoldRequest {
            snapshot: material.source()?.snapshot("monday")?,
            tag: tag.clone(),
        })
    };
    world::ALL.iter().map(request).collect()
}

fn monday(material: Material) -> Result<BookmarkName> {
    Ok(material.source()?.bookmark("monday")?)
}

/// The first failure of a batch.
fn require(outcomes: &[Outcome]) -> Result<()> {
    match outcomes.iter().find(|outcome| !outcome.is_done()) {
        None => Ok(()),
        Some(Outcome::Failed(error)) => Err(error.clone().into()),
        Some(other) => Err(format!("unexpected outcome: {other:?}").into()),
    }
}

fn form(kind: &str, material: Material) -> String {
    let encrypted = if material.encrypted { ", raw" } else { "" };
    format!("{kind}{encrypted}")
}

fn figure(transferred: &Transferred) -> String {
    format!(
        "{} in {}",
        mebibytes(transferred.bytes),
        milliseconds(transferred.took)
    )
}

fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
