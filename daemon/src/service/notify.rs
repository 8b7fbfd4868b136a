//! Tells the service manager how the daemon stands, if there is one that listens (`Type=notify`).

use sd_notify::NotifyState;

/// All jobs have been started, and the control socket answers.
pub(super) fn ready(jobs: usize) {
    let status = match jobs {
        1 => "1 job".to_owned(),
        count => format!("{count} jobs"),
    };
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// Jobs have been told to stop.
pub(super) fn stopping() {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("waiting for jobs to finish"),
    ]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot tell the service manager how the daemon stands");
    }
}
