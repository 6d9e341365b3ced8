//! The process dies before and after every remote call and every status write of a whole life, or the answer is lost,
//! and another process goes on from what was committed last: the end is always that of the undisturbed run.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;

use reiter8::engine::{Cause, Effect, Outcome};
use reiter8::simulate::{Scenario, Simulation, Story, Turned};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::faults::{Fault, Faulty, Script, dead};
use crate::support::scratch::scratch;

/// A life that is swept.
struct Case {
    handover: &'static str,
    /// What happens in it, beside what all have in common.
    scenario: &'static str,
    outcome: Outcome,
    /// Branches, commits on the base branch, requests.
    made: (usize, usize, usize),
    /// Calls that the undisturbed run makes at least: a sweep of fewer would prove less.
    least: usize,
}

/// Short lives: enough traffic for a quick verdict, one step, prompt reviewers.
const COMMON: &str =
    "{strategy: {ramp: {steps: [{weight: 50}]}}, analysis: {interval: INTERVAL, warmUp: 0s, soak: 20s}";
const GOOD: &str = "rps: 200\nrollout: 5s\nreviewer: {after: 5s}";
const BAD: &str = "rps: 200\ncandidate: {errors: 50%}\nreviewer: {after: 5s}";
/// A person aborts while the promotion is in review: its request is closed.
const ABORTED: &str = "rps: 200\nreviewer: {after: 90s}\npeople: [{at: 130s, ask: abort}]";

/// Nobody looks at the requests: they are merged without a person.
const IGNORED: &str = "rps: 200\nrollout: 5s\nreviewer: {promote: ignore, cleanUp: ignore}";
const MERGED: &str = "TwoPullRequests, pullRequest: {autoMerge: {promote: true, cleanup: true}}";

/// A reviewer adds a commit to the request and takes longer than its text may be old.
const EDITED: &str = "rps: 200\nrollout: 5s\nreviewer: {after: 170s, promote: push}";

const CASES: [Case; 9] = [
    Case { handover: "TwoPullRequests", scenario: GOOD, outcome: Outcome::Promote, made: (2, 2, 2), least: 240 },
    Case { handover: "TwoPullRequests", scenario: BAD, outcome: Outcome::Discard, made: (1, 1, 1), least: 140 },
    Case { handover: "TwoPullRequests", scenario: ABORTED, outcome: Outcome::Discard, made: (2, 1, 2), least: 320 },
    Case { handover: MERGED, scenario: IGNORED, outcome: Outcome::Promote, made: (2, 2, 2), least: 200 },
    Case { handover: "SinglePullRequest", scenario: GOOD, outcome: Outcome::Promote, made: (1, 1, 1), least: 155 },
    Case { handover: "SinglePullRequest", scenario: EDITED, outcome: Outcome::Promote, made: (1, 1, 1), least: 155 },
    Case { handover: "SinglePullRequest", scenario: BAD, outcome: Outcome::Discard, made: (1, 1, 1), least: 140 },
    Case { handover: "CommitToBase", scenario: GOOD, outcome: Outcome::Promote, made: (0, 2, 0), least: 205 },
    Case { handover: "CommitToBase", scenario: BAD, outcome: Outcome::Discard, made: (0, 1, 0), least: 145 },
];

impl Case {
    fn name(&self) -> String {
        format!("{}, {}", self.handover, self.outcome.as_str())
    }

    fn scenario(&self) -> Scenario {
        // Who waits long for a review is watched all the time: fewer looks say as much.
        let common = COMMON.replace("INTERVAL", if self.scenario == EDITED { "100s" } else { "20s" });
        let text = format!("{}\nexperiment: {common}, gitops: {{handover: {}}}}}\n", self.scenario, self.handover);
        Scenario::read(&text).unwrap()
    }
}

/// The name of every effect; one that is added to the engine has to be added here, and has to occur.
const EFFECTS: [&str; 11] =
    ["Claim", "Release", "Route", "Push", "Open", "Commit", "Merge", "Rewrite", "Close", "Delete", "Forget"];

