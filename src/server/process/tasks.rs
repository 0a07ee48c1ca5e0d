//! What a process does besides answering requests: named tasks, which run as long as it does.

use std::{convert::Infallible, fmt, panic::AssertUnwindSafe, pin::Pin};

use futures_util::FutureExt;
use tokio::task::JoinSet;

/// A task that runs as long as its process.
pub(crate) trait Task: Send + 'static {
    /// Its name in the log. It sleeps under this name between its rounds, so that tests can wait until a round is over.
    const NAME: &'static str;
    /// What it means if it ends, for the log.
    const WHEN_IT_ENDS: &'static str;

    /// Runs until it is dropped. It ends by itself only if it panics.
    fn run(self) -> impl Future<Output = Infallible> + Send;
}

/// The tasks of a process, before they start.
#[derive(Default)]
pub(crate) struct Tasks(Vec<Boxed>);

struct Boxed {
    name: &'static str,
    when_it_ends: &'static str,
    run: Pin<Box<dyn Future<Output = Infallible> + Send>>,
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Tasks {
    pub(crate) fn with<T: Task>(mut self, task: T) -> Self {
        self.0.push(Boxed { name: T::NAME, when_it_ends: T::WHEN_IT_ENDS, run: Box::pin(task.run()) });
        self
    }

    /// The same for a task that not every process has.
    pub(crate) fn with_any<T: Task>(self, task: Option<T>) -> Self {
        match task {
            Some(task) => self.with(task),
            None => self,
        }
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|task| task.name)
    }

    /// Starts all tasks. They end when the set is dropped. A panic ends only the task in which it happens.
    pub(crate) fn start(self) -> JoinSet<()> {
        let guarded = |Boxed { name, when_it_ends, run }: Boxed| async move {
            // The panic hook has logged the panic itself.
            if AssertUnwindSafe(run).catch_unwind().await.is_err() {
                tracing::error!(task = name, "a background task has ended: {when_it_ends}; restart this server");
            }
        };
        self.0.into_iter().map(guarded).collect()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    struct Fails;

    impl Task for Fails {
        const NAME: &'static str = "fails";
        const WHEN_IT_ENDS: &'static str = "nothing fails any more";

        async fn run(self) -> Infallible {
            panic!("meant to")
        }
    }

    struct Continues(oneshot::Receiver<()>, Option<oneshot::Sender<()>>);

    impl Task for Continues {
        const NAME: &'static str = "continues";
        const WHEN_IT_ENDS: &'static str = "nothing continues any more";

        async fn run(mut self) -> Infallible {
            (&mut self.0).await.unwrap();
            self.1.take().unwrap().send(()).unwrap();
            std::future::pending().await
        }
    }

    #[tokio::test]
    async fn a_task_that_panics_ends_alone_and_the_others_continue() {
        let ((ask, asked), (answer, answered)) = (oneshot::channel(), oneshot::channel());
        let tasks = Tasks::default().with(Fails).with(Continues(asked, Some(answer))).with_any(None::<Fails>);
        assert_eq!(tasks.names().collect::<Vec<_>>(), ["fails", "continues"]);
        let mut running = tasks.start();
        running.join_next().await.unwrap().unwrap();
        ask.send(()).unwrap();
        answered.await.unwrap();
    }
}
