//! The last part of an experiment's life, from its verdict on: the engine, its turns and the write-back are the product's
//! own, the repository and its forge are real; the cluster is as small a model as the engine can be asked to work on.
//!
//! Time is the life's own: a wait of minutes is over at once, so that a life takes as long as its repository does.

pub mod proxy;

use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use reiter8::api::{Provider, RepositorySpec};
use reiter8::engine::{
    Analysis, Cause, Decision, Effect, Gitops, Handover, Identity, Notice, Observation, Outcome, Phase, Plan,
    Preflight, Progress, Questions, Ramp, Reason, Split, Unavailable, Verb, Version, Wake, Wish,
};
use reiter8::gitops::forge::Extras;
use reiter8::gitops::plan::Spec;
use reiter8::gitops::repository::Clones;
use reiter8::gitops::transport::Token;
use reiter8::gitops::{Credential, WriteBack, WriteTarget};
use reiter8::turn::{Ledger, World, turn};
use reiter8_testing::{self as testing, trial};

/// The weight that the candidate has at the verdict.
const WEIGHT: u8 = 50;
/// When every verdict falls: the same commits each time.
const VERDICT: &str = "2026-01-02T03:04:05Z";
/// Pause after a turn that failed, as the controller makes one.
const BACKOFF: SignedDuration = SignedDuration::from_secs(1);
/// How long a watch may be silent: then the controller looks of its own accord.
const GLANCE: SignedDuration = SignedDuration::from_secs(30);

/// One experiment after its verdict.
pub struct Life {
    plan: Mutex<Plan>,
    target: WriteTarget,
    token: String,
    clones: Option<Clones>,
    progress: Mutex<Progress>,
    /// Everything in it is as it should be, and what is merged is rolled out at once.
    cluster: Mutex<testing::World>,
    now: Mutex<Timestamp>,
}

fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Life {
    /// The verdict on the experiment that `spec` is about has fallen; what it needs of the repository is rehearsed now.
    pub async fn decided(
        place: (&str, &str),
        spec: Spec,
        outcome: Outcome,
        handover: Handover,
    ) -> Result<Self, Unavailable> {
        Self::about(place, spec, outcome, handover)?.rehearsed().await
    }

    /// The same before its rehearsal.
    pub fn about(
        (url, token): (&str, &str),
        spec: Spec,
        outcome: Outcome,
        handover: Handover,
    ) -> Result<Self, Unavailable> {
        let repository = RepositorySpec::new(url, Provider::Gitea, "forge");
        let at: Timestamp = VERDICT.parse().map_err(|_| Unavailable::new(Cause::Internal, "no time"))?;
        let (phase, reason) = match outcome {
            Outcome::Promote => (Phase::Promoting, Reason::Proven),
            Outcome::Discard => (Phase::Discarding, Reason::Harmful),
        };
        let decision = Decision { at, weight: WEIGHT, ..trial::decision(outcome, reason) };
        let life = Self {
            plan: Mutex::new(plan(&spec, handover)),
            target: WriteTarget { repository, spec, extras: Extras::default() },
            token: token.to_owned(),
            clones: None,
            progress: Mutex::default(),
            cluster: Mutex::new(testing::World::ready().replicas(2).weight(WEIGHT).history(0, &[])),
            now: Mutex::new(at),
        };
        let progress = Progress {
            phase,
            since: Some(at),
            weight: WEIGHT,
            carried: Some(Split::one(WEIGHT)),
            applied: Some(at),
            held: true,
            first_traffic: Some(at),
            decision: Some(decision),
            ..Progress::default()
        };
        *held(&life.progress) = progress;
        Ok(life)
    }

    /// On clones that it shares with others, as the experiments of one controller do.
    pub fn sharing(self, clones: &Clones) -> Self {
        Self { clones: Some(clones.clone()), ..self }
    }

    /// What it needs of the repository is rehearsed now.
    pub async fn rehearsed(self) -> Result<Self, Unavailable> {
        let preflight = self.write_back()?.preflight().await?;
        Ok(self.began_with(preflight))
    }

    /// This is what it saw of the repository when it began.
    pub fn began_with(self, preflight: Preflight) -> Self {
        held(&self.progress).preflight = Some(preflight);
        self
    }

    /// Goes on at another address of the same repository.
    pub fn moved(mut self, url: &str) -> Self {
        url.clone_into(&mut self.target.repository.url);
        self
    }

    /// Every turn begins with nothing of the repository but the clones that are shared.
    fn write_back(&self) -> Result<WriteBack, Unavailable> {
        let write_back = WriteBack::new(
            self.target.clone(),
            Some(Credential::Token(Token::new(&self.token))),
            &["127.0.0.1".to_owned()],
            &Arc::default(),
        )?;
        Ok(match &self.clones {
            Some(clones) => write_back.sharing(clones),
            None => write_back,
        })
    }

    /// What is remembered.
    pub fn progress(&self) -> Progress {
        held(&self.progress).clone()
    }

    /// The experiment has nothing left to do.
    pub fn completed(&self) -> bool {
        held(&self.progress).phase == Phase::Completed
    }

    /// Whether there is something to do for it now.
    pub fn rests(&self) -> bool {
        let progress = self.progress();
        let asked = held(&self.plan).wishes.iter().any(|wish| match wish {
            Wish::Asked { verb, at, .. } => progress.handled.get(verb) != Some(at),
            Wish::Unreadable(_) => false,
        });
        progress.phase == Phase::Completed && !asked
    }

    /// A person asks for a new attempt.
    pub fn retry(&self) {
        let at = *held(&self.now);
        held(&self.plan).wishes = vec![Wish::Asked { verb: Verb::Retry, at, why: String::new() }];
    }

    /// The last request, once it is known.
    pub fn number(&self) -> Option<u64> {
        held(&self.progress).stages.last().and_then(reiter8::engine::StageProgress::number)
    }

    /// The last stage with its state, and what it waits for.
    pub fn place(&self) -> String {
        let progress = self.progress();
        let waiting = progress.waiting.as_ref().map(|w| format!("{}: {}", w.reason, w.what)).unwrap_or_default();
        let stage = progress.stages.last().map(|s| format!("{}/{}", s.stage().as_str(), s.state().as_str()));
        format!("{} {} {waiting}", progress.phase.as_str(), stage.unwrap_or_default())
    }

    /// One turn. What it would wait for is over afterwards; whether it would have waited. An error is what the controller
    /// would log.
    pub async fn turn(&self) -> Result<bool, Unavailable> {
        let now = *held(&self.now);
        let turned = self.turn_at(now).await;
        *held(&self.now) = match &turned {
            Ok(Wake::At(at)) => *at.max(&now),
            Ok(Wake::OnChange) => now + GLANCE,
            Err(_) => now + BACKOFF,
        };
        turned.map(|wake| !matches!(wake, Wake::At(at) if at <= now))
    }

    /// One turn at a time that is told; when the next one is wanted.
    pub async fn turn_at(&self, now: Timestamp) -> Result<Wake, Unavailable> {
        *held(&self.now) = now;
        let (remembered, plan) = (self.progress(), held(&self.plan).clone());
        let world = Around { life: self, write_back: self.write_back()? };
        Ok(turn(&world, self, &plan, &remembered, now).await?.wake)
    }
}

