//! Invariants of the engine in a random world: traffic, faults, other people's edits, reviewers, and crashes between
//! any two lines of a turn.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use reiter8::engine::judge::Tally;
use reiter8::engine::*;
use reiter8_testing::trial::{self, commit};
use reiter8_testing::{self as testing};

/// What chance decides in one run.
#[derive(Clone, Debug)]
struct Chance {
    share: f64,
    rps: f64,
    gated: bool,
    on_undecided: OnUndecided,
    merge: bool,
    /// Each number steers one turn: outage, readiness, foreign edit, crash.
    dice: Vec<u8>,
}

fn chance() -> impl Strategy<Value = Chance> {
    let share = prop_oneof![Just(0.0), Just(0.001), Just(0.009), Just(0.05), Just(1.0)];
    let undecided =
        prop_oneof![Just(OnUndecided::Hold), Just(OnUndecided::Discard), Just(OnUndecided::PromoteUnproven)];
    (
        share,
        prop_oneof![Just(0.5), Just(20.0), Just(300.0)],
        any::<bool>(),
        undecided,
        any::<bool>(),
        prop::collection::vec(any::<u8>(), 64),
    )
        .prop_map(|(share, rps, gated, on_undecided, merge, dice)| Chance {
            share,
            rps,
            gated,
            on_undecided,
            merge,
            dice,
        })
}

fn plan(chance: &Chance) -> Plan {
    let seconds = SignedDuration::from_secs;
    let steps =
        [(5, 60), (20, 60), (40, 0)].map(|(weight, hold)| Rung { weight, hold: seconds(hold), approval: false });
    let usual = trial::limited();
    Plan {
        ramp: if chance.gated { Ramp::Gated { budget: 50.0 } } else { Ramp::Steps(steps.to_vec()) },
        cap: 40,
        analysis: Analysis {
            deadline: seconds(1200),
            hard_deadline: seconds(1800),
            on_undecided: chance.on_undecided,
            ..usual.analysis
        },
        gitops: Some(Gitops { drain: seconds(10), ..trial::gitops() }),
        ..usual
    }
}

/// A world with a cluster, a remote and people.
struct World {
    cluster: testing::World,
    outage: bool,
    refused: bool,
    head: u32,
    branches: BTreeMap<String, CommitId>,
    pulls: Vec<(String, Pull)>,
    pushes: BTreeMap<String, u32>,
}

impl World {
    fn new(chance: &Chance) -> Self {
        let history = vec![Tally { requests: chance.rps * 10.0, bad: 0.0 }; 100];
        let mut cluster = testing::World::ready().free().errors(chance.share).history(1, &history);
        cluster.traffic.rps = chance.rps;
        cluster.preflight.base = commit("base0");
        Self {
            cluster,
            outage: false,
            refused: false,
            head: 0,
            branches: BTreeMap::new(),
            pulls: vec![],
            pushes: BTreeMap::new(),
        }
    }

    fn see(&mut self, asked: &Questions) -> Observation {
        self.cluster.outage = self.outage.then(|| Unavailable::new(Cause::MetricsUnavailable, "gone"));
        let mut seen = self.cluster.see(asked);
        seen.stage = asked.stage.as_ref().map(|question| Ok(self.stage(question)));
        seen
    }

    fn stage(&self, question: &StageQuestion) -> StageSeen {
        let request = &question.request;
        let work = StageWork {
            base: self.base(),
            commit: commit(&format!("{}-on-{}", request.branch, self.head)),
            files: vec![],
            after: BTreeMap::new(),
        };
        let find = || self.pulls.iter().find(|(branch, _)| *branch == request.branch).map(|(_, pull)| pull.clone());
        match question.look {
            Look::Plan => StageSeen::Plan(Planned::Commit(work)),
            Look::Publish => {
                let branch = self.branches.get(&request.branch).cloned();
                let request = RequestSeen { head: Some(self.base()), branch, pull: find() };
                StageSeen::Publish { request, lacks: vec![] }
            }
            Look::Review(number) => {
                let pull = self.pulls.iter().find(|(_, p)| p.number == number).map(|(_, p)| p.clone());
                let branch = self.branches.get(&request.branch).cloned();
                let request = RequestSeen { head: Some(self.base()), branch, pull };
                StageSeen::Review(Reviewed { request, ..Reviewed::default() })
            }
            Look::Contents(_) => StageSeen::Contents { blobs: BTreeMap::new(), kept: BTreeSet::new() },
            Look::Base(_) => panic!("nothing is committed to the base branch here"),
        }
    }

