//! One coordinator on its partition, from the moment it leads to the moment it does not.
//!
//! 1. *Loading*: the log is read into the machine; requests are told COORDINATOR_LOAD_IN_PROGRESS.
//! 2. *Serving*: a decision's records are appended as one batch, in the order of the decisions, and
//!    replayed; its answers go out when the log has committed them. Appends of many decisions share
//!    the log's writes, which is where they are gathered.
//! 3. *Ended*: the log failed, could not be loaded, or is another's. Everyone who waits is told to
//!    look for the coordinator again; what was decided and not committed never happened.
//!
//! Invariants: no answer leaves before its records are committed; every request that waits is
//! answered, once; nothing is decided between an append and its replay.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use ringlog_coordinator::{Coordinator, Effects, Now, Outcome, Record, ReplyTo};
use ringlog_record::BatchBuilder;
use ringlog_runtime::sync::{Signal, oneshot};
use ringlog_runtime::{Instant, Runtime};
use ringlog_storage::{AppendError, AppendOrigin, LogEnd};
use ringlog_types::{ErrorCode, LeaderEpoch};

use crate::coordinators::loader;
use crate::replicas::partition::Partition;

/// Things that are due are done so many at a time, then others have their turn.
const TICKS_PER_TURN: usize = 64;

/// Where a tenure stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Loading,
    Serving,
    Ended,
}

/// A coordinator at work on one partition.
pub(crate) struct Tenure<C: Coordinator> {
    this: Weak<Tenure<C>>,
    rt: Runtime,
    partition: Rc<Partition>,
    leader_epoch: LeaderEpoch,
    stage: Cell<Stage>,
    machine: RefCell<C>,
    waiting: RefCell<HashMap<ReplyTo, oneshot::Sender<C::Answer>>>,
    next_reply: Cell<u64>,
    /// Given when something is due earlier than the timers' task knows, and at the end.
    alarm: Arc<Signal>,
    armed_ms: Cell<Option<u64>>,
}

/// What a decision waits for: the end of its records.
type Committed = oneshot::Receiver<Result<(), ErrorCode>>;

/// A decision that was made, with its response.
pub(crate) struct Decided<R>(Result<(R, Option<Committed>), ErrorCode>);

impl<R> Decided<R> {
    /// Waits until the decision is committed.
    ///
    /// # Errors
    /// If the coordinator did not serve, or the records could not be written.
    pub(crate) async fn committed(self) -> Result<R, ErrorCode> {
        let (response, committed) = self.0?;
        if let Some(committed) = committed {
            committed.await.unwrap_or(Err(ErrorCode::NotCoordinator))?;
        }
        Ok(response)
    }
}

/// A request that was taken.
pub(crate) struct Asked<A>(Result<oneshot::Receiver<A>, ErrorCode>);

impl<A> Asked<A> {
    /// Waits until it is answered, with this decision or a later one.
    ///
    /// # Errors
    /// If the coordinator did not serve, or stopped serving meanwhile.
    pub(crate) async fn answered(self) -> Result<A, ErrorCode> {
        self.0?.await.map_err(|_| ErrorCode::NotCoordinator)
    }
}

impl<C: Coordinator> Tenure<C> {
    /// Takes over the partition and begins to load it.
    pub(super) fn begin(
        rt: &Runtime,
        partition: Rc<Partition>,
        leader_epoch: LeaderEpoch,
        machine: C,
    ) -> Rc<Tenure<C>> {
        let tenure = Rc::new_cyclic(|this| Tenure {
            this: this.clone(),
            rt: rt.clone(),
            partition,
            leader_epoch,
            stage: Cell::new(Stage::Loading),
            machine: RefCell::new(machine),
            waiting: RefCell::default(),
            next_reply: Cell::new(0),
            alarm: Arc::default(),
            armed_ms: Cell::new(None),
        });
        rt.spawn(tenure.clone().load());
        tenure
    }

    /// Whether this is the coordinator of just this partition and its log.
    pub(super) fn is_of(&self, partition: &Rc<Partition>) -> bool {
        Rc::ptr_eq(&self.partition.log, &partition.log)
    }

    async fn load(self: Rc<Self>) {
        let begun = self.rt.now();
        let loaded = loader::load(&self.partition.log, &self.machine, || self.now()).await;
        if self.stage.get() == Stage::Ended {
            return;
        }
        let name = &self.partition.topic_partition;
        if let Err(reason) = loaded {
            tracing::error!(
                partition = %name, reason,
                "the coordinator's state cannot be loaded, and nothing is served from it"
            );
            self.end();
            return;
        }
        let took_ms = (self.rt.now() - begun).as_millis() as u64;
        tracing::debug!(partition = %name, took_ms, "coordinator loaded");
        self.stage.set(Stage::Serving);
        self.machine.borrow_mut().committed(self.partition.high_watermark());
        let effects = self.machine.borrow_mut().loaded(self.now());
        drop(self.carry_out(effects));
        self.wait_for_rest();
        self.rt.spawn(run_timers(self.this.clone(), self.rt.clone(), self.alarm.clone()));
    }

