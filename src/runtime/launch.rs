//! Starting shards: one thread each, with its own driver.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use crate::cores::{self, ClaimedCore};
use crate::driver::Driver;
use crate::executor::{Executor, Shared};
use crate::fallback::Fallback;
use crate::mesh::{Mesh, MeshPart, Poster, parts};
use crate::shard_loop::{self, SPIN_MAX};
use crate::uring::Uring;
use crate::{Descriptors, Runtime, probe};

/// A shard's number, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

/// Which backend to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoChoice {
    /// io_uring if the machine lets us, else the fallback.
    #[default]
    Auto,
    /// io_uring, or no start at all.
    Uring,
    /// Plain system calls: epoll, and threads for files.
    Fallback,
}

/// Which backend is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// io_uring.
    Uring,
    /// Plain system calls.
    Fallback,
    /// The simulation.
    Simulated,
}

/// How to start.
#[derive(Clone, Debug)]
pub struct Launch {
    /// How many shards; at least one.
    pub shards: usize,
    /// The backend.
    pub io: IoChoice,
    /// Bind each shard to a core that no other node has, if there are enough.
    pub pin: bool,
    /// What the threads are called, before `-0`, `-1` and so on.
    pub name: String,
}

impl Default for Launch {
    fn default() -> Launch {
        Launch { shards: 1, io: IoChoice::Auto, pin: false, name: "shard".into() }
    }
}

/// The running shards.
pub struct Node<M> {
    threads: Vec<thread::JoinHandle<()>>,
    poster: Poster<M>,
    backend: Backend,
    fallback_reason: Option<String>,
}

impl<M> Node<M> {
    /// What this thread sends messages to the shards with.
    pub fn poster(&self) -> Poster<M> {
        self.poster.clone()
    }

    /// The backend in use.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Why the fallback is in use although io_uring would have been taken: one sentence with what
    /// to do about it.
    pub fn fallback_reason(&self) -> Option<&str> {
        self.fallback_reason.as_deref()
    }

    /// Waits until all shards have ended, each when its main future has.
    ///
    /// # Errors
    /// None today: a shard that panics aborts the process.
    pub fn join(self) -> io::Result<()> {
        for thread in self.threads {
            thread.join().map_err(|_| io::Error::other("a shard's thread panicked"))?;
        }
        Ok(())
    }
}

/// What every shard's thread is started with.
struct Start<M, F> {
    shard: ShardId,
    backend: Backend,
    core: Option<ClaimedCore>,
    name: String,
    spin: Duration,
    descriptors: Descriptors,
    part: MeshPart<M>,
    ready: mpsc::Sender<io::Result<(usize, Arc<Shared>)>>,
    go: mpsc::Receiver<Poster<M>>,
    main: Arc<F>,
}