/// Fails to compile when an effect is missing in [`EFFECTS`]'s list.
fn is_listed(effect: &Effect) -> bool {
    match effect {
        Effect::Claim
        | Effect::Release
        | Effect::Route(_)
        | Effect::Push { .. }
        | Effect::Open { .. }
        | Effect::Commit { .. }
        | Effect::Merge { .. }
        | Effect::Rewrite { .. }
        | Effect::Close { .. }
        | Effect::Delete { .. }
        | Effect::Forget => EFFECTS.contains(&effect.as_str()),
    }
}

/// What is left of a life.
struct Ended {
    story: Story,
    made: (usize, usize, usize),
    /// Branches of requests that are still there.
    left: usize,
    calls: Vec<String>,
    struck: bool,
}

/// A life under a script, in a folder of its own.
struct Life {
    simulation: Simulation,
    script: Script,
    /// Holds the environment repository; removed with the life.
    folder: TempDir,
}

impl Life {
    fn new(scenario: &Scenario) -> Self {
        let folder = scratch();
        let simulation = Simulation::new(scenario, &repository(&folder)).unwrap();
        Self { simulation, script: Script::default(), folder }
    }

    /// The same life up to here, then with a fault.
    fn with(&self, index: usize, fault: Fault) -> Self {
        let folder = scratch();
        let simulation = self.simulation.fork(&repository(&folder)).unwrap();
        Self { simulation, script: Script::strike(self.script.calls(), index, fault), folder }
    }

    /// Takes one turn; whether the life goes on.
    fn turn(&mut self, runtime: &Runtime) -> bool {
        let world = Faulty { inner: self.simulation.world(), script: self.script.clone() };
        let ledger = Faulty { inner: self.simulation.ledger(), script: self.script.clone() };
        match runtime.block_on(self.simulation.turn(&world, &ledger)).unwrap() {
            Turned::Taken(_) => {}
            Turned::Failed(u) => assert!(u == dead() || u.cause == Cause::ApiUnavailable, "{}: {u}", u.cause),
            Turned::Over => return false,
        }
        if self.script.revive() {
            self.simulation.restart();
        }
        true
    }

    /// What becomes of it; the base branch had so many commits when it began.
    fn end(mut self, runtime: &Runtime, began: usize) -> Ended {
        while self.turn(runtime) {}
        let repository = git2::Repository::open_bare(repository(&self.folder)).unwrap();
        let story = self.simulation.story(vec![]).unwrap();
        let left: BTreeSet<String> = (repository.references_glob("refs/heads/iter8/*").unwrap())
            .map(|branch| branch.unwrap().name().unwrap().to_owned())
            .collect();
        // Those that are gone had a request, or nobody saw them.
        let had = story.requests.iter().map(|request| format!("refs/heads/{}", request.branch));
        let branches = left.iter().cloned().chain(had).collect::<BTreeSet<_>>().len();
        let made = (branches, commits(&repository) - began, story.requests.len());
        Ended { story, made, left: left.len(), calls: self.script.calls(), struck: self.script.struck() }
    }

    /// Commits of the base branch so far.
    fn commits(&self) -> usize {
        commits(&git2::Repository::open_bare(repository(&self.folder)).unwrap())
    }
}

fn repository(folder: &TempDir) -> PathBuf {
    folder.path().join("environment.git")
}

/// Commits of the base branch itself: each merge is one.
fn commits(repository: &git2::Repository) -> usize {
    let mut walk = repository.revwalk().unwrap();
    walk.simplify_first_parent().unwrap();
    walk.push_ref("refs/heads/main").unwrap();
    walk.count()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// What is wrong with a disturbed life, against the undisturbed one.
fn wrong(case: &Case, calm: &Ended, at: (usize, Fault), ended: &Ended) -> Option<String> {
    let (story, wanted) = (&ended.story, &calm.story);
    let same_call = ended.calls.get(at.0) == calm.calls.get(at.0);
    let problem = match () {
        () if !ended.struck || !same_call => "the fault did not come to pass",
        () if ended.made != case.made => "branches, commits and requests differ",
        () if ended.left != calm.left => "branches were left behind",
        () if story.after != wanted.after => "the files differ",
        () if (story.outcome, story.reason) != (wanted.outcome, wanted.reason) => "the outcome differs",
        () if !story.removed || !story.weights.is_home() => "it did not come to its end",
        () => return None,
    };
    Some(format!(
        "{}: {:?} call {} ({}): {problem}: {:?}, {:?} because of {:?}, weights {:?}, removed {}",
        case.name(),
        at.1,
        at.0,
        calm.calls[at.0],
        ended.made,
        story.outcome,
        story.reason,
        story.weights,
        story.removed
    ))
}

/// The undisturbed life once more, which goes as far as the turn with the next call that is to go wrong. A fault changes
/// nothing of what was before it: each disturbed life begins as a copy of this one.
struct Lead<'c> {
    life: Life,
    /// Calls that were made after each turn.
    turns: &'c [usize],
    taken: usize,
    /// In the order of the calls.
    due: Box<dyn Iterator<Item = (usize, Fault)> + Send>,
}

