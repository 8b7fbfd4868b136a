//! Waiting until both sides can be asked again.

use std::time::Duration;

use tokio::time::timeout;

use super::Sides;
use crate::causes::chain;
use crate::endpoint::Endpoint;

/// A side that waits with the same limit can say more about why it waited in vain, so it gets the first word.
const COURTESY: Duration = Duration::from_secs(1);

/// Returns once both sides can be asked, or says in zrepl's words which cannot and why.
pub(super) async fn wait_for_both(sides: &Sides, limit: Duration) -> Result<(), String> {
    let (sender, receiver) =
        tokio::join!(wait(&*sides.sender, limit), wait(&*sides.receiver, limit));
    match (sender, receiver) {
        (Ok(()), Ok(())) => Ok(()),
        (Err(sender), Ok(())) => Err(format!("sender is not reachable: {sender}")),
        (Ok(()), Err(receiver)) => Err(format!("receiver is not reachable: {receiver}")),
        (Err(sender), Err(receiver)) if sender == receiver => {
            Err(format!("sender and receiver are not reachable: {sender}"))
        }
        (Err(sender), Err(receiver)) => Err(format!(
            "sender and receiver are not reachable:\n  sender: {sender}\n  receiver: {receiver}"
        )),
    }
}

async fn wait(side: &dyn Endpoint, limit: Duration) -> Result<(), String> {
    match timeout(limit.saturating_add(COURTESY), side.wait_for_connectivity()).await {
        Ok(result) => result.map_err(|error| chain(&error)),
        Err(_) => Err(format!("no answer within {limit:?}")),
    }
}
