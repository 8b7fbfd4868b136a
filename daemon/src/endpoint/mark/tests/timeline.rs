//! A model of both sides of a replication: rounds run, are killed between any two changes, and meanwhile snapshots are destroyed that
//! nothing protects. Whatever happens, the next step can start from the receiver's newest snapshot, marks of others stay, and a round
//! that runs to its end leaves the marks it should and no others.

use std::collections::BTreeSet;

use proptest::prelude::*;
use zrepl_proto::pdu::GuaranteeKind;

use super::super::base::Base;
use super::super::guarantee::{Step, after_receive, after_send, before_send};
use super::super::stale::judge;
use super::*;

/// Why a round did not get to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Killed,
    Failed,
}

/// One filesystem.
#[derive(Clone, Debug)]
struct Side {
    dataset: &'static str,
    job: JobId,
    versions: Vec<FilesystemVersion>,
    holds: BTreeSet<HoldRequest>,
}

impl Side {
    fn new(dataset: &'static str, owner: &str) -> Self {
        Self {
            dataset,
            job: job(owner),
            versions: Vec::new(),
            holds: BTreeSet::new(),
        }
    }

    fn inventory(&self) -> Inventory {
        let tags = |version: &FilesystemVersion| -> Vec<&HoldTag> {
            let on_it = |hold: &&HoldRequest| hold.snapshot.as_str() == version.name.as_str();
            let holds = self.holds.iter().filter(on_it);
            holds.map(|hold| &hold.tag).collect()
        };
        Inventory::new(self.versions.iter().map(|version| (version, tags(version))))
    }

    fn has(&self, name: &str) -> bool {
        self.versions
            .iter()
            .any(|version| version.name.as_str() == name)
    }

    fn snapshots(&self) -> impl DoubleEndedIterator<Item = &FilesystemVersion> {
        self.versions.iter().filter(|version| version.is_snapshot())
    }

    /// Prefers a snapshot, as the planner does.
    fn with_guid(&self, guid: Guid) -> Option<&FilesystemVersion> {
        let has_guid = |version: &&FilesystemVersion| version.guid == guid;
        self.snapshots()
            .find(has_guid)
            .or_else(|| self.versions.iter().find(has_guid))
    }

    fn take(&mut self, guid: u64, createtxg: u64) -> FilesystemVersion {
        let taken = version_at(&format!("{}@{guid}", self.dataset), guid, createtxg);
        self.versions.push(taken.clone());
        taken
    }

    fn is_held(&self, version: &FilesystemVersion) -> bool {
        let on_it = |hold: &HoldRequest| hold.snapshot.as_str() == version.name.as_str();
        self.holds.iter().any(on_it)
    }

    fn destroy(&mut self, name: &VersionName) {
        self.versions.retain(|version| &version.name != name);
    }

    fn apply(&mut self, change: Change) -> Result<(), Stop> {
        match change {
            Change::Hold(hold) => {
                if !self.has(hold.snapshot.as_str()) {
                    return Err(Stop::Failed);
                }
                self.holds.insert(hold);
            }
            Change::Release(hold) => {
                self.holds.remove(&hold);
            }
            Change::Bookmark(request) => {
                let source = self
                    .versions
                    .iter()
                    .find(|version| version.name == request.source);
                let mut made = source.ok_or(Stop::Failed)?.clone();
                if !self.has(request.bookmark.as_str()) {
                    made.name = request.bookmark.into();
                    self.versions.push(made);
                }
            }
            Change::DestroyBookmark(bookmark) => self.destroy(&bookmark.into()),
        }
        Ok(())
    }

    fn own_marks(&self) -> Vec<(MarkKind, Guid)> {
        let inventory = self.inventory();
        let marks = inventory.of_job(&self.job);
        marks.map(|mark| (mark.kind(), mark.guid())).collect()
    }

    fn marks_of_others(&self) -> Vec<Mark> {
        let inventory = self.inventory();
        let marks = inventory.marks().iter();
        marks
            .filter(|mark| mark.job() != &self.job)
            .cloned()
            .collect()
    }
}