    /// What was loaded and is not committed yet becomes visible when it is.
    fn wait_for_rest(&self) {
        let Some(tenure) = self.this.upgrade() else { return };
        let end = self.partition.log.end();
        self.rt.spawn(async move {
            if tenure.partition.log.wait_committed(end).await.is_ok() {
                tenure.machine.borrow_mut().committed(end.offset());
            }
        });
    }

    fn now(&self) -> Now {
        let since_origin = self.rt.now() - Instant::from_nanos(0);
        Now { monotonic_ms: since_origin.as_millis() as u64, wall_ms: self.rt.wall_clock_ms() }
    }

    /// Whether requests are decided now.
    ///
    /// # Errors
    /// What a client is told instead.
    fn check_serving(&self) -> Result<(), ErrorCode> {
        match self.stage.get() {
            Stage::Loading => Err(ErrorCode::CoordinatorLoadInProgress),
            Stage::Ended => Err(ErrorCode::NotCoordinator),
            Stage::Serving if self.partition.is_offline() => Err(ErrorCode::NotCoordinator),
            Stage::Serving => Ok(()),
        }
    }

    /// Reads what is committed.
    ///
    /// # Errors
    /// If the coordinator does not serve.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&C) -> R) -> Result<R, ErrorCode> {
        self.check_serving()?;
        Ok(read(&self.machine.borrow()))
    }

    /// Tells the machine what it is to look at with its next decisions.
    pub(super) fn tell(&self, tell: impl FnOnce(&mut C)) {
        tell(&mut self.machine.borrow_mut());
    }

    /// Makes a decision, at once. It counts when it is committed.
    pub(crate) fn decide<R>(
        &self,
        decide: impl FnOnce(&mut C, Now) -> Outcome<R, C::Answer, C::Then>,
    ) -> Decided<R> {
        Decided(self.check_serving().map(|()| {
            let Outcome { response, effects } = decide(&mut self.machine.borrow_mut(), self.now());
            (response, self.carry_out(effects))
        }))
    }

    /// Makes a decision, at once, whose answer may come with a later one.
    pub(crate) fn ask(
        &self,
        decide: impl FnOnce(&mut C, ReplyTo, Now) -> Effects<C::Answer, C::Then>,
    ) -> Asked<C::Answer> {
        Asked(self.check_serving().map(|()| {
            let reply_to = ReplyTo(self.next_reply.get());
            self.next_reply.set(reply_to.0 + 1);
            let (answer, answered) = oneshot::channel();
            self.waiting.borrow_mut().insert(reply_to, answer);
            let effects = decide(&mut self.machine.borrow_mut(), reply_to, self.now());
            drop(self.carry_out(effects));
            answered
        }))
    }

    /// Appends and replays the records of a decision, and sees to its answers. Returns what tells
    /// when they are committed, if there are any.
    fn carry_out(&self, effects: Effects<C::Answer, C::Then>) -> Option<Committed> {
        let Effects { records, answers, then } = effects;
        if records.is_empty() {
            assert!(then.is_none(), "nothing goes on where nothing is written");
            self.answer(answers);
            self.set_alarm();
            return None;
        }
        let (tell, committed) = oneshot::channel();
        match self.append(&records) {
            Ok(end) => {
                self.machine.borrow_mut().replay(end.offset(), &records, self.now());
                let tenure = self.this.upgrade().expect("a tenure is called through its owner");
                self.rt.spawn(async move {
                    let result = tenure.settle(end, answers, then).await;
                    // Nobody waits for what a timer decides.
                    let _ = tell.send(result);
                });
            }
            Err(error) => {
                self.fail(answers, then, error);
                let _ = tell.send(Err(error));
            }
        }
        self.set_alarm();
        Some(committed)
    }

    fn append(&self, records: &[Record]) -> Result<LogEnd, ErrorCode> {
        let now_ms = self.rt.wall_clock_ms();
        let mut batch = BatchBuilder::new(now_ms);
        for Record { key, value } in records {
            batch.push(now_ms, Some(key), value.as_deref(), &[]);
        }
        let (bytes, summary) = batch.build().map_err(|_| ErrorCode::RecordListTooLarge)?;
        let log = &self.partition.log;
        if bytes.len() > log.config().max_message_bytes.max(0) as usize {
            return Err(ErrorCode::RecordListTooLarge);
        }
        let origin = AppendOrigin::Coordinator;
        let appended = log.append(&bytes, &summary, origin, self.leader_epoch, now_ms);
        appended.map(|appended| appended.end).map_err(|error| self.refusal(&error))
    }

    /// What clients are told of an append that was refused (`Errors` of Kafka's
    /// `CoordinatorRuntime`): to try again later, or elsewhere.
    fn refusal(&self, error: &AppendError) -> ErrorCode {
        let name = &self.partition.topic_partition;
        tracing::debug!(partition = %name, %error, "a decision cannot be written");
        match error {
            AppendError::NoSpace => ErrorCode::CoordinatorNotAvailable,
            AppendError::MessageTooLarge { .. } | AppendError::BatchTooLarge { .. } => {
                ErrorCode::RecordListTooLarge
            }
            _ => ErrorCode::NotCoordinator,
        }
    }

    /// Waits until a decision's records are committed, and lets its answers go.
    async fn settle(
        &self,
        end: LogEnd,
        answers: Vec<(ReplyTo, C::Answer)>,
        then: Option<C::Then>,
    ) -> Result<(), ErrorCode> {
        let committed = self.partition.log.wait_committed(end).await;
        if self.stage.get() == Stage::Ended {
            return Err(ErrorCode::NotCoordinator);
        }
        if let Err(error) = committed {
            let name = &self.partition.topic_partition;
            tracing::error!(partition = %name, %error, "the coordinator stops: its log failed");
            self.end();
            return Err(ErrorCode::NotCoordinator);
        }
        self.machine.borrow_mut().committed(end.offset());
        self.answer(answers);
        if let Some(then) = then {
            let effects = self.machine.borrow_mut().continued(&then, Ok(()), self.now());
            drop(self.carry_out(effects));
        }
        Ok(())
    }

    /// The records of a decision were not taken.
    fn fail(&self, answers: Vec<(ReplyTo, C::Answer)>, then: Option<C::Then>, error: ErrorCode) {
        let failed = answers.into_iter().map(|(to, answer)| (to, C::failed(&answer, error)));
        self.answer(failed.collect());
        if let Some(then) = then {
            let effects = self.machine.borrow_mut().continued(&then, Err(error), self.now());
            drop(self.carry_out(effects));
        }
    }

    fn answer(&self, answers: Vec<(ReplyTo, C::Answer)>) {
        for (to, answer) in answers {
            let waiting = self.waiting.borrow_mut().remove(&to);
            let waiting = waiting.expect("a request is answered once");
            // Whoever asked may have hung up.
            drop(waiting.send(answer));
        }
    }

    /// Wakes the timers' task if something is due before it would look.
    fn set_alarm(&self) {
        let next_ms = self.machine.borrow().next_deadline_ms();
        let is_earlier = match (next_ms, self.armed_ms.get()) {
            (Some(next_ms), Some(armed_ms)) => next_ms < armed_ms,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if is_earlier {
            self.alarm.give();
        }
    }

    /// Stops serving. Everyone who waits is told to look for the coordinator again.
    pub(super) fn end(&self) {
        self.stage.set(Stage::Ended);
        self.waiting.take();
        self.alarm.give();
    }
}

