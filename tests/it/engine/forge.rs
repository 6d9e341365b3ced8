//! What the engine wants of a forge's requests beside their being opened, against observations made by hand.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use reiter8::engine::*;
use reiter8_testing::{Remote, but, remembered, trial};
use serde_json::json;

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn commit(name: &str) -> CommitId {
    CommitId(name.into())
}

fn plan() -> Plan {
    merging(AutoMerge::default())
}

fn merging(auto_merge: AutoMerge) -> Plan {
    let gitops = Gitops {
        base_branch: "main".into(),
        stale_after: SignedDuration::from_hours(24),
        drain: SignedDuration::ZERO,
        waiting: WhileWaiting::Hold,
        handover: Handover::TwoPullRequests,
        auto_merge,
    };
    Plan { gitops: Some(gitops), ..trial::plan(vec![]) }
}

/// A promotion whose stage is in a state.
fn progress(stage: Stage, state: StageState) -> Progress {
    let decision =
        Decision { sentence: "The candidate is proven.".into(), ..trial::decision(Outcome::Promote, Reason::Proven) };
    let (base, ours) = (commit("base"), commit("ours"));
    let work = StageWork { base: base.clone(), commit: ours, files: vec![], after: BTreeMap::new() };
    let number = (state == StageState::Waiting).then_some(7);
    let merged = (state == StageState::Merged).then(|| commit("merged"));
    let weight = if stage == Stage::Promote { 50 } else { 0 };
    remembered(&json!({
        "phase": Phase::Promoting,
        "since": start(),
        "held": true,
        "weight": weight,
        "carried": Split::one(weight),
        "decision": decision,
        "preflight": Preflight { base, blobs: BTreeMap::new() },
        "stages": [{
            "stage": stage, "state": state, "since": start(), "work": work, "number": number, "merged": merged,
        }],
    }))
}

/// Request 7 is open with this commit at its head.
fn open(head: &str) -> Remote {
    let pull = Pull { number: 7, url: String::new(), state: PullState::Open, head: Some(commit(head)), text: None };
    Remote { head: Some(commit("base")), branch: Some(commit(head)), pull: Some(pull), ..Remote::default() }
}

fn lacking(what: &str) -> Remote {
    Remote { lacks: vec![what.into()], ..open("ours") }
}

fn seen(stage: Option<Seen<StageSeen>>, weight: u8) -> Observation {
    let workload = || Workload { exists: true, desired: 1, ready: 1, ..Workload::default() };
    Observation {
        lock: Some(Ok(Lock::Mine)),
        routes: Some(Ok(Routes::split(Split::one(weight)))),
        workloads: Some(Ok(Workloads { baseline: workload(), candidates: vec![workload()] })),
        stage,
        ..Observation::default()
    }
}

/// What the remote answers to what is asked of it.
fn answer(plan: &Plan, progress: &Progress, remote: &Remote, now: Timestamp) -> Option<Seen<StageSeen>> {
    ask(plan, progress, now).stage.map(|question| Ok(remote.answer(&question.look)))
}

/// A step; its progress as another process reads it from the status.
// Every caller makes it in place.
#[allow(clippy::needless_pass_by_value)]
fn next(plan: &Plan, progress: &Progress, remote: Remote, now: Timestamp) -> Step {
    let done = step(plan, progress, &seen(answer(plan, progress, &remote, now), progress.weight), now);
    let written = serde_json::to_string(&done.progress).unwrap();
    Step { progress: serde_json::from_str(&written).unwrap(), ..done }
}

fn opens(step: &Step) -> usize {
    step.effects.iter().filter(|effect| matches!(effect, Effect::Open { .. })).count()
}

#[test]
fn a_request_whose_opener_died_gets_its_labels_from_the_next_process() {
    let (plan, pushed) = (plan(), progress(Stage::Promote, StageState::Pushed));
    let first = next(&plan, &pushed, lacking("label env"), start());
    assert_eq!((opens(&first), first.progress.stages[0].state()), (1, StageState::Pushed));
    // That process may die as well, after the record and before the work.
    let second = next(&plan, &first.progress, lacking("label env"), start());
    assert_eq!((opens(&second), second.progress.stages[0].state()), (1, StageState::Pushed));
    let whole = next(&plan, &first.progress, open("ours"), start());
    assert_eq!((opens(&whole), whole.progress.stages[0].state()), (0, StageState::Waiting));
    assert_eq!(whole.progress.stages[0].number(), Some(7));
}