/// Starts the shards and returns when all of them run. A shard runs until its main future ends;
/// its other tasks are dropped then. A panic on a shard aborts the process, because the others
/// could not go on without it.
///
/// # Errors
/// No shards were asked for, io_uring was and is not usable, or a thread or its driver could not
/// be made. Nothing is left running.
pub fn launch<M, F, Fut>(c: Launch, main: F) -> io::Result<Node<M>>
where
    M: Send + 'static,
    F: Fn(Runtime, Mesh<M>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()>,
    Fut: 'static,
{
    if c.shards == 0 || c.shards > usize::from(u16::MAX) {
        let why = format!("{} shards were asked for; 1 to 65535 can be started", c.shards);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let descriptors = Descriptors::of_process(c.shards);
    let (backend, fallback_reason) = choose(c.io)?;
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let pin = c.pin && cores.len() >= c.shards;
    let claimed = if pin { cores::claim(&cores, c.shards) } else { Vec::new() };
    let unbound = if pin { c.shards - claimed.len() } else { 0 };
    if unbound > 0 {
        tracing::info!(unbound, "other nodes have the cores; so many shards are bound to none");
    }
    let mut claimed = claimed.into_iter();
    // Spinning on a core that another shard waits for, of this node or another, helps nobody.
    let has_cores = c.shards <= cores.len().max(1) && unbound == 0;
    let spin = if has_cores { SPIN_MAX } else { Duration::ZERO };
    let (parts, senders) = parts(c.shards);
    let main = Arc::new(main);
    let (ready, readiness) = mpsc::channel();
    let mut threads = Vec::with_capacity(c.shards);
    let mut signals = Vec::with_capacity(c.shards);
    for (index, part) in parts.into_iter().enumerate() {
        let (signal, go) = mpsc::channel();
        signals.push(signal);
        let name = format!("{}-{index}", c.name);
        let start = Start {
            shard: ShardId(index as u16),
            backend,
            core: claimed.next(),
            name: name.clone(),
            spin,
            descriptors,
            part,
            ready: ready.clone(),
            go,
            main: Arc::clone(&main),
        };
        threads.push(thread::Builder::new().name(name).spawn(move || run_shard(start))?);
    }
    drop(ready);
    let mut shards: Vec<Option<Arc<Shared>>> = vec![None; c.shards];
    for outcome in readiness {
        // Dropping the signals on an error ends every thread.
        let (index, shared) = outcome?;
        shards[index] = Some(shared);
    }
    let shards: Option<Arc<[Arc<Shared>]>> = shards.into_iter().collect();
    let shards = shards.ok_or_else(|| io::Error::other("a shard did not start"))?;
    let poster = Poster::new(senders, shards);
    for signal in signals {
        signal.send(poster.clone()).map_err(|_| io::Error::other("a shard ended early"))?;
    }
    Ok(Node { threads, poster, backend, fallback_reason })
}

fn choose(choice: IoChoice) -> io::Result<(Backend, Option<String>)> {
    match (choice, probe::uring_refusal()) {
        (IoChoice::Fallback, _) => Ok((Backend::Fallback, None)),
        (_, None) => Ok((Backend::Uring, None)),
        (IoChoice::Auto, Some(why)) => {
            tracing::warn!(reason = %why, "io_uring cannot be used; falling back to epoll");
            Ok((Backend::Fallback, Some(why)))
        }
        (IoChoice::Uring, Some(why)) => Err(io::Error::new(io::ErrorKind::Unsupported, why)),
    }
}

/// Aborts the process when its thread panics.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

fn run_shard<M, F, Fut>(start: Start<M, F>)
where
    M: Send + 'static,
    F: Fn(Runtime, Mesh<M>) -> Fut,
    Fut: Future<Output = ()> + 'static,
{
    let _abort = AbortOnPanic;
    // Kept as long as the shard runs.
    if let Some(ClaimedCore { core, .. }) = &start.core
        && !core_affinity::set_for_current(*core)
    {
        tracing::warn!(shard = start.shard.0, core = core.id, "cannot bind the shard to a core");
    }
    let index = usize::from(start.shard.0);
    let rt = match new_runtime(start.shard, start.backend, &start.name, start.descriptors) {
        Ok(rt) => rt,
        Err(error) => return drop(start.ready.send(Err(error))),
    };
    if start.ready.send(Ok((index, rt.executor().shared()))).is_err() {
        return;
    }
    drop(start.ready);
    let Ok(poster) = start.go.recv() else { return rt.close() };
    let mesh = Mesh::new(rt.clone(), start.part, poster);
    let main = rt.spawn((start.main)(rt.clone(), mesh));
    shard_loop::run(&rt, &main, start.spin);
    rt.close();
}

fn new_runtime(
    shard: ShardId,
    backend: Backend,
    name: &str,
    descriptors: Descriptors,
) -> io::Result<Runtime> {
    let (driver, unparker) = match backend {
        Backend::Uring => {
            let uring = Uring::new(name, descriptors.pipes_of_shard)?;
            let unparker = uring.unparker();
            (Driver::Uring(uring), unparker)
        }
        Backend::Fallback => {
            let fallback = Fallback::new(name)?;
            let unparker = fallback.unparker();
            (Driver::Fallback(fallback), unparker)
        }
        Backend::Simulated => unreachable!("the simulation starts its shards itself"),
    };
    Ok(Runtime::new(shard, driver, Executor::new(unparker)))
}