/// Who destroys what nothing protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Destroyer {
    /// An administrator destroys any snapshot on the sender that is not held, and any bookmark that is not a mark.
    Administrator,
    /// Our pruners, whose rules keep nothing.
    Pruner,
}

/// A round as it is going to happen.
#[derive(Clone, Debug)]
struct Round {
    snapshots_taken: usize,
    promise: GuaranteeKind,
    /// After how many changes the process is killed.
    killed_after: Option<usize>,
    /// Whether a stream breaks half-way, which the receiver can then resume.
    breaks: bool,
    destroys: Vec<(u8, usize)>,
}

#[derive(Clone, Debug)]
struct World {
    txg: u64,
    sender: Side,
    receiver: Side,
    partial: Option<(Option<Guid>, Guid)>,
    destroyer: Destroyer,
    /// The rest of this round.
    changes_left: Option<usize>,
    destroys: Vec<(u8, usize)>,
}

impl World {
    fn new(destroyer: Destroyer) -> Self {
        Self {
            txg: 0,
            sender: Side::new("src/a", "push_job"),
            receiver: Side::new("dst/a", "sink_job"),
            partial: None,
            destroyer,
            changes_left: None,
            destroys: Vec::new(),
        }
    }

    fn take_snapshot(&mut self) -> FilesystemVersion {
        self.txg += 1;
        self.sender.take(self.txg, self.txg)
    }

