//! One round for all who wait.
//!
//! Owns: gathering of callers. Not: what a round does.
//! Holds: a caller is answered by a round that began after its call, never by one that was running.

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// Callers that may be waiting before new ones have to wait for room.
const WAITING_MAX: usize = 4096;

/// A handle to the rounds; see the module.
#[derive(Debug)]
pub(crate) struct Gather<T> {
    waiting: mpsc::Sender<oneshot::Sender<T>>,
}

impl<T: Clone + Send + 'static> Gather<T> {
    /// Runs `round` whenever somebody waits, one round at a time.
    pub(crate) fn spawn<F, R>(round: F) -> (Self, JoinHandle<()>)
    where
        F: Fn() -> R + Send + 'static,
        R: Future<Output = T> + Send + 'static,
    {
        let (waiting, mut arrivals) = mpsc::channel::<oneshot::Sender<T>>(WAITING_MAX);
        let task = tokio::spawn(async move {
            while let Some(first) = arrivals.recv().await {
                let mut served = vec![first];
                while let Ok(next) = arrivals.try_recv() {
                    served.push(next);
                }
                let answer = round().await;
                for waiter in served {
                    let _ = waiter.send(answer.clone());
                }
            }
        });
        (Self { waiting }, task)
    }

    /// Waits for a round that begins from now on; `None` when there will be none.
    pub(crate) async fn join(&self) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.waiting.send(answer).await.ok()?;
        answered.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_round_serves_all_that_came_before_it() {
        let begun = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&begun);
        let (gather, _task) = Gather::spawn(move || {
            let number = counter.fetch_add(1, Ordering::SeqCst);
            async move {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                number
            }
        });
        let gather = Arc::new(gather);
        let first = {
            let gather = Arc::clone(&gather);
            tokio::spawn(async move { gather.join().await })
        };
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        // These come while round 0 runs: none of them may be served by it.
        let late: Vec<_> = (0..100)
            .map(|_| {
                let gather = Arc::clone(&gather);
                tokio::spawn(async move { gather.join().await })
            })
            .collect();
        assert_eq!(first.await.unwrap(), Some(0));
        for waiter in late {
            assert_eq!(waiter.await.unwrap(), Some(1));
        }
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }
}
