//! A virtual machine room: a dataset whose snapshots are taken when the schedule says so, sides it is replicated to, and
//! retention after each round, held against the slow model.

use std::collections::HashSet;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use zfs_safe::guid::Guid;
use zfs_safe::name::DatasetPath;
use zfs_safe::version::Txg;
use zrepl_daemon::config::snapshotting::Snapshotting;
use zrepl_daemon::prune::grid::Keep;
use zrepl_daemon::prune::{self, Rule};
use zrepl_daemon::snapshot::cron::Cron;
use zrepl_daemon::snapshot::naming::SnapshotNaming;
use zrepl_daemon::snapshot::next::Next;
use zrepl_daemon::snapshot::periodic::{Newest, NewestSnapshot, Periodic};

use super::naive;

/// A snapshot that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) name: String,
    pub(super) number: u64,
    pub(super) creation: i64,
}

/// What happens to the machine.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// The daemon ends, and another begins later.
    Restart { down: SignedDuration },
    /// The machine sleeps.
    Sleep { length: SignedDuration },
    /// The clock is set.
    Step { by: SignedDuration },
    /// The other sides can be reached, or not.
    Reachable(bool),
}

/// The same numbers for each run.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i64::try_from(self.0 >> 2).expect("two bits less") % limit
    }
}

/// A dataset on one side.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) snapshots: Vec<Snapshot>,
    pub(super) most: usize,
}

/// A side that is replicated to.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) side: Side,
    keep_sender: Vec<Rule>,
    keep: Vec<Rule>,
    pub(super) cursor: Option<u64>,
}

/// The room.
pub(super) struct World {
    pub(super) now: Timestamp,
    timing: Snapshotting,
    machine: Machine,
    pub(super) sender: Side,
    /// Of a snap job.
    pub(super) keep: Option<Vec<Rule>>,
    pub(super) receivers: Vec<Receiver>,
    pub(super) reachable: bool,
    /// In how many rounds the job is busy with what follows the first of them.
    pub(super) busy: u64,
    names: HashSet<String>,
    pub(super) rounds: u64,
    pub(super) clashes: u64,
}

enum Machine {
    Periodic(Periodic),
    Cron(Cron),
}

impl Machine {
    fn start(timing: &Snapshotting) -> Self {
        match timing {
            Snapshotting::Periodic(it) => Self::Periodic(Periodic::new(it.interval)),
            Snapshotting::Cron(it) => Self::Cron(Cron::new(it.cron.clone(), TimeZone::UTC)),
            Snapshotting::Manual(_) => panic!("nothing happens"),
        }
    }
}

impl World {
    pub(super) fn new(
        now: Timestamp,
        timing: &Snapshotting,
        keep: Option<Vec<Rule>>,
        receivers: Vec<(Vec<Rule>, Vec<Rule>)>,
    ) -> Self {
        let receivers = receivers.into_iter();
        Self {
            now,
            timing: timing.clone(),
            machine: Machine::start(timing),
            sender: Side::default(),
            keep,
            receivers: receivers
                .map(|(keep_sender, keep)| Receiver {
                    side: Side::default(),
                    keep_sender,
                    keep,
                    cursor: None,
                })
                .collect(),
            reachable: true,
            busy: 1,
            names: HashSet::new(),
            rounds: 0,
            clashes: 0,
        }
    }