#[test]
fn a_label_that_the_forge_does_not_take_holds_up_nothing() {
    let (plan, mut now) = (plan(), start());
    let (mut progress, mut opened) = (progress(Stage::Promote, StageState::Pushed), 0);
    while progress.stages[0].state() == StageState::Pushed {
        let done = next(&plan, &progress, lacking("label no-such"), now);
        opened += opens(&done);
        progress = done.progress;
        now += SignedDuration::from_secs(1);
        assert!(now < start() + SignedDuration::from_secs(10), "it is tried for ever: {progress:?}");
    }
    assert_eq!((opened, progress.stages[0].state()), (2, StageState::Waiting));
}

#[test]
fn a_request_that_has_ended_or_is_not_wanted_gets_nothing() {
    let (plan, pushed) = (plan(), progress(Stage::Promote, StageState::Pushed));
    let mut merged = lacking("label env");
    merged.pull.as_mut().unwrap().state = PullState::Merged(commit("merged"));
    assert_eq!(opens(&next(&plan, &pushed, merged, start())), 0);
    let unwanted = but(&pushed, &json!({"phase": Phase::Discarding}));
    assert_eq!(opens(&next(&plan, &unwanted, lacking("label env"), start())), 0);
}

/// The commits that a step wants merged.
fn merges(step: &Step) -> Vec<&str> {
    let merges = step.effects.iter().filter_map(|effect| match effect {
        Effect::Merge { number: 7, commit, .. } => Some(commit.0.as_str()),
        _ => None,
    });
    merges.collect()
}

const PROMOTE: AutoMerge = AutoMerge { promote: true, cleanup: false };
const CLEAN_UP: AutoMerge = AutoMerge { promote: false, cleanup: true };

#[test]
fn a_request_is_merged_where_that_is_wanted_and_as_it_was_pushed() {
    let now = start() + SignedDuration::from_secs(100);
    for (stage, policy, wanted) in [
        (Stage::Promote, PROMOTE, true),
        (Stage::Promote, CLEAN_UP, false),
        (Stage::CleanUp, CLEAN_UP, true),
        (Stage::CleanUp, PROMOTE, false),
        (Stage::Revert, AutoMerge { promote: true, cleanup: true }, false),
    ] {
        let (plan, waiting) = (merging(policy), progress(stage, StageState::Waiting));
        let tried = next(&plan, &waiting, open("ours"), now);
        assert_eq!(merges(&tried), if wanted { vec!["ours"] } else { vec![] }, "{stage:?} {policy:?}");
        assert!(
            merges(&next(&plan, &waiting, open("theirs"), now)).is_empty(),
            "others' commits are not ours to merge"
        );
        let mut unknown = open("ours");
        unknown.pull.as_mut().unwrap().head = None;
        assert!(merges(&next(&plan, &waiting, unknown, now)).is_empty(), "what is not known is not merged");
        let unwanted = but(&waiting, &json!({"phase": Phase::Discarding}));
        let stays = stage == Stage::CleanUp && wanted;
        assert_eq!(merges(&next(&plan, &unwanted, open("ours"), now)).is_empty(), !stays, "{stage:?}");
    }
}

#[test]
fn a_merge_that_is_hindered_is_tried_with_each_look_and_writes_no_status() {
    for (stage, policy) in [(Stage::Promote, PROMOTE), (Stage::CleanUp, CLEAN_UP)] {
        let (plan, now) = (merging(policy), start() + SignedDuration::from_secs(100));
        let first = next(&plan, &progress(stage, StageState::Waiting), open("ours"), now);
        assert_eq!(first.progress.waiting.as_ref().unwrap().reason, "WaitingForChecks");
        let second = next(&plan, &first.progress, open("ours"), now);
        assert!(second.progress.same_record(&first.progress) && !merges(&second).is_empty());
        // A tenth of what it waited already.
        assert_eq!(second.wake, Wake::At(now + SignedDuration::from_secs(10)), "{stage:?}");
    }
}

