//! Turns at something scarce that is waited for without a thread, such as connections to the database.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::{
    WorkError,
    fair_queue::{FairQueue, QueueShare},
};

/// A few callers have a turn at once. The others wait in a queue that no client can fill at the expense of others. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct FairTurns(Arc<Mutex<Waiting>>);

#[derive(Debug)]
struct Waiting {
    /// The turns that no one has. While there are any, no one waits.
    free: usize,
    queue: FairQueue<oneshot::Sender<Turn>>,
}

/// A turn. When it is dropped, that of the next caller begins.
#[derive(Debug)]
pub(crate) struct Turn(FairTurns);

impl FairTurns {
    /// At most `at_once` have a turn, and at most `waiting` wait for theirs.
    pub(crate) fn new(at_once: usize, waiting: usize) -> Self {
        Self(Arc::new(Mutex::new(Waiting { free: at_once, queue: FairQueue::new(waiting) })))
    }

    /// Waits for a turn, queued for `share`. Fails if the queue is full and no other share has more in it. A caller that is dropped meanwhile
    /// gives its turn to the next one.
    pub(crate) async fn take(&self, share: &QueueShare) -> Result<Turn, WorkError> {
        let turn = {
            let mut waiting = self.waiting();
            if waiting.free > 0 {
                waiting.free -= 1;
                return Ok(Turn(self.clone()));
            }
            let (waiter, turn) = oneshot::channel();
            // The one that has no place is dropped, by which its caller learns of it.
            drop(waiting.queue.push(share, waiter));
            turn
        };
        turn.await.map_err(|_| WorkError::QueueFull)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = {
            let mut waiting = self.0.waiting();
            let next = std::iter::from_fn(|| waiting.queue.pop()).find(|waiter| !waiter.is_closed());
            if next.is_none() {
                waiting.free += 1;
            }
            next
        };
        // Without the lock: if that caller has just been dropped, its turn is dropped here, and passes on.
        if let Some(next) = next {
            drop(next.send(Self(self.0.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{task::yield_now, time::timeout};

    use super::*;

    fn share(client: &str) -> QueueShare {
        QueueShare { client: client.to_owned(), ..QueueShare::default() }
    }

    #[tokio::test]
    async fn hd6_only_so_many_have_a_turn_at_once_and_clients_take_turns() {
        let turns = FairTurns::new(2, 8);
        let had = [turns.take(&share("flood")).await.unwrap(), turns.take(&share("flood")).await.unwrap()];
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for client in ["flood", "flood", "other"] {
            let (turns, order) = (turns.clone(), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let turn = turns.take(&share(client)).await.unwrap();
                order.lock().unwrap().push(client);
                drop(turn);
            }));
            yield_now().await;
        }
        assert!(order.lock().unwrap().is_empty());
        let [first, second] = had;
        drop(first);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), ["flood", "other", "flood"]);
        drop(second);
        assert_eq!(turns.waiting().free, 2);
    }

    #[tokio::test]
    async fn a_caller_that_gave_up_takes_no_turn_and_a_full_queue_refuses() {
        let (turns, one, other) = (FairTurns::new(1, 1), share("one"), share("other"));
        let first = turns.take(&one).await.unwrap();
        let mut given_up = Box::pin(turns.take(&one));
        assert!(timeout(Duration::ZERO, &mut given_up).await.is_err(), "it waits");
        assert_eq!(turns.take(&other).await.err(), Some(WorkError::QueueFull));
        drop(first);
        // It has its turn, and does not know it.
        drop(given_up);
        let first = turns.take(&other).await.unwrap();
        let mut given_up = Box::pin(turns.take(&one));
        assert!(timeout(Duration::ZERO, &mut given_up).await.is_err(), "it waits");
        drop(given_up);
        drop(first);
        assert_eq!(turns.waiting().free, 1);
    }
}
