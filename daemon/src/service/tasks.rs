//! The tasks of jobs by the jobs' names: who has ended, and who has not in time.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::timeout;

/// Tasks that run.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    set: JoinSet<()>,
    names: HashMap<Id, String>,
}

impl Tasks {
    /// Starts one.
    pub(super) fn spawn(&mut self, name: String, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.set.spawn(task).id();
        self.names.insert(id, name);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Waits until all have ended. Cancelling it loses nothing.
    pub(super) async fn all_ended(&mut self) {
        while let Some(ended) = self.set.join_next_with_id().await {
            let id = match &ended {
                Ok((id, ())) => *id,
                Err(error) => error.id(),
            };
            let name = self.names.remove(&id).unwrap_or_default();
            if let Err(error) = ended {
                report(&name, error);
            }
        }
    }

    /// Waits for the rest, but no longer than this, and says whether they have ended. Cancelling it loses nothing.
    pub(super) async fn end_within(&mut self, limit: Duration) -> bool {
        timeout(limit, self.all_ended()).await.is_ok()
    }

    /// Ends those that are left, wherever they are, and returns their names.
    pub(super) fn give_up(mut self) -> Vec<String> {
        self.set.abort_all();
        let mut late: Vec<String> = self.names.into_values().collect();
        late.sort();
        late
    }
}

/// A job that panics ends alone.
fn report(name: &str, error: JoinError) {
    if let Ok(panic) = error.try_into_panic() {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("(no text)");
        tracing::error!(
            job = name,
            panic = text,
            "job panicked, it will not run again until the daemon is restarted"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_does_not_end_in_time_is_named() {
        let limit = Duration::from_secs(5);
        let mut tasks = Tasks::default();
        tasks.spawn("slow".to_owned(), sleep(Duration::from_secs(4)));
        tasks.spawn("hangs".to_owned(), pending());
        tasks.spawn("also hangs".to_owned(), pending());
        let begun = Instant::now();
        assert!(!tasks.end_within(limit).await);
        assert_eq!(begun.elapsed(), limit);
        assert_eq!(tasks.give_up(), ["also hangs", "hangs"]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_there_is_something_to_wait_for() {
        let mut tasks = Tasks::default();
        tasks.spawn("slow".to_owned(), sleep(Duration::from_secs(4)));
        tasks.spawn("panics".to_owned(), async { panic!("on purpose") });
        assert_eq!(tasks.len(), 2);
        let begun = Instant::now();
        assert!(tasks.end_within(Duration::from_secs(5)).await);
        assert_eq!(begun.elapsed(), Duration::from_secs(4));
    }
}
