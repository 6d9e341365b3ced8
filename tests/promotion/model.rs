//! A random world against the engine: people, CI, a forge that errs and dies, a process that dies, for 100 000 steps.
//!
//! The engine and the planning of the edits are the real ones; the repository, its forge and the cluster are a model,
//! small enough that a step costs microseconds. Every effect is checked before it is obeyed against what design section
//! 4 forbids; every life, left in peace at its end, comes to its end or says what it waits for.

#![allow(clippy::struct_excessive_bools)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use jiff::{SignedDuration, Timestamp};
use reiter8::engine::judge::Tally;
use reiter8::engine::mutants::Mutant;
use reiter8::engine::*;
use reiter8::gitops::plan::{Change, FileOp, PlanError, Spec, plan_cleanup, plan_promote, plan_revert, plan_whole};
use reiter8::gitops::tree::{BlobId, Entry, EntryKind, Files, RepoPath, TreeError};

use crate::support::gitops::{APP, fixture, spec};
use reiter8_testing::{self as testing, trial};

/// Steps of the whole test.
pub(crate) const STEPS: usize = 100_000;
/// Steps of one life before it is left in peace, and the most that it may take then.
const LIFE: usize = 120;
const PEACE: usize = 1500;
/// The ramp's weights; nobody else in this world writes one of the two in the middle.
const RAMP: [u8; 2] = [20, 40];
const FOREIGN: u8 = 33;
const BASELINE: &str = "apps/productpage/productpage.yaml";
const CANDIDATE: &str = "apps/productpage/productpage-candidate.yaml";
const EXPERIMENT: &str = "apps/productpage/experiment.yaml";

/// What must not happen, by the defect that would bring it about; `None` for what has no defect of its own.
#[derive(Debug)]
pub(crate) struct Violation {
    // Read where the defects are built in.
    #[cfg_attr(not(feature = "mutants"), allow(dead_code))]
    pub(crate) mutant: Option<Mutant>,
    pub(crate) what: String,
}

fn forbidden(mutant: Mutant, what: impl Into<String>) -> Violation {
    Violation { mutant: Some(mutant), what: what.into() }
}

/// `SplitMix64`, as in the embedded world: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Once in so many times.
    fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

type Tree = BTreeMap<String, Rc<Vec<u8>>>;

/// A snapshot of files, with every content that there ever was.
struct Snapshot<'a> {
    tree: &'a Tree,
    blobs: &'a BTreeMap<String, Rc<Vec<u8>>>,
}

impl Files for Snapshot<'_> {
    fn list(&self, directory: Option<&RepoPath>) -> Result<Vec<Entry>, TreeError> {
        let prefix = directory.map_or_else(String::new, |directory| format!("{directory}/"));
        let mut entries = BTreeMap::new();
        for (path, content) in self.tree {
            if let Some(rest) = path.strip_prefix(&prefix) {
                let (name, kind) = match rest.split_once('/') {
                    Some((name, _)) => (name, EntryKind::Directory),
                    None => (rest, EntryKind::File),
                };
                entries.insert(name.to_owned(), Entry { name: name.to_owned(), kind, id: BlobId::of(content)? });
            }
        }
        Ok(entries.into_values().collect())
    }

    fn content(&self, id: &BlobId) -> Result<Vec<u8>, TreeError> {
        let found = self.blobs.get(&id.to_string());
        found.map(|content| content.to_vec()).ok_or_else(|| TreeError::TooLarge { path: id.to_string() })
    }
}

struct Commit {
    parents: Vec<CommitId>,
    tree: Rc<Tree>,
}

struct Pull {
    branch: String,
    head: CommitId,
    state: PullState,
    text: TextSeen,
}

/// The repository and its forge.
struct Remote {
    commits: BTreeMap<CommitId, Commit>,
    blobs: BTreeMap<String, Rc<Vec<u8>>>,
    /// None while the base branch has another name.
    base: Option<CommitId>,
    hidden: Option<CommitId>,
    branches: BTreeMap<String, CommitId>,
    /// Branches of ours that ever were.
    ever: BTreeSet<String>,
    pulls: Vec<Pull>,
    /// Requests whose opening is under way although nobody waits for it any more, and for how many looks.
    late: Vec<(u64, Pull)>,
    foreign: u64,
    foreign_commits: BTreeSet<CommitId>,
    /// What was computed already: parsing is most of the work, and the same base gives the same change.
    known: RefCell<Known>,
}