#[test]
fn a_clean_up_that_does_not_merge_itself_in_time_is_left_to_a_person() {
    let (plan, waiting) = (merging(CLEAN_UP), progress(Stage::CleanUp, StageState::Waiting));
    let now = start() + SignedDuration::from_mins(30);
    let late = next(&plan, &waiting, open("ours"), now);
    assert!(merges(&late).is_empty());
    assert_eq!(late.progress.phase, Phase::Completed);
    assert!(late.notices.iter().any(|notice| notice.reason == "MergeOverdue" && notice.message.contains("#7")));
    // Nobody waits for a person's merge either, nor for one that is not ours to make.
    for (plan, head) in [(merging(CLEAN_UP), "theirs"), (self::plan(), "ours")] {
        assert_eq!(next(&plan, &waiting, open(head), start()).progress.phase, Phase::Completed);
    }
}

#[test]
fn a_candidate_is_not_removed_without_a_person_before_its_traffic_left() {
    for (policy, state) in [(CLEAN_UP, StageState::HandingOver), (PROMOTE, StageState::Planning)] {
        let discarded = json!({"stages": [], "phase": Phase::Discarding, "decision": {"outcome": Outcome::Discard}});
        let discarding = but(&progress(Stage::CleanUp, StageState::Planning), &discarded);
        let begun = next(&merging(policy), &discarding, Remote::default(), start());
        assert_eq!((begun.progress.stages[0].stage(), begun.progress.stages[0].state()), (Stage::CleanUp, state));
    }
}

/// Request 7 is open, and its text tells these news since then; or a person changed it.
fn telling(text: TextSeen) -> Remote {
    let mut seen = open("ours");
    seen.pull.as_mut().unwrap().text = Some(text);
    seen
}

fn told(news: &str, at: Timestamp) -> Remote {
    telling(TextSeen::Ours { news: news.into(), at })
}

/// What the texts that a step writes would tell.
fn texts(step: &Step) -> Vec<String> {
    let texts = step.effects.iter().filter_map(|effect| match effect {
        Effect::Rewrite { request, number: 7, .. } => Some(request.report.news.mark()),
        _ => None,
    });
    texts.collect()
}

#[test]
fn the_text_of_an_open_request_follows_what_it_waits_for_and_writes_no_status() {
    let (plan, now) = (plan(), start() + SignedDuration::from_mins(6));
    let waiting = next(&plan, &progress(Stage::Promote, StageState::Waiting), told("WaitingForReview", start()), now);
    assert!(texts(&waiting).is_empty(), "it says so already");
    let mut edited = told("WaitingForReview", start());
    edited.pull.as_mut().unwrap().head = Some(commit("theirs"));
    let changed = next(&plan, &waiting.progress, edited.clone(), now);
    assert_eq!(texts(&changed), ["RequestEdited"]);
    // What was not carried out is wanted again, and nothing is remembered of it.
    let again = next(&plan, &changed.progress, edited.clone(), now);
    assert_eq!(texts(&again), ["RequestEdited"]);
    assert!(again.progress.same_record(&changed.progress));
    assert!(matches!(again.wake, Wake::At(at) if at > now), "it is not looked at for that: {:?}", again.wake);
    edited.pull.as_mut().unwrap().text = Some(TextSeen::Ours { news: "RequestEdited".into(), at: now });
    assert!(texts(&next(&plan, &again.progress, edited, now)).is_empty());
}

#[test]
fn a_text_is_not_written_again_within_five_minutes_nor_before_its_request_is_closed() {
    let (plan, waiting) = (plan(), progress(Stage::Promote, StageState::Waiting));
    for (minutes, wanted) in [(4, 0), (5, 1)] {
        let now = start() + SignedDuration::from_mins(minutes);
        assert_eq!(texts(&next(&plan, &waiting, told("BaseConflict", start()), now)).len(), wanted);
    }
    let unwanted = but(&waiting, &json!({"phase": Phase::Discarding}));
    let now = start() + SignedDuration::from_mins(6);
    assert!(texts(&next(&plan, &unwanted, told("BaseConflict", start()), now)).is_empty());
}