fn plan(spec: &Spec, handover: Handover) -> Plan {
    let seconds = SignedDuration::from_secs;
    let version = |name: &str, workload: &str| Version { name: name.into(), workload: workload.into() };
    let usual = trial::plan(vec![]);
    Plan {
        identity: Identity {
            namespace: spec.namespace.clone(),
            name: spec.name.clone(),
            uid: format!("uid-of-{}", spec.name),
            target: format!("{}/{}", spec.namespace, spec.baseline.name),
        },
        baseline: version("stable", &spec.baseline.name),
        candidates: vec![version("candidate", &spec.candidate.name)],
        ramp: Ramp::Fixed,
        cap: WEIGHT,
        analysis: Analysis { lag: seconds(5), warm_up: seconds(0), soak: seconds(10), ..usual.analysis },
        gitops: Some(Gitops {
            stale_after: SignedDuration::from_hours(7 * 24),
            drain: seconds(10),
            handover,
            ..trial::gitops()
        }),
        ..usual
    }
}

impl Ledger for Life {
    async fn commit(&self, progress: &Progress) -> Result<(), Unavailable> {
        *held(&self.progress) = progress.clone();
        Ok(())
    }

    async fn tell(&self, _: &[Notice]) {}
}

/// The world of one turn.
struct Around<'l> {
    life: &'l Life,
    write_back: WriteBack,
}

impl World for Around<'_> {
    async fn observe(&self, _: &Plan, questions: &Questions) -> Observation {
        let mut seen = held(&self.life.cluster).see(questions);
        if questions.preflight {
            seen.preflight = Some(self.write_back.preflight().await);
        }
        if let Some(question) = &questions.stage {
            seen.stage = Some(self.write_back.stage(question).await);
        }
        if let Some(commit) = &questions.rollout {
            let expected = self.write_back.expected(commit).await;
            seen.rollout = seen.rollout.and_then(|rollout| expected.map_or_else(|e| Some(Err(e)), |_| Some(rollout)));
        }
        seen
    }

    async fn perform(&self, effect: &Effect) -> Result<Vec<Notice>, Unavailable> {
        held(&self.life.cluster).obey(effect);
        self.write_back.perform(effect).await
    }
}
