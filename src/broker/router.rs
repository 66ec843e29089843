//! Work that crosses from one shard to another.
//!
//! A [`Job`] is posted through the mesh and runs on the shard that owns what it touches; its
//! result comes back through a oneshot channel. Jobs from one shard to another start in the
//! order in which they were posted, which is what keeps the batches of one connection in order.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use ringlog_runtime::ShardId;
use tokio::sync::oneshot;

use crate::shard::{Job, Shard};

/// Runs the work that was asked for, unless nobody waits for its result any more.
async fn run_while_wanted<R>(work: impl Future<Output = R>, mut answer: oneshot::Sender<R>) {
    let mut work = pin!(work);
    let result = poll_fn(|context| match answer.poll_closed(context) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => work.as_mut().poll(context).map(Some),
    });
    if let Some(result) = result.await {
        drop(answer.send(result));
    }
}

enum Started<F, R> {
    Here(F),
    There(oneshot::Receiver<R>),
}

impl<F: Future<Output = R>, R> Started<F, R> {
    #[expect(clippy::manual_async_fn, reason = "an async fn would hold the work twice")]
    fn result(self) -> impl Future<Output = R> {
        async move {
            match self {
                Started::Here(future) => future.await,
                Started::There(answered) => match answered.await {
                    Ok(result) => result,
                    // The other shard stopped with the job undone. This one is being stopped as
                    // well, and the task that waits here is dropped with it.
                    Err(_) => std::future::pending().await,
                },
            }
        }
    }
}

impl Shard {
    /// Starts `work` on the shard `to` and returns its result as a future.
    ///
    /// The synchronous part of `work` has happened (on this shard) or is queued in order (for
    /// another) when this function returns, whether or not the future is ever polled.
    pub(crate) fn start_on<R, W, F>(
        self: &Rc<Self>,
        to: ShardId,
        work: W,
    ) -> impl Future<Output = R> + 'static + use<R, W, F>
    where
        W: FnOnce(&Rc<Shard>) -> F + Send + 'static,
        F: Future<Output = R> + 'static,
        R: Send + 'static,
    {
        if to == self.id() {
            return Started::Here(work(self)).result();
        }
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |shard: &Rc<Shard>| {
            let result = work(shard);
            // The one who asked may be gone: then nobody misses the answer.
            shard.rt.spawn(async move { drop(answer.send(result.await)) });
        });
        self.mesh.send(to, job);
        Started::There(answered).result()
    }

    /// The same for work that changes nothing: it is given up when the future is dropped.
    pub(crate) fn read_on<R, W, F>(
        self: &Rc<Self>,
        to: ShardId,
        work: W,
    ) -> impl Future<Output = R> + 'static + use<R, W, F>
    where
        W: FnOnce(&Rc<Shard>) -> F + Send + 'static,
        F: Future<Output = R> + 'static,
        R: Send + 'static,
    {
        if to == self.id() {
            return Started::Here(work(self)).result();
        }
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |shard: &Rc<Shard>| {
            shard.rt.spawn(run_while_wanted(work(shard), answer));
        });
        self.mesh.send(to, job);
        Started::There(answered).result()
    }

    /// Runs `work` once on each shard that owns some of the items, with all of its items. The
    /// results come back in the order of the items; `work` returns one for each, in order.
    pub(crate) async fn on_owners<T, R, W, F>(
        self: &Rc<Self>,
        items: Vec<(ShardId, T)>,
        work: W,
    ) -> Vec<R>
    where
        W: FnOnce(Rc<Shard>, Vec<T>) -> F + Clone + Send + 'static,
        F: Future<Output = Vec<R>> + 'static,
        T: Send + 'static,
        R: Send + 'static,
    {
        let count = items.len();
        let mut groups: Vec<(ShardId, Vec<usize>, Vec<T>)> = Vec::new();
        for (index, (owner, item)) in items.into_iter().enumerate() {
            let group = groups.iter().position(|(shard, ..)| *shard == owner);
            let group = group.unwrap_or_else(|| {
                groups.push((owner, Vec::new(), Vec::new()));
                groups.len() - 1
            });
            groups[group].1.push(index);
            groups[group].2.push(item);
        }
        let started: Vec<_> = groups
            .into_iter()
            .map(|(owner, indexes, items)| {
                let work = work.clone();
                (indexes, self.start_on(owner, move |shard| work(shard.clone(), items)))
            })
            .collect();
        let mut results: Vec<Option<R>> = (0..count).map(|_| None).collect();
        for (indexes, group) in started {
            let group = group.await;
            assert_eq!(group.len(), indexes.len(), "a result for every item");
            for (index, result) in indexes.into_iter().zip(group) {
                results[index] = Some(result);
            }
        }
        results.into_iter().map(|result| result.expect("a result for every item")).collect()
    }

    /// Runs `work` on every shard and returns the results in shard order.
    pub(crate) async fn on_every_shard<R, W, F>(self: &Rc<Self>, work: W) -> Vec<R>
    where
        W: FnOnce(&Rc<Shard>) -> F + Clone + Send + 'static,
        F: Future<Output = R> + 'static,
        R: Send + 'static,
    {
        let shards = self.mesh.shards() as u16;
        let started: Vec<_> =
            (0..shards).map(|shard| self.start_on(ShardId(shard), work.clone())).collect();
        let mut results = Vec::with_capacity(started.len());
        for answer in started {
            results.push(answer.await);
        }
        results
    }
}