    fn base(&self) -> CommitId {
        commit(&format!("base{}", self.head))
    }

    /// Obeys, and checks what no effect may ask for.
    fn obey(&mut self, plan: &Plan, progress: &Progress, effect: &Effect) {
        match effect {
            Effect::Claim | Effect::Release => self.cluster.obey(effect),
            Effect::Route(split) => {
                let weight = split.of(0);
                assert!(weight <= plan.cap, "{weight} is above the cap");
                let discarded = progress.decision.as_ref().is_some_and(|d| d.outcome == Outcome::Discard);
                assert!(!discarded || split.is_home(), "a discarded candidate was given {weight} %");
                self.cluster.obey(effect);
            }
            Effect::Push { request, commit, .. } => {
                let ended = self.pulls.iter().any(|(b, p)| *b == request.branch && p.state != PullState::Open);
                assert!(!ended, "pushed after a merge or close");
                assert!(!self.branches.contains_key(&request.branch), "pushed over a branch");
                *self.pushes.entry(request.branch.clone()).or_default() += 1;
                self.branches.insert(request.branch.clone(), commit.clone());
            }
            Effect::Open { request, .. } => {
                assert!(!self.pulls.iter().any(|(b, _)| *b == request.branch), "opened a request twice");
                let number = self.pulls.len() as u64 + 1;
                self.pulls.push((
                    request.branch.clone(),
                    Pull { number, url: String::new(), state: PullState::Open, head: None, text: None },
                ));
            }
            Effect::Close { number, .. } => {
                let pull = self.pulls.iter_mut().find(|(_, p)| p.number == *number).unwrap();
                assert_eq!(pull.1.state, PullState::Open, "closed what had ended");
                pull.1.state = PullState::Closed;
            }
            Effect::Merge { .. } | Effect::Rewrite { .. } => panic!("people merge here, and write no text"),
            Effect::Delete { branch, commit } => {
                let ended = self.pulls.iter().any(|(b, p)| b == branch && p.state != PullState::Open);
                let unwanted = progress.phase == Phase::Discarding;
                assert!(ended || unwanted, "deleted the branch of an open request");
                assert_eq!(self.branches.remove(branch).as_ref(), Some(commit), "deleted what others pushed");
            }
            Effect::Commit { .. } => panic!("there are requests here"),
            Effect::Forget => panic!("nobody deletes the experiment here"),
        }
    }

    /// People and faults, steered by one number.
    fn happen(&mut self, die: u8, chance: &Chance, running: bool) {
        self.outage = die % 11 == 1;
        self.cluster.workloads.candidates[0].ready = u32::from(die % 41 != 2);
        self.refused = die % 19 == 6;
        if running && die % 13 == 3 {
            self.cluster.routes = Routes::split(Split::one(die % 101));
        }
        if die % 5 == 4 {
            self.head += 1;
        }
        if die.is_multiple_of(3) {
            let head = self.base();
            let promote = |branch: &str| branch.contains("-promote-");
            if let Some((branch, pull)) = self.pulls.iter_mut().find(|(_, p)| p.state == PullState::Open) {
                let merge = chance.merge || !promote(branch);
                pull.state = if merge { PullState::Merged(head) } else { PullState::Closed };
            }
        }
    }
}