type Known = BTreeMap<(CommitId, &'static str, bool, bool), Result<Change, PlanError>>;

fn id(of: &impl Hash) -> CommitId {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    CommitId(format!("{:040x}", hasher.finish()))
}

fn blob(content: &[u8]) -> String {
    BlobId::of(content).unwrap().to_string()
}

impl Remote {
    fn new() -> Self {
        let tree: Tree =
            fixture("before").into_iter().chain(fixture("started")).map(|(p, c)| (p, Rc::new(c))).collect();
        let mut remote = Self {
            commits: BTreeMap::new(),
            blobs: BTreeMap::new(),
            base: None,
            hidden: None,
            branches: BTreeMap::new(),
            ever: BTreeSet::new(),
            pulls: vec![],
            late: vec![],
            foreign: 0,
            foreign_commits: BTreeSet::new(),
            known: RefCell::default(),
        };
        let start = CommitId(format!("{:040x}", 1));
        remote.put(start.clone(), vec![], tree);
        remote.base = Some(start);
        remote
    }

    fn put(&mut self, id: CommitId, parents: Vec<CommitId>, tree: Tree) {
        self.blobs.extend(tree.values().map(|content| (blob(content), Rc::clone(content))));
        self.commits.insert(id, Commit { parents, tree: Rc::new(tree) });
    }

    fn tree(&self, commit: &CommitId) -> Rc<Tree> {
        Rc::clone(&self.commits[commit].tree)
    }

    fn snapshot<'a>(&'a self, tree: &'a Tree) -> Snapshot<'a> {
        Snapshot { tree, blobs: &self.blobs }
    }

    /// Somebody's commit on another.
    fn foreign(&mut self, on: &CommitId, edit: impl FnOnce(&mut Tree)) -> CommitId {
        self.foreign += 1;
        let mut tree = (*self.tree(on)).clone();
        edit(&mut tree);
        let id = id(&("foreign", self.foreign));
        self.foreign_commits.insert(id.clone());
        self.put(id.clone(), vec![on.clone()], tree);
        id
    }

    fn holds(&self, head: &CommitId, commit: &CommitId) -> bool {
        let (mut due, mut seen) = (vec![head.clone()], BTreeSet::new());
        while let Some(next) = due.pop() {
            if next == *commit {
                return true;
            }
            if seen.insert(next.clone()) {
                due.extend(self.commits[&next].parents.iter().cloned());
            }
        }
        false
    }

    /// What a request changes on a base, as the adapter computes it.
    fn change(&self, base: &CommitId, request: &Request) -> Result<Change, PlanError> {
        // The recorded blobs are the same for a whole life, once there are any.
        let (stage, whole) = (request.stage.as_str(), request.handover == Handover::SinglePullRequest);
        let key = (base.clone(), stage, whole, request.blobs.is_empty());
        if let Some(known) = self.known.borrow().get(&key) {
            return known.clone();
        }
        let change = self.compute(base, request);
        self.known.borrow_mut().insert(key, change.clone());
        change
    }

    fn compute(&self, base: &CommitId, request: &Request) -> Result<Change, PlanError> {
        let expected = request.blobs.iter().map(|(path, id)| (path.clone(), id.parse().unwrap())).collect();
        let spec = Spec { expected, ..spec() };
        let tree = self.tree(base);
        let files = self.snapshot(&tree);
        match request.stage {
            Stage::Promote if request.handover == Handover::SinglePullRequest => plan_whole(&files, &spec),
            Stage::Promote => plan_promote(&files, &spec),
            Stage::CleanUp => plan_cleanup(&files, &spec),
            Stage::Revert => plan_revert(&files, &spec),
        }
    }

    fn changed(&self, base: &CommitId, change: &Change) -> Tree {
        let mut tree = (*self.tree(base)).clone();
        for file in &change.files {
            match &file.op {
                FileOp::Edit { bytes, .. } => drop(tree.insert(file.path.clone(), Rc::new(bytes.clone()))),
                FileOp::Remove { .. } => drop(tree.remove(&file.path)),
            }
        }
        tree
    }

    /// What a request would do on a base.
    fn planned(&self, base: CommitId, request: &Request) -> Seen<Planned> {
        let change = self.change(&base, request).map_err(|e| Unavailable::new(e.cause(), e.to_string()))?;
        if change.files.is_empty() {
            return Ok(Planned::Nothing(base));
        }
        let after = |op: &FileOp| match op {
            FileOp::Edit { after, .. } => Some(after.to_string()),
            FileOp::Remove { .. } => None,
        };
        let after = change.files.iter().map(|f| (f.path.clone(), after(&f.op))).collect();
        let commit = id(&(&base.0, &request.key, request.decided_at.as_second(), format!("{:?}", request.report)));
        Ok(Planned::Commit(StageWork { commit, base, files: vec![], after }))
    }

    /// Three-way, file by file; none if they conflict.
    fn merged(&self, pull: &Pull) -> Option<Tree> {
        let base = self.base.as_ref()?;
        let mut fork = pull.head.clone();
        while !self.holds(base, &fork) {
            fork = self.commits[&fork].parents.first()?.clone();
        }
        let (ours, theirs, fork) = (self.tree(base), self.tree(&pull.head), self.tree(&fork));
        let mut tree = (*ours).clone();
        let paths: BTreeSet<_> = theirs.keys().chain(fork.keys()).collect();
        for path in paths.into_iter().filter(|path| theirs.get(*path) != fork.get(*path)) {
            if ours.get(path) != fork.get(path) && ours.get(path) != theirs.get(path) {
                return None;
            }
            match theirs.get(path) {
                Some(content) => drop(tree.insert(path.clone(), Rc::clone(content))),
                None => drop(tree.remove(path)),
            }
        }
        Some(tree)
    }
}

/// One experiment's world.
struct World {
    random: Random,
    remote: Remote,
    start: CommitId,
    /// The base of the last rehearsal: what it holds is what is tried.
    tried: CommitId,
    calm: bool,
    /// Nobody hurries with requests here.
    slow: bool,
    // The cluster.
    cluster: testing::World,
    /// The baseline's manifest in the cluster, and turns until it has rolled out.
    live: Rc<Vec<u8>>,
    rollout: u64,
    /// This rollout never completes, and says so.
    failing: bool,
    /// What was on the base branch after the merge has been rolled out once.
    arrived: bool,
    deleting: Option<Timestamp>,
    gone: bool,
    /// How often there were two requests from one branch.
    twins: u64,
    wishes: Vec<Wish>,
    // Now.
    git_is_away: bool,
    metrics_are_away: bool,
}

/// Nobody holds the target; so many of the candidate's requests are bad.
fn cluster(errors: f64) -> testing::World {
    let history = [Tally { requests: 1000.0, bad: 1.0 }; 60];
    let mut cluster = testing::World::ready().free().errors(errors).history(1, &history);
    cluster.traffic.rps = 200.0;
    let Workloads { baseline, candidates } = &mut cluster.workloads;
    candidates.iter_mut().chain([baseline]).for_each(|workload| workload.content = "tried".into());
    cluster
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let remote = Remote::new();
        let start = remote.base.clone().unwrap();
        let live = Rc::clone(&remote.tree(&start)[BASELINE]);
        Self {
            cluster: cluster(if random.once_in(4) { 0.5 } else { 0.0 }),
            slow: random.once_in(4),
            random,
            remote,
            tried: start.clone(),
            start,
            calm: false,
            live,
            rollout: 0,
            failing: false,
            arrived: false,
            deleting: None,
            gone: false,
            twins: 0,
            wishes: vec![],
            git_is_away: false,
            metrics_are_away: false,
        }
    }

    fn unless<T>(&mut self, away: bool, fact: T) -> Seen<T> {
        if away || !self.calm && self.random.once_in(40) {
            return Err(Unavailable::new(Cause::ProviderUnavailable, "no answer"));
        }
        Ok(fact)
    }

    fn see(&mut self, asked: &Questions) -> Observation {
        let failed = (self.failing && self.rollout > 0).then(|| "ProgressDeadlineExceeded".into());
        self.cluster.workloads.baseline.failed = failed;
        self.cluster.outage = self.metrics_are_away.then(|| Unavailable::new(Cause::MetricsUnavailable, "gone"));
        let mut seen = self.cluster.see(asked);
        let stage = asked.stage.as_ref().map(|question| self.stage(question));
        let rollout = asked.rollout.as_ref().map(|_| self.rolled_out());
        let preflight = asked.preflight.then(|| self.preflight());
        if let Some(Ok(preflight)) = &preflight {
            self.tried = preflight.base.clone();
        }
        let away = self.git_is_away;
        seen.routes = seen.routes.map(|fact| self.unless(false, fact).and_then(|fact| fact));
        seen.workloads = seen.workloads.map(|fact| self.unless(false, fact).and_then(|fact| fact));
        seen.preflight = preflight.map(|fact| self.unless(away, fact).and_then(|fact| fact));
        seen.stage = stage.map(|fact| self.unless(away, fact).and_then(|fact| fact));
        seen.rollout = rollout.map(|fact| self.unless(away, fact).and_then(|fact| fact));
        seen
    }

    fn missing_base() -> Unavailable {
        Unavailable::new(Cause::BaseBranchMissing, "failed to find the branch main")
    }

    fn preflight(&self) -> Seen<Preflight> {
        let base = self.remote.base.clone().ok_or_else(Self::missing_base)?;
        let tree = self.remote.tree(&base);
        let files = self.remote.snapshot(&tree);
        let refuse = |e: PlanError| Unavailable::new(e.cause(), e.to_string());
        let changes = [plan_promote(&files, &spec()).map_err(refuse)?, plan_cleanup(&files, &spec()).map_err(refuse)?];
        let missing = changes.iter().find_map(|c| c.missing.first());
        if let Some(missing) = missing {
            return Err(Unavailable::new(Cause::WaitingForSync, missing.to_string()));
        }
        let before = |op: &FileOp| match op {
            FileOp::Edit { before, .. } | FileOp::Remove { before } => before.to_string(),
        };
        let mut blobs: BTreeMap<_, _> =
            changes.iter().flat_map(|c| &c.files).map(|f| (f.path.clone(), before(&f.op))).collect();
        blobs.entry(CANDIDATE.into()).or_insert_with(|| blob(&tree[CANDIDATE]));
        Ok(Preflight { base, blobs })
    }

    fn stage(&self, question: &StageQuestion) -> Seen<StageSeen> {
        let (remote, request) = (&self.remote, &question.request);
        let pull = |found: Option<(usize, &Pull)>| {
            found.map(|(index, pull)| reiter8::engine::Pull {
                number: index as u64 + 1,
                url: String::new(),
                state: pull.state.clone(),
                head: Some(pull.head.clone()),
                text: Some(pull.text.clone()),
            })
        };
        let there = |found: Option<(usize, &Pull)>| RequestSeen {
            head: remote.base.clone(),
            branch: remote.branches.get(&request.branch).cloned(),
            pull: pull(found),
        };
        let base = || remote.base.clone().ok_or_else(Self::missing_base);
        Ok(match &question.look {
            Look::Plan => StageSeen::Plan(remote.planned(base()?, request)?),
            Look::Publish => {
                let from = |state: bool| {
                    let ours = move |p: &&Pull| p.branch == request.branch && (p.state == PullState::Open) == state;
                    remote.pulls.iter().enumerate().filter(move |(_, p)| ours(p))
                };
                let found = from(true).next().or_else(|| from(false).next_back());
                StageSeen::Publish { request: there(found), lacks: vec![] }
            }
            Look::Review(number) => {
                let found = remote.pulls.iter().enumerate().find(|(index, _)| *index as u64 + 1 == *number);
                let open = found.filter(|(_, p)| p.state == PullState::Open);
                let conflict = remote.base.is_some() && open.is_some_and(|(_, p)| remote.merged(p).is_none());
                let again = base().and_then(|base| remote.planned(base, request)).ok().filter(|_| conflict);
                let twin = |(index, p): &(usize, &Pull)| {
                    *index as u64 + 1 != *number && p.branch == request.branch && p.state == PullState::Open
                };
                let twins = remote.pulls.iter().enumerate().filter(|twin_of| question.twins && twin(twin_of));
                let twins = twins.filter_map(|found| pull(Some(found))).collect();
                let conflict = conflict.then_some(Conflict { again });
                StageSeen::Review(Reviewed { request: there(found), twins, conflict })
            }
            Look::Base(commit) => {
                let base = base()?;
                StageSeen::Base { landed: remote.holds(&base, commit), head: base }
            }
            Look::Contents(paths) => {
                let tree = remote.tree(&base()?);
                let blobs = paths.keys().map(|p| (p.clone(), tree.get(p).map(|content| blob(content)))).collect();
                StageSeen::Contents { blobs, kept: BTreeSet::new() }
            }
        })
    }

    fn rolled_out(&self) -> Seen<Rollout> {
        let base = self.remote.base.clone().ok_or_else(Self::missing_base)?;
        let tree = self.remote.tree(&base);
        let wanted = tree.get(BASELINE).ok_or_else(|| Unavailable::new(Cause::FileMissing, BASELINE))?;
        let applied = *wanted == self.live;
        Ok(Rollout { applied, complete: applied && self.rollout == 0, detail: String::new() })
    }

    /// Checks what no effect may ask for, then obeys; an effect may fail before or after it is carried out.
    fn perform(
        &mut self,
        plan: &Plan,
        progress: &Progress,
        effect: &Effect,
        now: Timestamp,
    ) -> Result<bool, Violation> {
        self.check(plan, progress, effect, now)?;
        let fault = if self.calm { 100 } else { self.random.below(30) };
        let git = matches!(
            effect,
            Effect::Push { .. }
                | Effect::Open { .. }
                | Effect::Commit { .. }
                | Effect::Close { .. }
                | Effect::Rewrite { .. }
        );
        if fault == 0 || git && self.git_is_away {
            return Ok(false);
        }
        let done = self.obey(effect);
        Ok(done && fault != 1)
    }

    fn obey(&mut self, effect: &Effect) -> bool {
        match effect {
            Effect::Claim | Effect::Release | Effect::Route(_) => self.cluster.obey(effect),
            Effect::Push { request, base, commit } => {
                let Ok(change) = self.remote.change(base, request) else { return false };
                let tree = self.remote.changed(base, &change);
                self.remote.put(commit.clone(), vec![base.clone()], tree);
                self.remote.branches.insert(request.branch.clone(), commit.clone());
                self.remote.ever.insert(request.branch.clone());
            }
            Effect::Commit { request, base, commit } => {
                if self.remote.base.as_ref() != Some(base) {
                    return false;
                }
                let Ok(change) = self.remote.change(base, request) else { return false };
                let tree = self.remote.changed(base, &change);
                self.remote.put(commit.clone(), vec![base.clone()], tree);
                self.remote.base = Some(commit.clone());
            }
            Effect::Open { request, .. } => {
                let Some(head) = self.remote.branches.get(&request.branch).cloned() else { return false };
                if self.remote.base.is_none() {
                    return false;
                }
                let text = TextSeen::Ours { news: request.report.news.mark(), at: request.decided_at };
                let pull = Pull { branch: request.branch.clone(), head, state: PullState::Open, text };
                if !self.calm && self.random.once_in(8) {
                    // The server takes its time, and whoever asked has given up.
                    let looks = 1 + self.random.below(6);
                    self.remote.late.push((looks, pull));
                    return false;
                }
                self.remote.pulls.push(pull);
            }
            Effect::Merge { .. } => panic!("people merge here"),
            Effect::Rewrite { request, number, at, .. } => {
                let pull = &mut self.remote.pulls[usize::try_from(*number).unwrap() - 1];
                pull.text = TextSeen::Ours { news: request.report.news.mark(), at: *at };
            }
            Effect::Close { number, .. } => {
                let pull = &mut self.remote.pulls[usize::try_from(*number).unwrap() - 1];
                if pull.state == PullState::Open {
                    pull.state = PullState::Closed;
                }
            }
            Effect::Delete { branch, commit } => {
                if self.remote.branches.get(branch) == Some(commit) {
                    self.remote.branches.remove(branch);
                }
            }
            Effect::Forget => self.gone = self.deleting.is_some(),
        }
        true
    }

    fn check(&self, plan: &Plan, progress: &Progress, effect: &Effect, now: Timestamp) -> Result<(), Violation> {
        let remote = &self.remote;
        match effect {
            Effect::Route(split) => self.check_weight(plan, progress, split.of(0)),
            Effect::Push { request, base, .. } => {
                let branch = &request.branch;
                if remote.pulls.iter().any(|p| p.branch == *branch && p.state != PullState::Open) {
                    return Err(forbidden(
                        Mutant::PushAfterMerge,
                        format!("{branch} was pushed after its request ended"),
                    ));
                }
                if remote.branches.contains_key(branch) {
                    return Err(forbidden(Mutant::DoublePush, format!("{branch} was pushed over")));
                }
                if remote.ever.contains(branch) {
                    return Err(forbidden(Mutant::ResurrectedBranch, format!("{branch} was made again")));
                }
                self.check_content(base, request)
            }
            Effect::Commit { request, base, commit } => {
                if remote.base.as_ref().is_some_and(|head| remote.holds(head, commit)) {
                    return Err(forbidden(Mutant::DoublePush, "a commit was committed twice"));
                }
                self.check_content(base, request)
            }
            Effect::Open { request, .. } => {
                if remote.pulls.iter().any(|p| p.branch == request.branch) {
                    return Err(forbidden(Mutant::RequestCreatedTwice, format!("{} has a request", request.branch)));
                }
                Ok(())
            }
            Effect::Close { number, .. } => {
                let pull = usize::try_from(*number).ok().and_then(|n| remote.pulls.get(n - 1));
                // One that has ended stays as it is, so that a forge that is away may be told on suspicion.
                let ours = pull.is_some_and(|p| p.branch.starts_with("iter8/"));
                if ours { Ok(()) } else { Err(Violation { mutant: None, what: format!("closed #{number}") }) }
            }
            Effect::Rewrite { number, .. } => {
                let pull = usize::try_from(*number).ok().and_then(|n| remote.pulls.get(n - 1));
                match pull.map(|p| &p.text) {
                    Some(TextSeen::Edited) => Err(forbidden(
                        Mutant::ForeignTextReplaced,
                        format!("a person's text in #{number} was replaced"),
                    )),
                    Some(TextSeen::Ours { at, .. }) if *at + SignedDuration::from_mins(5) <= now => Ok(()),
                    seen => Err(Violation { mutant: None, what: format!("#{number} was written over {seen:?}") }),
                }
            }
            Effect::Delete { branch, commit } => {
                let found = remote.branches.get(branch);
                if found.is_some_and(|head| remote.foreign_commits.contains(head)) || found != Some(commit) {
                    return Err(forbidden(Mutant::ForeignBranchDeleted, format!("{branch} is at {found:?}")));
                }
                let open = remote.pulls.iter().any(|p| p.branch == *branch && p.state == PullState::Open);
                if open {
                    Err(Violation { mutant: None, what: format!("{branch} has an open request") })
                } else {
                    Ok(())
                }
            }
            Effect::Forget if plan.deleting.is_none() => {
                Err(Violation { mutant: None, what: "let go without a deletion".into() })
            }
            Effect::Claim | Effect::Release | Effect::Merge { .. } | Effect::Forget => Ok(()),
        }
    }

    fn check_weight(&self, plan: &Plan, progress: &Progress, weight: u8) -> Result<(), Violation> {
        if weight != 0 && !RAMP.contains(&weight) {
            return Err(forbidden(Mutant::ForeignWeightAdopted, format!("{weight} % is no step of the ramp")));
        }
        let decision = progress.decision.as_ref();
        let discarded = decision.is_some_and(|d| d.outcome == Outcome::Discard);
        let serves = decision.is_some_and(|d| d.reason == Reason::BaselineRolloutFailed);
        if weight > 0 && discarded && !serves {
            return Err(Violation { mutant: None, what: format!("a discarded candidate was given {weight} %") });
        }
        let promoting = progress.phase == Phase::Promoting && self.deleting.is_none();
        let merged = progress.stages.iter().any(|s| s.stage() == Stage::Promote && s.merged().is_some());
        // With one request the candidate goes with its merge: its traffic is home before.
        let first = plan.gitops.as_ref().is_some_and(|g| g.handover == Handover::SinglePullRequest);
        let excused = first
            || !self.is_ready()
            || progress.entrants.iter().any(|e| e.lost.is_some())
            || progress.overridden.is_some()
            || progress.stages.len() > 1;
        if weight == 0 && promoting && merged && !excused && !self.arrived {
            let what = "traffic left the candidate before the baseline was rolled out";
            return Err(forbidden(Mutant::WeightsBeforeRollout, what));
        }
        Ok(())
    }

    /// Only what was tested is promoted, only what is still the experiment's is removed.
    fn check_content(&self, base: &CommitId, request: &Request) -> Result<(), Violation> {
        let (now, tried) = (self.remote.tree(base), self.remote.tree(&self.tried));
        let change = self.remote.change(base, request).unwrap_or_default();
        if request.stage == Stage::Promote && now.get(CANDIDATE) != tried.get(CANDIDATE) {
            let what = "a candidate that was changed since its trial was promoted";
            return Err(forbidden(Mutant::UntestedBlobPromoted, what));
        }
        for file in &change.files {
            let removed = matches!(file.op, FileOp::Remove { .. });
            if removed && now.get(&file.path) != tried.get(&file.path) {
                return Err(forbidden(Mutant::ForeignFileRemoved, format!("{} was removed", file.path)));
            }
            if !file.path.starts_with(APP) {
                return Err(Violation { mutant: None, what: format!("{} was touched", file.path) });
            }
        }
        Ok(())
    }

    /// Everything that moves by itself.
    fn happen(&mut self, progress: &Progress, now: Timestamp) {
        if self.calm {
            (self.git_is_away, self.metrics_are_away, self.failing) = (false, false, false);
            self.cluster.workloads.candidates[0].ready = 1;
            if let Some(hidden) = self.remote.hidden.take() {
                self.remote.base = Some(hidden);
            }
        } else {
            self.faults();
            self.ask(progress, now);
            self.commits();
            self.weights(progress);
        }
        self.land();
        self.reviewers(progress);
        self.sync(now);
        let merged = progress.stages.iter().any(|s| s.stage() == Stage::Promote && s.merged().is_some());
        self.arrived |= merged && self.rolled_out().is_ok_and(|r| r.complete);
    }

    fn faults(&mut self) {
        let random = &mut self.random;
        self.git_is_away = if self.git_is_away { !random.once_in(5) } else { random.once_in(60) };
        self.metrics_are_away = if self.metrics_are_away { !random.once_in(5) } else { random.once_in(60) };
        let ready = &mut self.cluster.workloads.candidates[0].ready;
        *ready = u32::from(if *ready > 0 { !random.once_in(200) } else { random.once_in(2) });
        match self.remote.hidden.take() {
            Some(hidden) if random.once_in(4) => self.remote.base = Some(hidden),
            Some(hidden) => self.remote.hidden = Some(hidden),
            None if random.once_in(150) => self.remote.hidden = self.remote.base.take(),
            None => {}
        }
    }

    /// People ask something of the experiment.
    fn ask(&mut self, progress: &Progress, at: Timestamp) {
        if progress.overridden.is_some() && self.random.once_in(10) {
            self.wish(Verb::Resume, at);
        }
        match self.random.below(1200) {
            0 => self.wish(Verb::Abort, at),
            1 => self.wish(Verb::Promote, at),
            2..8 => self.wish(Verb::Retry, at),
            8 => self.wish(Verb::Pause, at),
            9..40 => self.wish(Verb::Resume, at),
            _ => {}
        }
    }

    fn wish(&mut self, verb: Verb, at: Timestamp) {
        self.wishes.retain(|w| !matches!(w, Wish::Asked { verb: v, .. } if *v == verb));
        self.wishes.push(Wish::Asked { verb, at, why: String::new() });
    }

    /// CI and people commit to the base branch.
    fn commits(&mut self) {
        let Some(base) = self.remote.base.clone() else { return };
        let path = match self.random.below(900) {
            0..90 => "README.md".to_owned(),
            90..93 => CANDIDATE.to_owned(),
            93..95 => BASELINE.to_owned(),
            95..98 => format!("{APP}/fortio.yaml"),
            98 => {
                // Somebody takes back whatever happened since the start.
                let start = self.remote.tree(&self.start);
                self.remote.base = Some(self.remote.foreign(&base, |tree| *tree = (*start).clone()));
                return;
            }
            99 => {
                self.remote.base = Some(self.start.clone());
                return;
            }
            _ => return,
        };
        self.remote.base = Some(self.remote.foreign(&base, |tree| append(tree, &path)));
    }

    /// Somebody changes the routes.
    fn weights(&mut self, progress: &Progress) {
        let running = matches!(progress.phase, Phase::Shifting | Phase::Deciding | Phase::Promoting);
        if running && self.random.once_in(40) {
            self.edit(FOREIGN, "other-controller");
        } else if running && self.random.once_in(400) {
            self.edit(0, "kubectl-edit");
        }
    }

    fn edit(&mut self, weight: u8, by: &str) {
        self.cluster.routes = Routes { writer: Some(by.into()), ..Routes::split(Split::one(weight)) };
    }

    fn is_ready(&self) -> bool {
        self.cluster.workloads.candidates[0].ready > 0
    }

    /// Requests that somebody asked for a while ago. A forge compares them with those that are there before it makes one, and
    /// two that come at the same time are both made.
    fn land(&mut self) {
        let mut late = std::mem::take(&mut self.remote.late);
        for (looks, _) in &mut late {
            *looks = if self.calm { 0 } else { looks.saturating_sub(1) };
        }
        let (landing, late): (Vec<_>, Vec<_>) = late.into_iter().partition(|(looks, _)| *looks == 0);
        self.remote.late = late;
        for (_, pull) in landing {
            let ended = self.remote.pulls.iter().any(|p| p.branch == pull.branch && p.state != PullState::Open);
            if self.remote.branches.contains_key(&pull.branch) && !ended {
                self.twins += u64::from(self.remote.pulls.iter().any(|p| p.branch == pull.branch));
                self.remote.pulls.push(pull);
            }
        }
    }

    /// People do anything with requests and their branches.
    fn reviewers(&mut self, progress: &Progress) {
        for index in 0..self.remote.pulls.len() {
            let (branch, state) = (self.remote.pulls[index].branch.clone(), self.remote.pulls[index].state.clone());
            match self.remote.branches.get(&branch).cloned() {
                Some(head) if state == PullState::Open => self.remote.pulls[index].head = head,
                None if state == PullState::Open => self.remote.pulls[index].state = PullState::Closed,
                _ => {}
            }
            if self.remote.pulls[index].state != PullState::Open {
                if self.random.once_in(3) {
                    self.remote.branches.remove(&branch);
                }
                continue;
            }
            let act = if self.calm { 0 } else { self.random.below(if self.slow { 900 } else { 120 }) };
            match act {
                0..12 => self.merge(index),
                12..14 => self.remote.pulls[index].state = PullState::Closed,
                14 => drop(self.remote.branches.remove(&branch)),
                15..18 => {
                    let path = if act == 15 { BASELINE } else { "apps/productpage/routing.yaml" };
                    let head = self.remote.pulls[index].head.clone();
                    let edited = self.remote.foreign(&head, |tree| append(tree, path));
                    self.remote.branches.insert(branch, edited);
                }
                18..20 => self.remote.pulls[index].text = TextSeen::Edited,
                _ => {}
            }
        }
        // A branch whose request was not opened yet belongs to nobody's eyes, but may be deleted all the same.
        let pushed = progress.stages.last().is_some_and(|s| s.state() == StageState::Pushed);
        if !self.calm && pushed && self.random.once_in(12) {
            let alone = |branch: &&String| !self.remote.pulls.iter().any(|p| p.branch == **branch);
            let orphans: Vec<_> = self.remote.branches.keys().filter(alone).cloned().collect();
            for branch in &orphans {
                let head = self.remote.branches.remove(branch);
                if let Some(head) = head.filter(|_| self.random.once_in(2)) {
                    let edited = self.remote.foreign(&head, |tree| append(tree, "README.md"));
                    self.remote.branches.insert(branch.clone(), edited);
                }
            }
        }
    }

    fn merge(&mut self, index: usize) {
        let Some(base) = self.remote.base.clone() else { return };
        let Some(tree) = self.remote.merged(&self.remote.pulls[index]) else {
            // In peace somebody clears a conflict away: the request is closed.
            if self.calm {
                self.remote.pulls[index].state = PullState::Closed;
            }
            return;
        };
        let squashed = self.random.once_in(2);
        let (head, branch) = (self.remote.pulls[index].head.clone(), self.remote.pulls[index].branch.clone());
        let parents = if squashed { vec![base] } else { vec![base, head] };
        self.remote.foreign += 1;
        let merge = id(&("merge", self.remote.foreign));
        self.remote.put(merge.clone(), parents, tree);
        self.remote.base = Some(merge.clone());
        self.remote.pulls[index].state = PullState::Merged(merge);
        if self.random.once_in(2) {
            self.remote.branches.remove(&branch);
        }
    }

    /// The GitOps tool, and a rollout that goes on.
    fn sync(&mut self, now: Timestamp) {
        if self.rollout > 0 && !self.failing {
            self.rollout -= 1;
        }
        let Some(base) = self.remote.base.clone().filter(|_| self.calm || self.random.once_in(3)) else { return };
        let tree = self.remote.tree(&base);
        if let Some(wanted) = tree.get(BASELINE).filter(|wanted| **wanted != self.live) {
            self.live = Rc::clone(wanted);
            self.rollout = 1 + self.random.below(8);
            self.failing = !self.calm && self.random.once_in(8);
        }
        if !tree.contains_key(EXPERIMENT) && self.deleting.is_none() {
            self.deleting = Some(now);
        }
    }
}