    /// Something else happens, and perhaps we are killed.
    fn moment(&mut self) -> Result<(), Stop> {
        if let Some((what, which)) = self.destroys.pop() {
            self.destroy_something(what, which);
        }
        self.check_base();
        match &mut self.changes_left {
            Some(0) => return Err(Stop::Killed),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(())
    }

    fn base(&self) -> Base {
        let inventory = self.sender.inventory();
        let cursors = inventory.of_job(&self.sender.job);
        let cursor = cursors
            .filter(|mark| mark.kind() == MarkKind::Cursor)
            .max_by_key(|mark| mark.createtxg());
        Base::find(
            cursor.map(Mark::guid),
            self.sender
                .versions
                .iter()
                .map(|version| (version.guid, version.createtxg)),
            self.receiver
                .snapshots()
                .map(|snapshot| (snapshot.guid, snapshot.createtxg)),
        )
    }

    fn destroy_something(&mut self, what: u8, which: usize) {
        let base = self.base();
        let pick = |candidates: Vec<&FilesystemVersion>| {
            let name = |index: usize| candidates[index % candidates.len()].name.clone();
            (!candidates.is_empty()).then(|| name(which))
        };
        let destroyer = self.destroyer;
        match what % 4 {
            0 | 1 => {
                let may_go = |it: &&FilesystemVersion| {
                    !self.sender.is_held(it)
                        && (destroyer == Destroyer::Administrator
                            || base.kept_on_sender() != Some(it.guid))
                };
                if let Some(name) = pick(self.sender.snapshots().filter(may_go).collect()) {
                    self.sender.destroy(&name);
                }
            }
            2 => {
                let may_go = |it: &&FilesystemVersion| {
                    !self.receiver.is_held(it) && base.kept_on_receiver() != Some(it.guid)
                };
                if let Some(name) = pick(self.receiver.snapshots().filter(may_go).collect()) {
                    self.receiver.destroy(&name);
                }
            }
            _ => self.bookmark_of_a_user(which),
        }
    }

    /// Makes a bookmark that is no mark, or destroys it.
    fn bookmark_of_a_user(&mut self, which: usize) {
        let name = BookmarkName::new(format!("{}#mine", self.sender.dataset)).expect("valid");
        if self.sender.has(name.as_str()) {
            if self.destroyer == Destroyer::Administrator {
                self.sender.destroy(&name.into());
            }
        } else {
            let snapshots: Vec<_> = self.sender.snapshots().cloned().collect();
            if let Some(VersionName::Snapshot(source)) = snapshots
                .get(which % snapshots.len().max(1))
                .map(|snapshot| snapshot.name.clone())
            {
                let request = BookmarkRequest {
                    bookmark: name,
                    source: source.into(),
                };
                self.sender.apply(Change::Bookmark(request)).expect("there");
            }
        }
    }

    /// The next step can start from the receiver's newest snapshot.
    fn check_base(&self) {
        let newest = self.receiver.snapshots().max_by_key(|it| it.createtxg);
        if let Some(newest) = newest {
            assert!(
                self.sender.with_guid(newest.guid).is_some(),
                "the base is lost: {self:#?}"
            );
        }
    }

    fn change_sender(&mut self, changes: impl IntoIterator<Item = Change>) -> Result<(), Stop> {
        changes.into_iter().try_for_each(|change| {
            self.moment()?;
            self.sender.apply(change)
        })
    }

    fn change_receiver(&mut self, changes: impl IntoIterator<Item = Change>) -> Result<(), Stop> {
        changes.into_iter().try_for_each(|change| {
            self.moment()?;
            self.receiver.apply(change)
        })
    }

    fn run(&mut self, round: &Round) -> Result<(), Stop> {
        self.changes_left = round.killed_after;
        self.destroys.clone_from(&round.destroys);
        for _ in 0..round.snapshots_taken {
            self.take_snapshot();
        }
        self.remove_stale()?;
        let mut breaks = round.breaks;
        for _ in 0..100 {
            let Some((from, to)) = self.plan() else {
                return self.moment();
            };
            self.step(from.as_ref(), &to, round.promise, breaks)?;
            breaks = false;
        }
        panic!("steps without end: {self:#?}");
    }

    fn remove_stale(&mut self) -> Result<(), Stop> {
        let inventory = self.sender.inventory();
        self.change_sender(judge(&inventory, &self.sender.job.clone()).changes())?;
        let inventory = self.receiver.inventory();
        self.change_receiver(judge(&inventory, &self.receiver.job.clone()).changes())?;
        for side in [&self.sender, &self.receiver] {
            let inventory = side.inventory();
            let again = judge(&inventory, &side.job).changes().count();
            // What others destroyed meanwhile makes nothing stale.
            assert_eq!(again, 0, "{self:#?}");
        }
        Ok(())
    }

    fn plan(&mut self) -> Option<(Option<FilesystemVersion>, FilesystemVersion)> {
        if let Some((from, to)) = self.partial {
            let to = self.sender.with_guid(to).filter(|to| to.is_snapshot());
            let from = from.map(|guid| self.sender.with_guid(guid));
            if let (Some(to), None | Some(Some(_))) = (to, from) {
                return Some((from.flatten().cloned(), to.clone()));
            }
            self.partial = None;
        }
        let mut newer: Vec<_> = self.sender.snapshots().cloned().collect();
        newer.sort_by_key(|snapshot| snapshot.createtxg);
        let Some(newest) = self.receiver.snapshots().max_by_key(|it| it.createtxg) else {
            return newer.pop().map(|to| (None, to));
        };
        let from = self.sender.with_guid(newest.guid)?.clone();
        newer.retain(|to| to.createtxg > from.createtxg);
        let to = newer.into_iter().next()?;
        Some((Some(from), to))
    }

    fn step(
        &mut self,
        from: Option<&FilesystemVersion>,
        to: &FilesystemVersion,
        promise: GuaranteeKind,
        breaks: bool,
    ) -> Result<(), Stop> {
        let step = Step { from, to };
        let sender = self.sender.job.clone();
        let plan = before_send(step, promise, &sender, &self.sender.inventory()).expect("fits");
        self.change_sender(plan.changes())?;
        self.moment()?;
        let start_is_there = from.is_none_or(|from| self.sender.has(from.name.as_str()));
        if !start_is_there || !self.sender.has(to.name.as_str()) {
            return Err(Stop::Failed);
        }
        let newest = self.receiver.snapshots().max_by_key(|it| it.createtxg);
        if newest.map(|newest| newest.guid) != from.map(|from| from.guid) {
            self.partial = None;
            return Err(Stop::Failed);
        }
        if breaks {
            self.partial = Some((from.map(|from| from.guid), to.guid));
            return Err(Stop::Failed);
        }
        self.partial = None;
        self.txg += 1;
        let received = self.receiver.take(to.guid.get(), self.txg);
        let receiver = self.receiver.job.clone();
        let inventory = self.receiver.inventory();
        let plan = after_receive(&received, promise, &receiver, &inventory).expect("fits");
        self.change_receiver(plan.changes())?;
        // The answer travels; the sender looks whether both ends are still there.
        self.moment()?;
        if !self.sender.has(to.name.as_str()) {
            return Err(Stop::Failed);
        }
        let plan = after_send(step, promise, &sender, &self.sender.inventory()).expect("fits");
        self.change_sender(plan.changes())
    }

    /// A round that nothing disturbs.
    fn undisturbed(&mut self, promise: GuaranteeKind) -> Guid {
        let to = self.take_snapshot();
        let round = Round {
            snapshots_taken: 0,
            promise,
            killed_after: None,
            breaks: false,
            destroys: Vec::new(),
        };
        assert_eq!(self.run(&round), Ok(()), "{self:#?}");
        to.guid
    }

    /// Marks of another job that shares both filesystems.
    fn add_marks_of_others(&mut self) {
        let other = job("other");
        let snapshot = self.take_snapshot();
        let VersionName::Snapshot(name) = &snapshot.name else {
            panic!("a snapshot");
        };
        for kind in [
            MarkKind::StepHold,
            MarkKind::Cursor,
            MarkKind::TentativeCursor,
        ] {
            let mark = Mark::new(kind, &other, &snapshot).expect("fits");
            self.sender.apply(mark.creation(name)).expect("there");
        }
    }
}

fn rounds(
    promise: impl Strategy<Value = GuaranteeKind> + Clone,
) -> impl Strategy<Value = Vec<Round>> {
    let round = (
        0..3_usize,
        promise,
        prop::option::weighted(0.7, 0..14_usize),
        prop::bool::weighted(0.3),
        prop::collection::vec((any::<u8>(), 0..8_usize), 0..16),
    )
        .prop_map(
            |(snapshots_taken, promise, killed_after, breaks, destroys)| Round {
                snapshots_taken,
                promise,
                killed_after,
                breaks,
                destroys,
            },
        );
    prop::collection::vec(round, 1..10)
}

fn guaranteed() -> impl Strategy<Value = GuaranteeKind> + Clone {
    prop_oneof![
        Just(GuaranteeKind::Resumability),
        Just(GuaranteeKind::IncrementalReplication),
    ]
}

fn any_promise() -> impl Strategy<Value = GuaranteeKind> + Clone {
    prop_oneof![guaranteed(), Just(GuaranteeKind::Nothing)]
}

fn live(destroyer: Destroyer, with_others: bool, rounds: &[Round], last: GuaranteeKind) {
    let mut world = World::new(destroyer);
    if with_others {
        world.add_marks_of_others();
    }
    let others = world.sender.marks_of_others();
    for round in rounds {
        let _ = world.run(round);
        world.check_base();
    }
    let to = world.undisturbed(last);
    let (on_sender, on_receiver) = match last {
        GuaranteeKind::Nothing => (vec![], vec![]),
        _ => (
            vec![(MarkKind::Cursor, to)],
            vec![(MarkKind::LastReceivedHold, to)],
        ),
    };
    assert_eq!(world.sender.own_marks(), on_sender, "{world:#?}");
    assert_eq!(world.receiver.own_marks(), on_receiver, "{world:#?}");
    assert_eq!(world.sender.marks_of_others(), others);
    assert!(world.receiver.marks_of_others().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn with_guarantees_not_even_an_administrator_of_the_sender_loses_the_base(
        with_others in prop::bool::weighted(0.2),
        rounds in rounds(guaranteed()),
        last in any_promise(),
    ) {
        live(Destroyer::Administrator, with_others, &rounds, last);
    }

    #[test]
    fn without_guarantees_and_from_one_to_another_no_pruner_loses_the_base(
        rounds in rounds(any_promise()),
        last in any_promise(),
    ) {
        live(Destroyer::Pruner, false, &rounds, last);
    }

    #[test]
    fn where_nothing_is_guaranteed_no_pruner_loses_the_base(
        rounds in rounds(Just(GuaranteeKind::Nothing)),
    ) {
        live(Destroyer::Pruner, false, &rounds, GuaranteeKind::Nothing);
    }
}