/// One turn, which may die after its commit or between two effects. Returns whether it came to its end.
fn turn(plan: &Plan, world: &mut World, progress: &mut Progress, now: Timestamp, die: u8) -> (bool, Wake) {
    let refused = Unavailable::new(Cause::InvalidExperiment, "spec.x: `1` is wrong; write `2`");
    let plan = &Plan { refused: world.refused.then_some(refused), ..plan.clone() };
    let seen = world.see(&ask(plan, progress, now));
    let blind = seen.reading.as_ref().is_some_and(|r| r.answers.iter().any(Result::is_err));
    let done = step(plan, progress, &seen, now);
    if blind {
        assert_eq!(done.progress.evidence, progress.evidence, "no answer is no evidence");
    }
    let rising = done.progress.weight >= progress.weight;
    assert!(rising, "the ramp went from {} to {}", progress.weight, done.progress.weight);
    let text = serde_json::to_string(&done.progress).unwrap();
    let read: Progress = serde_json::from_str(&text).unwrap();
    assert!(read.same_record(&done.progress), "progress survives its status");
    let merged = done.progress.stages.iter().any(|s| s.stage() == Stage::Promote && s.merged().is_some());
    if world.refused && !merged {
        let shared = done.effects.iter().any(|e| matches!(e, Effect::Route(split) if !split.is_home()));
        assert!(!shared, "a refused experiment was given traffic");
        assert_eq!(done.progress.evidence, progress.evidence, "what is refused is not judged");
    }
    *progress = done.progress;
    let survives = if die % 7 == 5 { usize::from(die % 3) } else { usize::MAX };
    for effect in done.effects.iter().take(survives) {
        world.obey(plan, progress, effect);
    }
    (survives >= done.effects.len(), done.wake)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_invariants_hold_and_it_ends(chance in chance()) {
        let plan = plan(&chance);
        let (mut world, mut progress) = (World::new(&chance), Progress::default());
        let mut now = trial::start();
        for round in 0..4000 {
            let die = chance.dice[round % chance.dice.len()].wrapping_add(u8::try_from(round / chance.dice.len() % 256).unwrap());
            let running = matches!(progress.phase, Phase::Shifting | Phase::Deciding | Phase::Promoting);
            world.happen(die, &chance, running);
            // At one instant and in one world, a few turns settle everything: what follows wants nothing.
            let mut wake = Wake::OnChange;
            for attempt in 0.. {
                let before = progress.clone();
                let pulls = world.pulls.len();
                let (finished, next) = turn(&plan, &mut world, &mut progress, now, if attempt == 0 { die } else { 0 });
                wake = next;
                if finished && progress == before && world.pulls.len() == pulls && next != Wake::At(now) {
                    break;
                }
                prop_assert!(attempt < 40, "no fixpoint in {:?}: {:?}", progress.phase, progress.waiting);
            }
            if progress.phase == Phase::Completed {
                break;
            }
            now = match wake { Wake::At(time) => time.max(now + SignedDuration::from_secs(1)), Wake::OnChange => now + SignedDuration::from_secs(5) };
        }
        prop_assert_eq!(progress.phase, Phase::Completed, "it waits for {:?}", progress.waiting);
        prop_assert_eq!(world.cluster.carried(), 0);
        prop_assert!(world.cluster.lock == Lock::Free, "the target is given back");
        prop_assert!(world.pushes.values().all(|&n| n == 1), "{:?}", world.pushes);
        let decision = progress.decision.clone().unwrap();
        let cleanups = world.pulls.iter().filter(|(b, _)| b.contains("-cleanup-")).count();
        prop_assert_eq!(cleanups, 1);
        if decision.reason == Reason::Proven || decision.reason == Reason::Unproven {
            prop_assert!(chance.share <= 0.009, "promoted with {} bad", chance.share);
        }
        if decision.reason == Reason::Harmful {
            prop_assert!(chance.share > 0.001, "rolled back with {} bad", chance.share);
        }
    }
}