#[test]
fn a_text_that_a_person_changed_stays_and_the_status_says_so_once() {
    let (plan, now) = (plan(), start() + SignedDuration::from_hours(1));
    let first = next(&plan, &progress(Stage::Promote, StageState::Waiting), telling(TextSeen::Edited), now);
    assert!(texts(&first).is_empty());
    let waiting = first.progress.waiting.as_ref().unwrap();
    assert_eq!(waiting.reason, "WaitingForReview");
    assert!(waiting.what.contains("a person changed its text"), "{}", waiting.what);
    let second = next(&plan, &first.progress, telling(TextSeen::Edited), now + SignedDuration::from_mins(5));
    assert!(second.progress.same_record(&first.progress) && texts(&second).is_empty());
}

#[test]
fn the_text_tells_of_the_guards_windows_and_a_new_process_takes_none_back() {
    let plan = plan();
    let mut waiting = progress(Stage::Promote, StageState::Waiting);
    let watch = Watch {
        since: start(),
        first: start(),
        passed: 0,
        last: vec![],
        looked: start(),
        unanswered: None,
        places: vec![],
        evidence: vec![],
    };
    waiting.watch = Some(watch);
    let now = start() + plan.analysis.deadline;
    // In one process: what is in memory alone is kept.
    let told_then = answer(&plan, &waiting, &told("WaitingForReview", start()), now);
    let passed = step(&plan, &waiting, &seen(told_then, 50), now);
    let mark = format!("WaitingForReview,1,{}", start().as_second());
    assert_eq!(texts(&passed), std::slice::from_ref(&mark));
    let later = now + SignedDuration::from_mins(10);
    let told_now = answer(&plan, &passed.progress, &told(&mark, now), later);
    let same = step(&plan, &passed.progress, &seen(told_now, 50), later);
    assert!(texts(&same).is_empty(), "one text for each window");
    let restarted = Progress { watch: None, ..passed.progress };
    assert!(texts(&next(&plan, &restarted, told(&mark, now), later)).is_empty());
}

/// The branches that a step deletes.
fn deleted(step: &Step) -> Vec<&str> {
    let branches = step.effects.iter().filter_map(|effect| match effect {
        Effect::Delete { branch, commit } if commit.0 == "ours" => Some(branch.as_str()),
        _ => None,
    });
    branches.collect()
}

/// Request 7 has ended, and its branch is at this commit.
fn ended(state: PullState, branch: Option<&str>) -> Remote {
    let mut seen = open("ours");
    seen.pull.as_mut().unwrap().state = state;
    seen.branch = branch.map(commit);
    seen
}

#[test]
fn the_branch_of_a_request_that_has_ended_goes_if_it_is_still_ours() {
    let (plan, now) = (plan(), start() + SignedDuration::from_mins(6));
    let waiting = progress(Stage::Promote, StageState::Waiting);
    for state in [PullState::Merged(commit("merged")), PullState::Closed] {
        let first = next(&plan, &waiting, ended(state.clone(), Some("ours")), now);
        assert_eq!(deleted(&first).len(), 1, "{state:?}");
        assert_eq!(first.progress.stages[0].state(), StageState::Waiting, "the process may die before it is done");
        let second = next(&plan, &first.progress, ended(state.clone(), Some("ours")), now);
        assert_eq!(deleted(&second).len(), 1, "{state:?}");
        // A forge that keeps the branch holds up nothing.
        let kept = next(&plan, &second.progress, ended(state.clone(), Some("ours")), now);
        let gone = next(&plan, &first.progress, ended(state.clone(), None), now);
        for done in [kept, gone] {
            assert!(deleted(&done).is_empty());
            assert_ne!(done.progress.stages[0].state(), StageState::Waiting);
            let rejected = state == PullState::Closed;
            let reason = if rejected { Reason::RejectedInReview } else { Reason::Proven };
            assert_eq!(done.progress.decision.unwrap().reason, reason, "not a branch that people deleted");
        }
        for left in [Some("theirs"), None] {
            let done = next(&plan, &waiting, ended(state.clone(), left), now);
            assert!(deleted(&done).is_empty(), "{left:?}");
        }
    }
    assert!(deleted(&next(&plan, &waiting, open("ours"), now)).is_empty(), "its request is open");
}

