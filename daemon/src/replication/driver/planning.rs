//! Planning one filesystem: what both sides list, the plan that follows from it, and the sender's estimate of each step's size.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tracing::Instrument as _;
use zfs_safe::name::DatasetPath;
use zrepl_proto::pdu::{
    FilesystemVersion, GuaranteeKind, ListFilesystemVersionsReq, Protection, SendCompletedReq,
    VersionType,
};

use super::failure::Failure;
use super::memory::{BothVersions, Remembered};
use super::{SUBSYSTEM, Settings, Sides};
use crate::causes::chain;
use crate::endpoint::mark::MarkKind;
use crate::endpoint::mark::name::{BookmarkMeaning, parse_bookmark};
use crate::endpoint::{Endpoint, EndpointError};
use crate::replication::attempt::{Stage, TokenProgress, classify, continue_plan};
use crate::replication::plan::{self, Facts, Pair, Policy, Reason, Side, Steps};
use crate::replication::resume::{RefusedToken, Unusable};
use crate::replication::step::Step;

/// Plans filesystems, all of one attempt.
#[derive(Debug)]
pub(super) struct Planner {
    sides: Sides,
    policy: Policy,
    protection: Protection,
    estimates: Arc<Semaphore>,
    /// Nobody hears of what has arrived in an earlier run.
    is_silent: bool,
}

/// What became of planning a filesystem.
#[derive(Debug)]
pub(super) struct Planning {
    /// The steps, or why there are none.
    pub(super) outcome: Result<Planned, Failure>,
    /// Does the receiver have a snapshot of it, as far as is known?
    pub(super) is_on_receiver: bool,
    /// What both sides have listed and since when, if nothing is to be done.
    pub(super) unchanged: Option<(Instant, BothVersions)>,
}

/// The steps of a filesystem, and what was found out on the way.
#[derive(Debug)]
pub(super) struct Planned {
    /// In order.
    pub(super) steps: Vec<Step>,
    /// The estimate for each of them, in bytes; zero if there is none.
    pub(super) sizes: Vec<u64>,
    /// Why these steps.
    pub(super) reason: Reason,
    /// Why the receiver's token is not used, if it is not.
    pub(super) discarded_token: Option<Unusable>,
    /// A token that the sender refused.
    pub(super) refused: Option<RefusedToken>,
    /// What both sides would be told has arrived, by a planner that tells nobody.
    pub(super) to_confirm: Option<Step>,
}

/// Why there is no plan, and the token at which it failed, if it was one.
struct Stopped {
    failure: Failure,
    refused: Option<RefusedToken>,
}

impl Planner {
    pub(super) fn new(sides: Sides, settings: &Settings) -> Self {
        // No daemon gets there, but the semaphore would panic.
        let estimates = settings.size_estimates.get().min(Semaphore::MAX_PERMITS);
        Self {
            sides,
            policy: settings.policy,
            protection: settings.protection,
            estimates: Arc::new(Semaphore::new(estimates)),
            is_silent: false,
        }
    }

    /// One that only wants to know.
    pub(super) fn that_tells_nobody(sides: Sides, settings: &Settings) -> Self {
        Self {
            is_silent: true,
            ..Self::new(sides, settings)
        }
    }

    /// Plans one filesystem, not beyond what the attempt before left undone.
    pub(super) async fn plan(
        &self,
        pair: Pair,
        remembered: Remembered,
        uncompleted: &[Step],
    ) -> Planning {
        let filesystem = &pair.filesystem;
        let begun = Instant::now();
        let (sender, receiver) = tokio::join!(
            list(
                &*self.sides.sender,
                filesystem,
                pair.needs_sender_versions()
            ),
            list(
                &*self.sides.receiver,
                filesystem,
                pair.needs_receiver_versions()
            ),
        );
        let is_on_receiver = receiver.as_ref().is_ok_and(|it| has_snapshots(it));
        let cannot = |side| move |error| Failure::asking(side, "list its versions", &error);
        let is_listed = pair.needs_sender_versions() && pair.needs_receiver_versions();
        let mut listed = None;
        let outcome = match (
            sender.map_err(cannot(Side::Sender)),
            receiver.map_err(cannot(Side::Receiver)),
        ) {
            (Ok(sender), Ok(receiver)) => {
                listed = is_listed.then(|| (begun, (sender.clone(), receiver.clone())));
                let facts = Facts {
                    pair,
                    sender,
                    receiver,
                    refused: remembered.refused,
                };
                self.decide(facts, remembered.arrived.as_ref(), uncompleted)
                    .await
            }
            (Err(failure), _) | (_, Err(failure)) => Err(failure),
        };
        let has_steps = |planned: &Planned| !planned.steps.is_empty();
        Planning {
            unchanged: listed.filter(|_| !outcome.as_ref().map_or(true, has_steps)),
            outcome,
            is_on_receiver,
        }
    }