impl Lead<'_> {
    /// The next disturbed life, and what goes wrong in it.
    fn next(&mut self, runtime: &Runtime) -> Option<(Life, (usize, Fault))> {
        let (index, fault) = self.due.next()?;
        while self.turns[self.taken] <= index {
            assert!(self.life.turn(runtime), "the lead ended before call {index}");
            self.taken += 1;
        }
        Some((self.life.with(index, fault), (index, fault)))
    }
}

/// The undisturbed life, how many commits it began with, and how many calls were made after each of its turns.
fn calm(scenario: &Scenario) -> (Ended, usize, Vec<usize>) {
    let (mut life, runtime, mut turns) = (Life::new(scenario), runtime(), vec![]);
    let began = life.commits();
    while life.turn(&runtime) {
        turns.push(life.script.calls().len());
    }
    (life.end(&runtime, began), began, turns)
}

/// Every fault at every call of one life. Returns how many calls and runs it took.
fn sweep(case: &Case, effects: &mut BTreeSet<String>) -> (usize, usize) {
    let (scenario, name) = (case.scenario(), case.name());
    let (calm, began, turns) = calm(&scenario);
    let calls = &calm.calls;
    assert_eq!(calm.made, case.made, "{name}: {:?}", calm.story.reason);
    assert_eq!(calm.story.outcome, Some(case.outcome), "{name}");
    // A branch that others pushed to is theirs.
    assert_eq!(calm.left, usize::from(case.scenario == EDITED), "{name}");
    assert!(calm.story.removed && calm.story.weights.is_home(), "{name}");
    assert!(calls.len() >= case.least, "{name}: only {} calls were recorded", calls.len());
    effects.extend(calls.iter().filter(|c| EFFECTS.contains(&c.as_str())).cloned());

    let due = Box::new((0..calls.len()).flat_map(|index| Fault::ALL.map(|fault| (index, fault))));
    let lead = Mutex::new(Lead { life: Life::new(&scenario), turns: &turns, taken: 0, due });
    let (problems, done) = (Mutex::new(vec![]), Mutex::new(vec![]));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let runtime = runtime();
                let next = || lead.lock().unwrap().next(&runtime);
                while let Some((life, at)) = next() {
                    let ended = life.end(&runtime, began);
                    problems.lock().unwrap().extend(wrong(case, &calm, at, &ended));
                    done.lock().unwrap().push(at.0);
                }
            });
        }
    });
    let (problems, done) = (problems.into_inner().unwrap(), done.into_inner().unwrap());
    assert!(problems.is_empty(), "{} of {} runs\n{}", problems.len(), done.len(), problems.join("\n"));
    for (index, call) in calls.iter().enumerate() {
        let runs = done.iter().filter(|i| **i == index).count();
        assert_eq!(runs, Fault::ALL.len(), "{name}: call {index} ({call}) lacks runs");
    }
    println!("{name}: {} fault points, {} runs", calls.len(), done.len());
    (calls.len(), done.len())
}

#[test]
fn crash_sweep() {
    let (mut points, mut runs, mut effects) = (0, 0, BTreeSet::new());
    for case in &CASES {
        let (more_points, more_runs) = sweep(case, &mut effects);
        points += more_points;
        runs += more_runs;
    }
    let never: Vec<_> = EFFECTS.iter().filter(|name| !effects.contains(**name)).collect();
    assert!(never.is_empty() && is_listed(&Effect::Claim), "never occurred: {never:?}");
    println!("{points} fault points, {runs} runs, {} skipped", points * Fault::ALL.len() - runs);
}