#[test]
fn a_clean_up_that_was_merged_takes_its_branch_along_when_the_experiment_goes() {
    let mut plan = plan();
    plan.deleting = Some(start());
    let completed = but(&progress(Stage::CleanUp, StageState::Waiting), &json!({"phase": Phase::Completed}));
    assert!(ask(&plan, &completed, start()).stage.is_some());
    let merged = next(&plan, &completed, ended(PullState::Merged(commit("merged")), Some("ours")), start());
    assert_eq!(deleted(&merged).len(), 1);
    assert_eq!(merged.effects.last(), Some(&Effect::Forget), "nothing is waited for");
    // An answer that got lost is asked for once more, for seconds.
    let away = Observation {
        stage: Some(Err(Unavailable::new(Cause::ProviderUnavailable, "away"))),
        ..Observation::default()
    };
    let first = step(&plan, &completed, &away, start());
    assert!(!first.effects.contains(&Effect::Forget));
    let given_up = step(&plan, &first.progress, &away, start() + SignedDuration::from_secs(5));
    assert!(given_up.effects.contains(&Effect::Forget));
    // Whoever deletes the experiment by hand keeps its request.
    let by_hand = next(&plan, &completed, open("ours"), start());
    assert!(deleted(&by_hand).is_empty() && by_hand.effects.contains(&Effect::Forget));
}

/// Request 7, the last one that was seen to be opened, has been open for so long, beside these.
fn beside(twins: &[u64], seconds: i64) -> (Progress, Remote, Timestamp) {
    let waiting = progress(Stage::Promote, StageState::Waiting);
    let pull = open("ours").pull.unwrap();
    let twins =
        twins.iter().map(|number| Pull { number: *number, url: format!("#{number}"), ..pull.clone() }).collect();
    (waiting, Remote { twins, ..open("ours") }, start() + SignedDuration::from_secs(seconds))
}

/// The requests that a step closes.
fn closes(step: &Step) -> Vec<u64> {
    let closes = step.effects.iter().filter_map(|effect| match effect {
        Effect::Close { number, why } => {
            assert!(why.contains("from the same branch"), "{why}");
            Some(*number)
        }
        _ => None,
    });
    closes.collect()
}

#[test]
fn of_two_requests_from_one_branch_the_oldest_stays() {
    let plan = plan();
    let (waiting, seen, now) = beside(&[9, 8], 61);
    let younger = next(&plan, &waiting, seen.clone(), now);
    assert_eq!(closes(&younger), [9, 8]);
    // As long as they are there, and nothing is written down about it.
    let again = next(&plan, &younger.progress, seen, now);
    assert_eq!(closes(&again), [9, 8]);
    assert!(again.progress.same_record(&younger.progress));
    let (waiting, seen, now) = beside(&[5, 9], 61);
    let older = next(&plan, &waiting, seen, now);
    assert_eq!(closes(&older), Vec::<u64>::new(), "which one stays is written down first");
    let stage = &older.progress.stages[0];
    assert_eq!((stage.number(), stage.url(), stage.state()), (Some(5), Some("#5"), StageState::Waiting));
}

/// A reviewer who merges within seconds does not take the branch from the request that a lost answer has left.
#[test]
fn a_second_request_is_closed_before_the_branch_of_one_that_has_ended_goes() {
    let plan = plan();
    for state in [PullState::Merged(commit("merged")), PullState::Closed] {
        let (waiting, mut seen, now) = beside(&[9], 2);
        seen.pull.as_mut().unwrap().state = state;
        let first = next(&plan, &waiting, seen.clone(), now);
        assert_eq!((closes(&first), deleted(&first).len()), (vec![9], 0));
        seen.twins.clear();
        let then = next(&plan, &first.progress, seen, now);
        assert_eq!((closes(&then), deleted(&then).len()), (vec![], 1));
    }
}