fn append(tree: &mut Tree, path: &str) {
    let mut content = tree.get(path).map(|c| c.to_vec()).unwrap_or_default();
    content.extend_from_slice(b"# touched\n");
    tree.insert(path.to_owned(), Rc::new(content));
}

fn plan(handover: Handover) -> Plan {
    let seconds = SignedDuration::from_secs;
    let usual = trial::limited();
    let steps = RAMP.map(|weight| Rung { weight, hold: seconds(10), approval: false });
    Plan {
        identity: Identity {
            namespace: "bookinfo".into(),
            name: "productpage-x7k2p".into(),
            uid: "u1".into(),
            target: "bookinfo/productpage".into(),
        },
        baseline: Version { name: "stable".into(), workload: "productpage".into() },
        candidates: vec![Version { name: "candidate".into(), workload: "productpage-candidate".into() }],
        ramp: Ramp::Steps(steps.to_vec()),
        cap: 40,
        analysis: Analysis {
            lag: seconds(5),
            warm_up: seconds(0),
            soak: seconds(10),
            deadline: seconds(1200),
            hard_deadline: seconds(1800),
            ..usual.analysis
        },
        gitops: Some(Gitops { stale_after: seconds(3600), drain: seconds(10), handover, ..trial::gitops() }),
        ..usual
    }
}

