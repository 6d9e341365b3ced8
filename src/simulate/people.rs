//! The people of the embedded world: those who ask something of the experiment, who review its requests, and who rework
//! the base branch under it.

use super::environment;
use super::scenario::{BaseAct, Review, Timeline};
use super::world::{Simulated, State};
use super::{Request, SimulateError};
use crate::controller::annotation;
use crate::engine::Stage;
use crate::gitops::forge::{LocalPull, MergeStyle, PullState};
use crate::gitops::repository::Author;

/// Where the base branch is while it has another name.
const ELSEWHERE: &str = "refs/heads/trunk";

impl Simulated {
    /// People annotate the experiment and scale workloads.
    pub(super) fn people(&self, state: &mut State, timeline: &Timeline, second: i64) {
        if let Some(experiment) = &mut state.cluster.experiment {
            for (at, verb, why) in timeline.people.iter().filter(|(at, ..)| *at <= second) {
                let time = self.start + jiff::SignedDuration::from_secs(*at);
                let annotations = experiment.metadata.annotations.get_or_insert_default();
                annotations.insert(annotation(*verb), format!("{time} {why}"));
            }
        }
        let first = self.candidates.first().map(|c| c.workload.clone()).unwrap_or_default();
        let baseline = self.scenario.sample.files().baseline.to_owned();
        for (_, of_baseline, of_candidate) in timeline.scale.iter().filter(|(at, ..)| *at <= second) {
            for (name, replicas) in [(&baseline, of_baseline), (&first, of_candidate)] {
                if let Some(replicas) = replicas {
                    let replicas = i32::try_from(*replicas).unwrap_or(i32::MAX);
                    state.cluster.scaled.insert(name.clone(), replicas);
                }
            }
        }
    }

    /// What people do to the base branch.
    pub(super) fn rework(&self, state: &mut State, second: i64) -> Result<(), SimulateError> {
        let (repository, main) = (self.repository.lock(), environment::reference());
        while let Some((_, act)) = state.timeline.base.get(state.reworked).filter(|(at, _)| *at <= second) {
            match act {
                BaseAct::Rename => drop(repository.find_reference(&main)?.rename(ELSEWHERE, true, "rename")?),
                BaseAct::Restore => drop(repository.find_reference(ELSEWHERE)?.rename(&main, true, "rename")?),
                BaseAct::Revert => environment::restore(&repository, self.started, self.start.as_second() + second)?,
                BaseAct::Rewrite => drop(repository.reference(&main, self.started, true, "forced push")?),
            }
            state.reworked += 1;
        }
        Ok(())
    }

    /// Reviewers notice new requests, and act on those that have waited long enough.
    pub(super) fn review(&self, state: &mut State, second: i64) -> Result<(), SimulateError> {
        let Ok(base) = self.repository.lock().refname_to_id(&environment::reference()) else { return Ok(()) };
        for pull in self.forge.list()? {
            let number = pull.pull.number;
            if !state.requests.iter().any(|r| r.number == number) {
                let request = self.notice(&pull, &base.to_string(), second)?;
                state.requests.push(request);
            }
            let Some(request) = state.requests.iter_mut().find(|r| r.number == number) else { continue };
            let waited = second - request.opened;
            if pull.pull.state == PullState::Open {
                let touched = state.touched.contains(&number);
                if self.act(request, &pull, (waited, state.timeline.review_after, touched), second)? {
                    state.touched.insert(number);
                }
            } else if pull.pull.state == PullState::Closed && request.ended.is_none() {
                (request.ended, request.outcome) = (Some(second), "closed".into());
            }
        }
        Ok(())
    }

    /// A request that nobody has seen before.
    fn notice(&self, pull: &LocalPull, base: &str, second: i64) -> Result<Request, SimulateError> {
        let head = pull.pull.head.as_ref().map(ToString::to_string).unwrap_or_default();
        let diff = environment::diff(&self.repository.lock(), base, &head)?;
        Ok(Request {
            number: pull.pull.number,
            title: pull.title.clone(),
            branch: pull.pull.head_branch.clone(),
            body: pull.body.clone(),
            diff,
            opened: second,
            ended: None,
            outcome: "open".into(),
            clean_up: pull.pull.head_branch.contains(&format!("-{}-", Stage::CleanUp.word())),
        })
    }

    /// What a reviewer does with an open request; whether something was pushed to its branch.
    fn act(
        &self,
        request: &mut Request,
        pull: &LocalPull,
        (waited, after, touched): (i64, i64, bool),
        second: i64,
    ) -> Result<bool, SimulateError> {
        let (reviewer, time) = (&self.scenario.reviewer, self.start.as_second() + second);
        let revert = request.branch.contains(&format!("-{}-", Stage::Revert.word()));
        let review = match (request.clean_up, revert) {
            (true, _) => reviewer.clean_up,
            (false, true) => reviewer.revert,
            (false, false) => reviewer.promote,
        };
        if waited < after {
            return Ok(false);
        }
        let sample = self.scenario.sample.files();
        let push = |file: &str| {
            let path = format!("{}/{file}", sample.app);
            environment::append(&self.repository.lock(), &pull.pull.head_branch, &path, "# Reviewed.\n", time)?;
            Ok(true)
        };
        let style = match review {
            Review::Merge => MergeStyle::Merge,
            Review::Squash => MergeStyle::Squash,
            Review::Rebase => MergeStyle::Rebase,
            Review::Edit if !touched => return push(sample.manifest),
            Review::Push if !touched => return push("routing.yaml"),
            Review::Edit | Review::Push if waited < 2 * after => return Ok(false),
            Review::Edit | Review::Push => MergeStyle::Merge,
            Review::Close => {
                self.forge.close(request.number)?;
                (request.ended, request.outcome) = (Some(second), "closed".into());
                return Ok(false);
            }
            Review::DeleteBranch => {
                let name = format!("refs/heads/{}", pull.pull.head_branch);
                self.repository.lock().find_reference(&name)?.delete()?;
                (request.ended, request.outcome) = (Some(second), "closed".into());
                return Ok(false);
            }
            Review::Ignore => return Ok(false),
        };
        let author = Author { name: "A reviewer".into(), email: "reviewer@example.com".into() };
        self.forge.merge_as(request.number, style, &author, time)?;
        (request.ended, request.outcome) = (Some(second), "merged".into());
        Ok(false)
    }
}
