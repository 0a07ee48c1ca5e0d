//! The bodies of refused requests.

use std::time::Duration;

use super::refusal::Refusal;
use crate::{
    proxy::ForwardError,
    server::{edge::Charge, process::Unread},
};

/// How long the body of a request is read for which there is no memory, or whose caller has stopped sending.
const MOMENT: Duration = Duration::from_millis(100);

/// Reads and drops the rest of the body of a refused request, unless its memory is needed. `charge` is `None` if it is not charged (any more).
pub(super) async fn discard(unread: &Unread, refusal: &Refusal, charge: Option<&Charge>) {
    if matches!(refusal, Refusal::Exhausted | Refusal::Forward(ForwardError::Stalled)) {
        // A caller that sends gets its answer, and one that holds back its body gives way: its connection takes memory.
        let _ = tokio::time::timeout(MOMENT, unread.discard()).await;
        return;
    }
    let Some(charge) = charge else { return unread.discard().await };
    let wait = charge.wait();
    tokio::select! {
        () = unread.discard() => {}
        () = wait.evicted() => {}
    }
}