#[test]
fn a_second_request_is_looked_for_while_one_may_still_come() {
    let plan = plan();
    for (seconds, asked) in [(0, true), (10, true), (61, true), (119, true), (200, false)] {
        let (waiting, _, now) = beside(&[], seconds);
        assert_eq!(ask(&plan, &waiting, now).stage.unwrap().twins, asked, "{seconds} s");
    }
}

/// A step of a completed experiment, which sees nothing of the cluster; its progress as another process reads it.
// Every caller makes it in place.
#[allow(clippy::needless_pass_by_value)]
fn later(plan: &Plan, progress: &Progress, remote: Remote, now: Timestamp) -> Step {
    let seen = Observation { stage: answer(plan, progress, &remote, now), ..Observation::default() };
    let done = step(plan, progress, &seen, now);
    let written = serde_json::to_string(&done.progress).unwrap();
    Step { progress: serde_json::from_str(&written).unwrap(), ..done }
}

/// The experiment is completed, and its clean-up request 7 was opened at the start.
fn completed() -> Progress {
    but(&progress(Stage::CleanUp, StageState::Waiting), &json!({"phase": Phase::Completed}))
}

/// Request 7 cannot be merged into a base branch that moved on; whether another one could be made.
fn conflicting(plannable: bool) -> Remote {
    let planned = plannable.then(|| Planned::Nothing(commit("moved")));
    Remote { conflict: true, head: Some(commit("moved")), planned, ..open("ours") }
}

#[test]
fn a_completed_experiment_asks_the_forge_now_and_then_and_nothing_of_the_cluster() {
    let (plan, completed) = (plan(), completed());
    assert!(
        !ask(&plan, &completed, start() + SignedDuration::from_mins(9)).quiet,
        "its lock may have to be given back"
    );
    let now = start() + SignedDuration::from_mins(15);
    let asked = ask(&plan, &completed, now);
    assert!(asked.quiet && asked.stage.is_some() && asked.window.is_none());
    let looked = later(&plan, &completed, open("ours"), now);
    assert!(looked.effects.is_empty() && looked.notices.is_empty() && looked.progress.same_record(&completed));
    assert_eq!(looked.wake, Wake::At(now + SignedDuration::from_mins(15)));
    // A forge that is away is no news either.
    let away = Observation {
        stage: Some(Err(Unavailable::new(Cause::ProviderUnavailable, "away"))),
        ..Observation::default()
    };
    let looked = step(&plan, &completed, &away, now);
    assert!(looked.progress.same_record(&completed) && looked.effects.is_empty());
    let done = but(&completed, &json!({"stages": []}));
    assert_eq!(ask(&plan, &done, now).stage, None, "nothing is open");
    assert_eq!(step(&plan, &done, &Observation::default(), now).wake, Wake::OnChange);
}