/// What a life came to, for the record.
#[derive(Default)]
pub(crate) struct Tale {
    pub(crate) steps: usize,
    pub(crate) lives: usize,
    /// Lives that wait for a person at their end, by what they wait for.
    pub(crate) left: BTreeMap<String, usize>,
    pub(crate) reasons: BTreeSet<String>,
    pub(crate) states: BTreeSet<&'static str>,
    pub(crate) effects: BTreeMap<&'static str, usize>,
    /// How often there were two requests from one branch.
    pub(crate) twins: u64,
}

/// One life: unrest, then peace, in which it has to come to its end.
fn life(seed: u64, tale: &mut Tale) -> Result<(), Violation> {
    let mut world = World::new(seed);
    let handover = match world.random.below(3) {
        0 => Handover::TwoPullRequests,
        1 => Handover::SinglePullRequest,
        _ => Handover::CommitToBase,
    };
    let (mut plan, mut progress) = (plan(handover), Progress::default());
    let mut now = trial::start();
    for round in 0..LIFE + PEACE {
        world.calm = round >= LIFE;
        world.happen(&progress, now);
        plan.deleting = world.deleting;
        plan.wishes.clone_from(&world.wishes);
        let wake = turn(&plan, &mut world, &mut progress, now, tale)?;
        tale.twins += std::mem::take(&mut world.twins);
        if world.gone || progress.phase == Phase::Completed && world.calm && world.deleting.is_none() && settled(&world)
        {
            return Ok(());
        }
        let next = match wake {
            Wake::At(time) if world.calm => time,
            Wake::At(time) => time.min(now + SignedDuration::from_secs(30)),
            Wake::OnChange => now + SignedDuration::from_secs(30),
        };
        now = next.max(now + SignedDuration::from_secs(1));
    }
    // Left in peace it may wait for a person who never comes, with a reason and a time.
    match &progress.waiting {
        Some(waiting) if waiting.until.is_some() => {
            *tale.left.entry(waiting.reason.clone()).or_default() += 1;
            Ok(())
        }
        waiting => Err(Violation {
            mutant: None,
            what: format!("{:?} does not end: {waiting:?}, {:?}", progress.phase, progress.stages.last()),
        }),
    }
}

