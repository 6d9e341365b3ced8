//! Stands between the engine and a world with its ledger: writes down every call, and makes one of them go wrong.

use std::sync::{Arc, Mutex, MutexGuard};

use reiter8::engine::{Cause, Effect, Notice, Observation, Plan, Progress, Questions, Unavailable};
use reiter8::turn::{Ledger, World};

/// What goes wrong at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process dies before the call.
    Before,
    /// The call is carried out, then the process dies.
    After,
    /// The call is carried out, its answer is lost, and the process lives.
    Lost,
}

impl Fault {
    pub(crate) const ALL: [Self; 3] = [Self::Before, Self::After, Self::Lost];
}

#[derive(Default)]
struct Record {
    calls: Vec<String>,
    struck: bool,
    dead: bool,
}

/// Which call goes wrong, and what was called.
#[derive(Clone, Default)]
pub(crate) struct Script {
    strike: Option<(usize, Fault)>,
    record: Arc<Mutex<Record>>,
}

/// What the script says about a call.
enum Said {
    GoOn,
    Strike(Fault),
    /// The dead make no calls.
    Dead,
}

impl Script {
    /// After these calls, the one with this index, from 0, goes wrong.
    pub(crate) fn strike(calls: Vec<String>, index: usize, fault: Fault) -> Self {
        let record = Record { calls, ..Record::default() };
        Self { strike: Some((index, fault)), record: Arc::new(Mutex::new(record)) }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap()
    }

    /// Everything that was called, in order.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.record().calls.clone()
    }

    /// Whether the fault came to pass.
    pub(crate) fn struck(&self) -> bool {
        self.record().struck
    }

    /// Whether the process died; the next one lives.
    pub(crate) fn revive(&self) -> bool {
        std::mem::take(&mut self.record().dead)
    }

    fn call(&self, name: &str) -> Said {
        let mut record = self.record();
        if record.dead {
            return Said::Dead;
        }
        let index = record.calls.len();
        record.calls.push(name.to_owned());
        match self.strike.filter(|(at, _)| *at == index) {
            None => Said::GoOn,
            Some((_, fault)) => {
                record.struck = true;
                record.dead = fault == Fault::Before;
                Said::Strike(fault)
            }
        }
    }

    fn die(&self) {
        self.record().dead = true;
    }
}

/// A world or a ledger whose calls are written down.
pub(crate) struct Faulty<T> {
    pub(crate) inner: Arc<T>,
    pub(crate) script: Script,
}

pub(crate) fn dead() -> Unavailable {
    Unavailable::new(Cause::Internal, "the process is dead")
}

fn lost() -> Unavailable {
    Unavailable::new(Cause::ApiUnavailable, "the answer was lost")
}

impl<T> Faulty<T> {
    /// A call that changes something.
    async fn write<R>(&self, name: &str, call: impl Future<Output = Result<R, Unavailable>>) -> Result<R, Unavailable> {
        match self.script.call(name) {
            Said::GoOn => call.await,
            Said::Dead | Said::Strike(Fault::Before) => Err(dead()),
            Said::Strike(Fault::After) => {
                call.await?;
                self.script.die();
                Err(dead())
            }
            Said::Strike(Fault::Lost) => {
                call.await?;
                Err(lost())
            }
        }
    }
}

/// What an observation reads: one call for each fact.
fn reads(q: &Questions) -> Vec<&'static str> {
    let asked = [
        (!q.quiet, "read lock"),
        (!q.quiet, "read routes"),
        (!q.quiet, "read workloads"),
        (q.window.is_some(), "read metrics"),
        (q.history.is_some(), "read history"),
        (q.preflight, "read preflight"),
        (q.stage.is_some(), "read stage"),
        (q.rollout.is_some(), "read rollout"),
        (q.sync.is_some(), "read sync"),
        (q.subsets, "read subsets"),
    ];
    asked.into_iter().filter_map(|(asked, name)| asked.then_some(name)).collect()
}

/// A fact whose answer was lost.
fn lose(seen: &mut Observation, fact: &str) {
    match fact {
        "read lock" => seen.lock = Some(Err(lost())),
        "read routes" => seen.routes = Some(Err(lost())),
        "read workloads" => seen.workloads = Some(Err(lost())),
        "read metrics" => {
            for answer in seen.reading.iter_mut().flat_map(|r| &mut r.answers) {
                *answer = Err(lost());
            }
        }
        "read history" => {
            for history in seen.history.iter_mut().flatten() {
                *history = Err(lost());
            }
        }
        "read preflight" => seen.preflight = Some(Err(lost())),
        "read stage" => seen.stage = Some(Err(lost())),
        "read rollout" => seen.rollout = Some(Err(lost())),
        "read sync" => seen.sync = Some(Err(lost())),
        "read subsets" => seen.subsets = Some(Err(lost())),
        other => panic!("{other} is no fact"),
    }
}

impl<W: World> World for Faulty<W> {
    async fn observe(&self, plan: &Plan, questions: &Questions) -> Observation {
        let mut missing = None;
        let mut dies = false;
        for fact in reads(questions) {
            match self.script.call(fact) {
                Said::GoOn => {}
                // What the dead would see is seen by nobody: they can neither commit nor perform.
                Said::Dead | Said::Strike(Fault::Before) => return Observation::default(),
                Said::Strike(Fault::After) => dies = true,
                Said::Strike(Fault::Lost) => missing = Some(fact),
            }
        }
        let mut seen = self.inner.observe(plan, questions).await;
        if dies {
            self.script.die();
            return Observation::default();
        }
        if let Some(fact) = missing {
            lose(&mut seen, fact);
        }
        seen
    }

    async fn perform(&self, effect: &Effect) -> Result<Vec<Notice>, Unavailable> {
        self.write(effect.as_str(), self.inner.perform(effect)).await
    }
}

impl<L: Ledger> Ledger for Faulty<L> {
    async fn commit(&self, progress: &Progress) -> Result<(), Unavailable> {
        self.write("write status", self.inner.commit(progress)).await
    }

    async fn tell(&self, notices: &[Notice]) {
        if notices.is_empty() {
            return;
        }
        // Best effort: whether it failed is nobody's business.
        let told = async {
            self.inner.tell(notices).await;
            Ok(())
        };
        self.write("tell", told).await.ok();
    }
}