/// Does what is due, until the tenure is over. It holds the tenure only while it works on it.
async fn run_timers<C: Coordinator>(tenure: Weak<Tenure<C>>, rt: Runtime, alarm: Arc<Signal>) {
    loop {
        let next = {
            let Some(tenure) = tenure.upgrade() else { return };
            if tenure.stage.get() == Stage::Ended {
                return;
            }
            let next_ms = tenure.machine.borrow().next_deadline_ms();
            tenure.armed_ms.set(next_ms);
            next_ms.map(|at_ms| Instant::from_nanos(0) + Duration::from_millis(at_ms))
        };
        match next {
            Some(at) => {
                let wait = at.saturating_duration_since(rt.now());
                // Timed out or woken: either way what is due is looked for.
                let _ = rt.timeout(wait, alarm.given()).await;
            }
            None => alarm.given().await,
        }
        tick_all(&tenure, &rt).await;
    }
}

async fn tick_all<C: Coordinator>(tenure: &Weak<Tenure<C>>, rt: &Runtime) {
    loop {
        for _ in 0..TICKS_PER_TURN {
            let Some(tenure) = tenure.upgrade() else { return };
            if tenure.stage.get() != Stage::Serving {
                return;
            }
            let effects = tenure.machine.borrow_mut().tick(tenure.now());
            let Some(effects) = effects else { return };
            drop(tenure.carry_out(effects));
        }
        rt.yield_now().await;
    }
}