/// Nothing is left that a reviewer in peace would do.
fn settled(world: &World) -> bool {
    world.remote.pulls.iter().all(|p| p.state != PullState::Open)
}

/// One turn, whose process may die after its commit or between two effects.
fn turn(
    plan: &Plan,
    world: &mut World,
    progress: &mut Progress,
    now: Timestamp,
    tale: &mut Tale,
) -> Result<Wake, Violation> {
    let seen = world.see(&ask(plan, progress, now));
    let done = step(plan, progress, &seen, now);
    tale.steps += 1;
    if done.progress.weight != 0 && !RAMP.contains(&done.progress.weight) {
        let what = format!("the ramp is at {} %", done.progress.weight);
        return Err(forbidden(Mutant::ForeignWeightAdopted, what));
    }
    if !world.calm && world.random.once_in(50) {
        // It dies before its commit, or the commit is refused.
        return Ok(Wake::At(now));
    }
    let dies = !world.calm && world.random.once_in(25);
    *progress = done.progress;
    if dies {
        progress.watch = None;
    }
    tale.reasons.extend(progress.waiting.as_ref().map(|w| w.reason.clone()));
    tale.reasons.extend(done.notices.iter().map(|n| n.reason.to_owned()));
    tale.reasons.extend(progress.decision.as_ref().map(|d| d.reason.as_str().to_owned()));
    tale.states.extend(progress.stages.last().map(|s| s.state().as_str()));
    let survives = if dies { world.random.below(3) } else { u64::MAX };
    for (index, effect) in done.effects.iter().enumerate() {
        if index as u64 >= survives {
            break;
        }
        *tale.effects.entry(effect.as_str()).or_default() += 1;
        if !world.perform(plan, progress, effect, now)? {
            break;
        }
    }
    Ok(done.wake)
}