    /// If the sender refuses the receiver's token, the filesystem is planned once more without it. If that is of no use either,
    /// it was not the token's fault, and nothing is held against it.
    async fn decide(
        &self,
        facts: Facts,
        arrived: Option<&Step>,
        uncompleted: &[Step],
    ) -> Result<Planned, Failure> {
        let filesystem = facts.pair.filesystem.clone();
        let confirmed = cursors(&facts.sender);
        let receiver = facts.pair.receiver.as_ref();
        let has_token = receiver.is_some_and(|it| it.resume_token.is_some());
        let spare = has_token.then(|| facts.clone());
        let mut result = self.try_plan(facts, uncompleted).await;
        if let (
            Err(Stopped {
                refused: Some(refused),
                ..
            }),
            Some(mut facts),
        ) = (&result, spare)
        {
            let refused = refused.clone();
            facts.refused = Some(refused.clone());
            result = self.try_plan(facts, uncompleted).await;
            if let Ok(planned) = &mut result {
                planned.refused = Some(refused);
            }
        }
        let mut planned = result.map_err(|stopped| stopped.failure)?;
        let arrived = arrived.filter(|it| planned.is_based_on(it)).cloned();
        let arrived = arrived.or_else(|| planned.unconfirmed(&confirmed));
        if let Some(arrived) = arrived.filter(|_| self.moves_cursors()) {
            if self.is_silent {
                planned.to_confirm = Some(arrived);
            } else {
                self.catch_up(&filesystem, &arrived).await?;
            }
        }
        Ok(planned)
    }

    /// Where nothing is promised for one kind of step, no cursor tells nothing.
    fn moves_cursors(&self) -> bool {
        let Protection {
            initial,
            incremental,
        } = self.protection;
        initial != GuaranteeKind::Nothing && incremental != GuaranteeKind::Nothing
    }

    async fn try_plan(&self, facts: Facts, uncompleted: &[Step]) -> Result<Planned, Stopped> {
        let plan = plan::plan(facts, self.policy);
        let Steps { steps, reason } = plan.outcome.map_err(|error| Stopped {
            failure: Failure::from(&error),
            refused: None,
        })?;
        let steps = continue_plan(uncompleted, steps);
        let sizes = self.estimate(&plan.filesystem, &steps).await?;
        Ok(Planned {
            steps,
            sizes,
            reason,
            discarded_token: plan.discarded_token,
            refused: None,
            to_confirm: None,
        })
    }

    /// What the sender thinks of the size of each step. The first that fails is the error.
    async fn estimate(
        &self,
        filesystem: &DatasetPath,
        steps: &[Step],
    ) -> Result<Vec<u64>, Stopped> {
        let mut sizes = vec![0; steps.len()];
        let mut running = JoinSet::new();
        let mut collect = |joined: Result<(usize, Result<u64, EndpointError>), JoinError>| {
            let (position, size) = joined.map_err(|error| Stopped {
                failure: Failure::internal(&error.to_string()),
                refused: None,
            })?;
            sizes[position] = size.map_err(|error| refusal(&steps[position], &error))?;
            Ok(())
        };
        for (position, step) in steps.iter().enumerate() {
            // Steps do not queue up in memory: there may be tens of thousands.
            let permit = loop {
                tokio::select! {
                    biased;
                    Some(joined) = running.join_next() => collect(joined)?,
                    permit = Arc::clone(&self.estimates).acquire_owned() => break permit,
                }
            };
            let request = step.send_request(filesystem.as_str(), self.protection);
            let sender = Arc::clone(&self.sides.sender);
            let asking = async move {
                let size = sender.send_dry(request).await;
                drop(permit);
                (position, size.map(|it| it.expected_size))
            };
            running.spawn(asking.in_current_span());
        }
        while let Some(joined) = running.join_next().await {
            collect(joined)?;
        }
        Ok(sizes)
    }