#[test]
fn a_clean_up_in_conflict_is_made_anew_after_the_experiment_is_completed() {
    let (plan, mut now) = (plan(), start() + SignedDuration::from_mins(15));
    let first = later(&plan, &completed(), conflicting(true), now);
    assert_eq!(first.progress.waiting.as_ref().unwrap().reason, "BaseConflict");
    now += SignedDuration::from_mins(1);
    let believed = later(&plan, &first.progress, conflicting(true), now);
    assert_eq!(believed.progress.stages[0].state(), StageState::Withdrawing);
    let closing = later(&plan, &believed.progress, conflicting(true), now);
    assert!(matches!(closing.effects[..], [Effect::Close { number: 7, .. }]), "{:?}", closing.effects);
    let another = later(&plan, &closing.progress, ended(PullState::Closed, None), now);
    let stages: Vec<_> = another.progress.stages.iter().map(|s| (s.stage(), s.attempt(), s.state())).collect();
    assert_eq!(stages[1], (Stage::CleanUp, 2, StageState::Planning));
    let work = StageWork { base: commit("moved"), commit: commit("new"), files: vec![], after: BTreeMap::new() };
    let planned = Remote { planned: Some(Planned::Commit(work)), ..Remote::default() };
    let planned = later(&plan, &another.progress, planned, now);
    let free = Remote { head: Some(commit("moved")), ..Remote::default() };
    let pushing = later(&plan, &planned.progress, free, now);
    assert!(matches!(pushing.effects[..], [Effect::Push { .. }]), "{:?}", pushing.effects);
    let there = Remote { head: Some(commit("moved")), branch: Some(commit("new")), ..Remote::default() };
    let pushed = later(&plan, &pushing.progress, there.clone(), now);
    let opening = later(&plan, &pushed.progress, there, now);
    assert!(matches!(opening.effects[..], [Effect::Open { .. }]), "{:?}", opening.effects);
    let opened = later(&plan, &opening.progress, open("new"), now);
    assert_eq!(opened.progress.stages[1].state(), StageState::Waiting);
    for step in [&first, &believed, &closing, &another, &planned, &pushing, &pushed, &opening, &opened] {
        assert_eq!(step.progress.phase, Phase::Completed, "it stays what it is");
    }
}

#[test]
fn a_clean_up_that_needs_a_person_after_the_completion_says_so_once() {
    let (plan, mut now) = (plan(), start() + SignedDuration::from_mins(15));
    let mut stuck = later(&plan, &completed(), conflicting(false), now).progress;
    for _ in 0..3 {
        now += SignedDuration::from_mins(15);
        let looked = later(&plan, &stuck, conflicting(false), now);
        assert!(looked.progress.same_record(&stuck) && looked.effects.is_empty() && looked.notices.is_empty());
        stuck = looked.progress;
    }
    assert_eq!(stuck.waiting.as_ref().unwrap().reason, "BaseConflict");
    assert_eq!(later(&plan, &stuck, open("ours"), now).progress.waiting, None, "a person resolved it");
    let closed = later(&plan, &stuck, ended(PullState::Closed, None), now);
    assert!(closed.notices.iter().any(|notice| notice.reason == "CleanUpRejected"), "{:?}", closed.notices);
    assert_eq!((closed.progress.stages[0].state(), closed.progress.phase), (StageState::Done, Phase::Completed));
    assert_eq!(ask(&plan, &closed.progress, now).stage, None);
}

/// What a look at request 7 sees.
fn reviewed(seen: Seen<Remote>) -> Seen<Reviewed> {
    seen.map(|remote| remote.reviewed())
}

#[test]
fn a_completed_experiment_that_rests_is_ended_by_news_alone() {
    let (plan, completed) = (plan(), completed());
    let now = start() + SignedDuration::from_mins(15);
    let rests = |progress: &Progress, seen: Seen<Remote>, now: Timestamp| {
        let stage = Some(reviewed(seen).map(StageSeen::Review));
        step(&plan, progress, &Observation { stage, ..Observation::default() }, now).rest
    };
    assert_eq!(rests(&completed, Ok(open("ours")), start() + SignedDuration::from_mins(9)), None, "a twin may come");
    let rest = rests(&completed, Ok(open("ours")), now).unwrap();
    assert_eq!((rest.number, rest.base_branch.as_str()), (7, "main"));
    assert_eq!(rest.branch, ask(&plan, &completed, now).stage.unwrap().request.branch);
    let away = || Err(Unavailable::new(Cause::ProviderUnavailable, "away"));
    let moved = Remote { head: Some(commit("moved")), ..open("ours") };
    for nothing in [Ok(open("ours")), Ok(moved), away()] {
        let told = format!("{nothing:?}");
        assert!(!rest.is_ended_by(&reviewed(nothing)), "{told}");
    }
    let merged = ended(PullState::Merged(commit("merged")), None);
    for news in [ended(PullState::Closed, None), merged, conflicting(true), Remote { pull: None, ..open("ours") }] {
        assert!(rest.is_ended_by(&reviewed(Ok(news.clone()))), "{news:?}");
        let rest = later(&plan, &completed, news.clone(), now).rest;
        assert_eq!(rest.filter(|rest| rest.is_ended_by(&reviewed(Ok(news)))), None);
    }
    // One that was not seen: the first answer is news.
    let unseen = rests(&completed, away(), now).unwrap();
    assert!(!unseen.is_ended_by(&reviewed(away())) && unseen.is_ended_by(&reviewed(Ok(open("ours")))));
    // A conflict that a person has to resolve is none as long as nothing moves.
    let stuck = later(&plan, &completed, conflicting(false), now).progress;
    let later_on = now + SignedDuration::from_mins(15);
    assert_eq!(rests(&stuck, Ok(conflicting(false)), now), None, "it may be made anew");
    let rest = rests(&stuck, Ok(conflicting(false)), later_on).unwrap();
    assert!(!rest.is_ended_by(&reviewed(Ok(conflicting(false)))));
    let further = Remote { head: Some(commit("further")), ..conflicting(false) };
    assert!(rest.is_ended_by(&reviewed(Ok(further))));
    assert!(rest.is_ended_by(&reviewed(Ok(open("ours")))), "a person resolved it");
}

