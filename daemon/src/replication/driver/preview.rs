//! What a run would do: both sides are asked as an attempt asks them, each filesystem is planned as an attempt plans it, and there it ends.
//! Nobody is told of anything, so nothing is changed.

use tokio::task::JoinSet;
use tracing::Instrument as _;
use zfs_safe::name::{DatasetPath, NameError};

use super::memory::Remembered;
use super::planning::Planner;
use super::{Settings, Sides, list_both};
use crate::causes::chain;
use crate::replication::plan::{self, Reason};
use crate::replication::step::Step;
use crate::replication::version::Version;

/// How many filesystems are planned at the same time.
const AT_ONCE: usize = 16;

/// What would be done with one filesystem.
#[derive(Clone, Debug)]
pub struct Preview {
    /// Its path.
    pub filesystem: String,
    /// The steps in order, or why there is no plan.
    pub outcome: Result<PreviewedSteps, String>,
}

/// The steps of a filesystem.
#[derive(Clone, Debug)]
pub struct PreviewedSteps {
    /// Each with the sender's estimate of its size in bytes; zero if there is none.
    pub steps: Vec<(Step, u64)>,
    /// Why these.
    pub reason: Reason,
    /// Why what has arrived of an interrupted step would be given up, if it would.
    pub discarded_token: Option<String>,
    /// A snapshot that has arrived, of which both sides would be told first.
    pub to_confirm: Option<Version>,
}

/// Plans all filesystems, by path. The error says why a side cannot be asked.
pub async fn preview(sides: &Sides, settings: &Settings) -> Result<Vec<Preview>, String> {
    let (sender, receiver) = list_both(sides).await.map_err(|failure| failure.text)?;
    let plan::Pairs {
        filesystems,
        invalid,
    } = plan::pair(&sender, &receiver);
    let planner = std::sync::Arc::new(Planner::that_tells_nobody(sides.clone(), settings));
    let mut previews: Vec<_> = invalid.iter().map(invalid_name).collect();
    let mut running = JoinSet::new();
    let mut waiting = filesystems.into_iter();
    loop {
        while running.len() < AT_ONCE
            && let Some(pair) = waiting.next()
        {
            let (planner, filesystem) = (std::sync::Arc::clone(&planner), pair.filesystem.clone());
            let planning = async move {
                let planning = planner.plan(pair, Remembered::default(), &[]).await;
                let planned = planning.outcome.map_err(|failure| failure.text);
                previewed(
                    &filesystem,
                    planned.map(|planned| PreviewedSteps {
                        steps: planned.steps.into_iter().zip(planned.sizes).collect(),
                        reason: planned.reason,
                        discarded_token: planned.discarded_token.map(|reason| chain(&reason)),
                        to_confirm: planned.to_confirm.map(|it| it.to),
                    }),
                )
            };
            running.spawn(planning.in_current_span());
        }
        match running.join_next().await {
            Some(Ok(preview)) => previews.push(preview),
            Some(Err(error)) => {
                if let Ok(panic) = error.try_into_panic() {
                    std::panic::resume_unwind(panic);
                }
            }
            None => break,
        }
    }
    previews.sort_by(|a, b| a.filesystem.cmp(&b.filesystem));
    Ok(previews)
}

fn previewed(filesystem: &DatasetPath, outcome: Result<PreviewedSteps, String>) -> Preview {
    Preview {
        filesystem: filesystem.as_str().to_owned(),
        outcome,
    }
}

fn invalid_name(error: &NameError) -> Preview {
    Preview {
        filesystem: error.text.clone(),
        outcome: Err(format!("sender lists a filesystem that cannot be: {error}")),
    }
}