/// Lives until so many steps were taken. The seed of a life that fails is in the message.
pub(crate) fn lives(seed: u64, steps: usize) -> Result<Tale, Violation> {
    let mut tale = Tale::default();
    for life_seed in seed.. {
        life(life_seed, &mut tale).map_err(|v| Violation { what: format!("life {life_seed}: {}", v.what), ..v })?;
        tale.lives += 1;
        if tale.steps >= steps {
            break;
        }
    }
    Ok(tale)
}

#[test]
fn a_hundred_thousand_steps_break_no_promise() {
    let began = std::time::Instant::now();
    let tale = lives(1, STEPS).unwrap_or_else(|violation| panic!("{violation:?}"));
    assert!(tale.steps >= STEPS);
    let states = ["Planning", "Planned", "Pushed", "Waiting", "Merged", "RollingOut", "Confirming", "HandingOver"];
    let more = ["Draining", "Done", "Checking", "Withdrawing"];
    for state in states.into_iter().chain(more) {
        assert!(tale.states.contains(state), "no life came to {state}: {:?}", tale.states);
    }
    let reasons = [
        "RejectedInReview",
        "BranchDeleted",
        "BranchEdited",
        "RequestEdited",
        "MergedDifferently",
        "BaseBranchMissing",
        "PromotionReverted",
        "BaselineRolloutFailed",
        "CandidateSuperseded",
        "BaselineChanged",
        "FileChanged",
        "WeightsRepaired",
        "TrafficOverridden",
        "Aborted",
        "Proven",
        "Harmful",
    ];
    assert!(tale.twins > 5, "no two requests met");
    assert!(tale.effects.get("Rewrite").is_some_and(|n| *n > 10), "no text followed its report: {:?}", tale.effects);
    let never: Vec<_> = reasons.into_iter().filter(|r| !tale.reasons.contains(*r)).collect();
    println!("{} steps of {} lives in {:?}", tale.steps, tale.lives, began.elapsed());
    println!("effects {:?}\nleft waiting {:?}\nreasons {:?}", tale.effects, tale.left, tale.reasons);
    assert!(never.is_empty(), "never happened: {never:?}");
    assert!(tale.left.is_empty(), "some lives had no end: {:?}", tale.left);
}

/// Each defect is found, and by the promise that it breaks.
#[cfg(feature = "mutants")]
#[test]
fn every_mutant_is_found() {
    for mutant in Mutant::ALL {
        reiter8::engine::mutants::choose(Some(mutant));
        let found = lives(1, STEPS);
        reiter8::engine::mutants::choose(None);
        match found {
            Err(violation) if violation.mutant == Some(mutant) => println!("{mutant:?}: {}", violation.what),
            Err(violation) => panic!("{mutant:?} broke another promise: {violation:?}"),
            Ok(_) => panic!("{mutant:?} was not found in {STEPS} steps"),
        }
    }
}