#[test]
fn a_text_that_is_too_young_to_be_replaced_is_replaced_at_the_next_look() {
    let (plan, completed) = (plan(), completed());
    let now = start() + SignedDuration::from_mins(15);
    let telling = |news: &str, at: Timestamp| {
        let seen = open("ours");
        let text = Some(TextSeen::Ours { news: news.into(), at });
        Remote { pull: seen.pull.map(|pull| Pull { text, ..pull }), ..seen }
    };
    for (news, owed) in [("WaitingForReview", false), ("BaseConflict", true)] {
        let seen = telling(news, now - SignedDuration::from_mins(1));
        let looked = later(&plan, &completed, seen.clone(), now);
        assert!(looked.effects.is_empty(), "people are not told twice in five minutes");
        assert_eq!(looked.rest.unwrap().is_ended_by(&reviewed(Ok(seen.clone()))), owed, "{news}");
        let looked = later(&plan, &completed, seen, now + SignedDuration::from_mins(15));
        assert_eq!(matches!(looked.effects[..], [Effect::Rewrite { .. }]), owed, "{news}");
    }
}

#[test]
fn a_renewal_that_does_not_get_on_is_tried_ever_less_often() {
    let plan = plan();
    let stuck = but(&progress(Stage::CleanUp, StageState::Planning), &json!({"phase": Phase::Completed}));
    let away = || Observation {
        stage: Some(Err(Unavailable::new(Cause::ProviderUnavailable, "x"))),
        ..Observation::default()
    };
    for (spent, wait) in [(1, 1), (20, 2), (100, 10), (1000, 15)] {
        let now = start() + SignedDuration::from_mins(spent);
        let first = step(&plan, &stuck, &away(), now).progress;
        let looked = step(&plan, &first, &away(), now);
        assert_eq!(looked.wake, Wake::At(now + SignedDuration::from_mins(wait)), "after {spent} min");
        assert_eq!(looked.rest, None);
    }
}

#[test]
fn a_merge_is_as_proposed_although_others_changed_the_file_since() {
    let plan = plan();
    let merged = progress(Stage::Promote, StageState::Merged);
    let mut stages = serde_json::to_value(&merged.stages).unwrap();
    stages[0]["work"]["after"] = json!({"kustomization.yaml": "proposed"});
    let merged = but(&merged, &json!({"stages": stages}));
    let found = |kept: &[&str]| Remote {
        contents: BTreeMap::from([("kustomization.yaml".to_owned(), Some("others".to_owned()))]),
        kept: kept.iter().map(ToString::to_string).collect(),
        ..Remote::default()
    };
    for (kept, differently) in [(&["kustomization.yaml"][..], false), (&[], true)] {
        let done = next(&plan, &merged, found(kept), start());
        assert_eq!(done.progress.stages[0].state(), StageState::RollingOut);
        assert_eq!(done.progress.stages[0].differently(), differently);
        assert_eq!(done.notices.iter().any(|notice| notice.reason == "MergedDifferently"), differently);
    }
}