    /// Tells both sides of a snapshot that arrived in an earlier attempt or run, without the sender having confirmed that it knows:
    /// first the receiver, which may have died before it marked what had arrived (a zrepl 0.7.0 does nothing then), then the
    /// sender. A side that does not want to know is none the worse off: the next step tells it more.
    async fn catch_up(&self, filesystem: &DatasetPath, arrived: &Step) -> Result<(), Failure> {
        let Sides { sender, receiver } = &self.sides;
        for (side, endpoint) in [(Side::Receiver, receiver), (Side::Sender, sender)] {
            let request = arrived.send_request(filesystem.as_str(), self.protection);
            let told = endpoint.send_completed(SendCompletedReq::new(request));
            match told.await {
                Ok(_) => {}
                Err(error) if error.is_temporary() => {
                    let what = format!("be told that {} has arrived", arrived.to);
                    return Err(Failure::asking(side, &what, &error));
                }
                Err(error) => {
                    let err = chain(&error);
                    tracing::warn!(subsystem = SUBSYSTEM, %filesystem, step = %arrived.to, %err, "{side} cannot be told what has arrived, leaving it to the next step");
                }
            }
        }
        Ok(())
    }
}

impl Planned {
    /// Is the receiver's newest snapshot the one that this step has brought?
    fn is_based_on(&self, arrived: &Step) -> bool {
        let base = match &self.reason {
            Reason::Incremental { base: latest } | Reason::UpToDate { latest } => Some(latest),
            Reason::Resumed { .. } => self.steps.first().and_then(|it| it.from.as_ref()),
            Reason::Initial { .. } | Reason::Placeholder => None,
        };
        base.is_some_and(|it| it.guid() == arrived.to.guid())
    }
}

impl Planned {
    /// The snapshot that both sides have as their newest, if the sender has no cursor there: whoever was to tell it that the snapshot
    /// has arrived died before. Nothing would tell it otherwise until the next snapshot is taken.
    fn unconfirmed(&self, confirmed: &HashSet<u64>) -> Option<Step> {
        let Reason::UpToDate { latest } = &self.reason else {
            return None;
        };
        let is_known = !latest.is_snapshot() || confirmed.contains(&latest.guid().get());
        (!is_known).then(|| Step {
            from: None,
            to: latest.clone(),
            resume_token: None,
        })
    }
}

/// The guids that the sender's cursors are at, of whichever job: what it calls itself is not known here.
fn cursors(sender: &[FilesystemVersion]) -> HashSet<u64> {
    let cursor = |version: &FilesystemVersion| match parse_bookmark(&version.name)? {
        BookmarkMeaning::Mark {
            kind: MarkKind::Cursor,
            guid,
            ..
        } if guid.get() == version.guid => Some(version.guid),
        BookmarkMeaning::Mark { .. } | BookmarkMeaning::LegacyCursor => None,
    };
    let is_bookmark = |it: &&FilesystemVersion| it.version_type() == Ok(VersionType::Bookmark);
    sender
        .iter()
        .filter(is_bookmark)
        .filter_map(cursor)
        .collect()
}

fn refusal(step: &Step, error: &EndpointError) -> Stopped {
    let (class, refused) = classify(step, Stage::Estimate, error, TokenProgress::default());
    Stopped {
        failure: Failure::step(Stage::Estimate, step, class, error),
        refused,
    }
}

async fn list(
    side: &dyn Endpoint,
    filesystem: &DatasetPath,
    is_needed: bool,
) -> Result<Vec<FilesystemVersion>, EndpointError> {
    if !is_needed {
        return Ok(Vec::new());
    }
    let request = ListFilesystemVersionsReq {
        filesystem: filesystem.as_str().to_owned(),
    };
    Ok(side.list_filesystem_versions(request).await?.versions)
}

fn has_snapshots(versions: &[FilesystemVersion]) -> bool {
    let is_snapshot = |it: &FilesystemVersion| it.version_type() == Ok(VersionType::Snapshot);
    versions.iter().any(is_snapshot)
}