    /// Lets time pass until `end`; `events` are in order.
    pub(super) fn run(
        &mut self,
        end: Timestamp,
        events: &mut std::iter::Peekable<impl Iterator<Item = (Timestamp, Event)>>,
    ) {
        while self.now < end {
            let next = match &mut self.machine {
                Machine::Periodic(periodic) => periodic.next(self.now),
                Machine::Cron(cron) => cron.next(self.now),
            };
            match next {
                Next::ListSnapshots => self.list(),
                Next::SnapshotNow(_) => self.round(),
                Next::WaitUntil { at, .. } => {
                    match events.next_if(|(event, _)| *event <= at.min(end)) {
                        Some((time, event)) => {
                            self.now = self.now.max(time);
                            self.happen(event);
                        }
                        None => self.now = at.min(end),
                    }
                }
                Next::Skip | Next::Wait => panic!("rounds take no time"),
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Restart { down } => {
                self.now += down;
                self.machine = Machine::start(&self.timing);
            }
            Event::Sleep { length } => self.now += length,
            Event::Step { by } => self.now += by,
            Event::Reachable(reachable) => self.reachable = reachable,
        }
    }

    fn naming(&self) -> &SnapshotNaming {
        match &self.timing {
            Snapshotting::Periodic(it) => &it.naming,
            Snapshotting::Cron(it) => &it.naming,
            Snapshotting::Manual(_) => panic!("nothing happens"),
        }
    }

    fn list(&mut self) {
        let newest = self.sender.snapshots.last().map(|snapshot| NewestSnapshot {
            name: snapshot.name.clone(),
            creation: Timestamp::from_second(snapshot.creation).expect("in range"),
        });
        let newest = Newest {
            filesystem: DatasetPath::new("p").expect("a path"),
            snapshot: Ok(newest),
        };
        if let Machine::Periodic(periodic) = &mut self.machine {
            // The error is part of the state.
            let _ = periodic.listed(self.now, &[newest]);
        }
    }

    fn round(&mut self) {
        match &mut self.machine {
            Machine::Periodic(periodic) => periodic.begin(self.now),
            Machine::Cron(cron) => cron.begin(self.now),
        }
        self.rounds += 1;
        assert!(self.rounds < 200_000, "no burst");
        let name = self.naming().name_at(self.now);
        let exists =
            self.names.contains(&name) && self.sender.snapshots.iter().any(|it| it.name == name);
        if exists {
            self.clashes += 1;
        } else {
            self.names.insert(name.clone());
            self.sender.snapshots.push(Snapshot {
                name,
                number: self.rounds,
                creation: self.now.as_second(),
            });
        }
        let result = if exists {
            Err("dataset already exists".to_owned())
        } else {
            Ok(())
        };
        match &mut self.machine {
            Machine::Periodic(periodic) => periodic.ended(result),
            Machine::Cron(cron) => cron.ended(result),
        }
        let sender = &mut self.sender;
        sender.most = sender.most.max(sender.snapshots.len());
        if self.rounds.is_multiple_of(self.busy) {
            self.prune();
        }
        // A round, and what follows, takes a moment.
        self.now += SignedDuration::from_millis(3);
    }

    /// Local retention, then each receiver in its turn.
    fn prune(&mut self) {
        if let Some(rules) = &self.keep {
            self.sender.prune(rules, None);
        }
        for receiver in self.receivers.iter_mut().filter(|_| self.reachable) {
            let newest = receiver.side.snapshots.last().map_or(0, |it| it.number);
            let missing = self.sender.snapshots.iter();
            receiver
                .side
                .snapshots
                .extend(missing.filter(|it| it.number > newest).cloned());
            receiver.cursor = receiver.side.snapshots.last().map(|it| it.number);
            self.sender.prune(&receiver.keep_sender, receiver.cursor);
            receiver.side.prune(&receiver.keep, receiver.cursor);
        }
    }

    /// No name was given twice.
    pub(super) fn names_are_unique(&self) -> bool {
        self.clashes == 0 && self.names.len() as u64 == self.rounds
    }
}

impl Side {
    /// Destroys what no rule keeps; nothing else, and all of it.
    fn prune(&mut self, rules: &[Rule], cursor: Option<u64>) {
        let mut facts: Vec<prune::Snapshot<'_>> = self
            .snapshots
            .iter()
            .map(|it| prune::Snapshot {
                name: &it.name,
                guid: Guid::new(it.number),
                createtxg: Txg::new(it.number),
                creation: it.creation,
                replicated: false,
            })
            .collect();
        // What the other side has, by the order in which snapshots were taken.
        let mut slow_facts = facts.clone();
        let at_cursor_goes = rules.iter().any(|rule| {
            matches!(rule, Rule::NotReplicated { keep_snapshot_at_cursor } if !keep_snapshot_at_cursor)
        });
        let cursor_is_there = self.snapshots.iter().any(|it| Some(it.number) == cursor);
        for (fact, snapshot) in slow_facts.iter_mut().zip(&self.snapshots) {
            fact.replicated = cursor_is_there
                && cursor.is_some_and(|cursor| {
                    snapshot.number < cursor || at_cursor_goes && snapshot.number == cursor
                });
        }
        if let Some(cursor) = cursor {
            let including = prune::cursor_counts_as_replicated(rules);
            prune::mark_replicated(&mut facts, Guid::new(cursor), including);
        }
        let kept = naive::kept(rules, &slow_facts);
        let plan = prune::evaluate(rules, &facts);
        for ((snapshot, verdict), kept) in facts.iter().zip(plan.verdicts()).zip(&kept) {
            assert_eq!(verdict.is_kept(), *kept, "{snapshot:?} by {rules:?}");
        }
        let mut destroyed = plan.destroyed().peekable();
        let mut index = 0..;
        self.snapshots.retain(|_| {
            destroyed
                .next_if_eq(&index.next().expect("endless"))
                .is_none()
        });
        self.most = self.most.max(self.snapshots.len());
    }

    /// Ages of the snapshots in seconds, seen from the youngest, which comes first.
    pub(super) fn ages(&self) -> Vec<i64> {
        let creations = self.snapshots.iter().map(|it| it.creation);
        let youngest = creations.clone().max().unwrap_or_default();
        let mut ages: Vec<i64> = creations.map(|creation| youngest - creation).collect();
        ages.sort_unstable();
        ages
    }
}

/// How many snapshots taken at least `apart` seconds from each other the rules can keep; nothing if there is no limit.
/// `not_replicated` counts for `unreplicated`.
pub(super) fn limit(rules: &[Rule], apart: u64, unreplicated: u64) -> Option<u64> {
    rules
        .iter()
        .map(|rule| match rule {
            Rule::Grid { grid, .. } => Some(
                grid.intervals()
                    .iter()
                    .map(|interval| {
                        let repeat = u64::from(interval.repeat());
                        match interval.keep() {
                            Keep::All => {
                                repeat * interval.length().duration().as_secs() / apart + 1
                            }
                            Keep::Oldest(count) => repeat * count as u64,
                        }
                    })
                    .sum(),
            ),
            Rule::LastN { count, .. } => Some(count.get() as u64),
            Rule::NotReplicated { .. } => Some(unreplicated),
            // What others have taken.
            Rule::Regex { negate: true, .. } => Some(0),
            Rule::Regex { negate: false, .. } => None,
        })
        .sum()
}
