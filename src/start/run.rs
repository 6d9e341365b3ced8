//! The loop around a plan: snapshot, commit, push under a lease, and again if somebody was faster.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::runtime::Handle;

use super::compose::{Composed, Plan, compose};
use super::directory::Directory;
use super::{OnRunning, Request, StartError, Started};
use crate::gitops::forge::{Forge, ForgeError, NewPull, PullState};
use crate::gitops::repository::{CommitText, Lease, PushError, RepositoryError, Session};
use crate::gitops::transport::{Failure, Limits};
use crate::gitops::tree::{CommitId, read};
use crate::text::digest;

/// How often a push is tried. Each lost race means that another start went through, so this is how many may be in front.
const MAX_ATTEMPTS: u32 = 25;
/// First and longest pause after a lost race or a failure of the server.
const RETRY: (Duration, Duration) = (Duration::from_millis(150), Duration::from_secs(5));
/// First pause while waiting.
const FIRST_POLL: Duration = Duration::from_secs(1);
/// How often a person who looks at the log of a pipeline is told that it still waits.
const REMIND: Duration = Duration::from_mins(1);
/// Letters and digits of a suffix: those that Kubernetes uses for generated names, which spell no words.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// Length of a suffix: 14 million names.
const SUFFIX: usize = 5;

/// One start.
pub(super) struct Run {
    request: Request,
    forges: Handle,
    say: Box<dyn Fn(&str) + Send>,
    suffix: String,
    began: Instant,
    /// Since when it is waited, and what for.
    waiting: Option<(String, Instant)>,
    /// The next pause while waiting.
    pause: Duration,
    /// A commit whose push had no clear answer, or whose request is not open yet.
    pending: Option<Started>,
}

/// What came of one attempt.
enum Step {
    Done(Box<Started>),
    /// Something else moves first; nothing was committed.
    Again(String),
    Busy(Busy),
}

/// What is waited for, and what was seen then.
struct Busy {
    running: String,
    target: String,
    base: CommitId,
    /// The head of the request's branch, where requests are used.
    head: Option<(String, Option<CommitId>)>,
}

impl Run {
    pub(super) fn new(request: Request, forges: Handle, say: Box<dyn Fn(&str) + Send>) -> Self {
        let pause = FIRST_POLL.min(request.poll);
        Self { request, forges, say, suffix: suffix(), began: Instant::now(), waiting: None, pause, pending: None }
    }

    pub(super) fn run(mut self) -> Result<Started, StartError> {
        let mut session = None;
        let mut attempts = 0;
        loop {
            let why = match self.attempt(&mut session) {
                Ok(Step::Done(started)) => return Ok(*started),
                Ok(Step::Busy(busy)) => {
                    attempts = 0;
                    self.wait(session.as_ref(), busy)?;
                    continue;
                }
                Ok(Step::Again(why)) => why,
                Err(error) if passes(&error) => error.to_string(),
                Err(error) => return Err(error),
            };
            attempts += 1;
            if attempts >= MAX_ATTEMPTS {
                let (unknown, name) =
                    self.pending.as_ref().map_or((false, String::new()), |p| (true, p.experiment.clone()));
                return Err(StartError::GaveUp { attempts, last: why, name, unknown });
            }
            (self.say)(&format!("{why}; attempt {} follows", attempts + 1));
            std::thread::sleep(jittered((RETRY.0 * 2_u32.saturating_pow(attempts.min(8))).min(RETRY.1)));
        }
    }

    /// One look at the branch and, if the target is free, one push.
    fn attempt(&mut self, opened: &mut Option<Session>) -> Result<Step, StartError> {
        let session = match opened {
            Some(session) => {
                session.refresh()?;
                session
            }
            None => opened.insert(Session::open(&self.request.remote, &self.request.branch, Limits::default())?),
        };
        // Asked each time: a push whose answer was lost may arrive late.
        if let Some(pending) = self.pending.clone()
            && self.arrived(session, &pending)?
        {
            return self.finish(session, pending);
        }
        let base = session.head().clone();
        let plan = compose(&session.files()?, &self.request, &self.suffix)?;
        let composed = match plan {
            Plan::Ready(composed) => composed,
            Plan::Busy { running, target } => return Ok(Step::Busy(Busy { running, target, base, head: None })),
        };
        let (branch, lease) = match &self.request.forge {
            None => (self.request.branch.clone(), Lease::At(base.clone())),
            Some(forge) => {
                let branch = self.branch_of(&composed.target);
                match self.occupied(session, forge, &branch)? {
                    (Some(running), head) if self.request.on_running != OnRunning::Supersede => {
                        let target = composed.target.clone();
                        return Ok(Step::Busy(Busy { running, target, base, head: Some((branch, head)) }));
                    }
                    (_, head) => (branch, head.map_or(Lease::Absent, Lease::At)),
                }
            }
        };
        let started = self.commit(session, &base, *composed, branch)?;
        if self.request.dry_run {
            return Ok(Step::Done(Box::new(started)));
        }
        self.push(session, started, &lease)
    }

    /// Makes the commit and rehearses the experiment's end on it.
    fn commit(
        &self,
        session: &Session,
        base: &CommitId,
        composed: Composed,
        branch: String,
    ) -> Result<Started, StartError> {
        let message = message(&composed.name, &composed.target, &composed.replaced, &self.request);
        let text =
            CommitText { message: &message, author: &self.request.author, time_seconds: Timestamp::now().as_second() };
        let commit = session.put(base, &composed.files, text)?;
        composed.rehearse(&session.files_at(&commit)?)?;
        let old = session.files_at(base)?;
        let mut files = Vec::new();
        for file in &composed.files {
            let there = read(&old, &file.path)?.is_some();
            let change = match (&file.content, there) {
                (None, _) => "remove",
                (Some(_), true) => "edit",
                (Some(_), false) => "add",
            };
            files.push((change, file.path.to_string()));
        }
        Ok(Started {
            experiment: composed.name,
            target: composed.target,
            diff: session.diff(base, &commit)?,
            commit,
            branch,
            pull_request: None,
            files,
            superseded: composed.replaced,
            warnings: composed.warnings,
        })
    }

    fn push(&mut self, session: &Session, started: Started, lease: &Lease) -> Result<Step, StartError> {
        let expected = match lease {
            Lease::Absent => None,
            Lease::At(commit) => Some(commit.clone()),
        };
        match session.push(&started.commit, &started.branch, lease) {
            Ok(()) => self.finish(session, started),
            Err(error @ (PushError::LeaseLost { .. } | PushError::NotFastForward)) => {
                Ok(Step::Again(error.to_string()))
            }
            // Some servers let a hook say that somebody was faster.
            Err(error @ PushError::HookRejected { .. }) if session.ls_remote(&started.branch)? != expected => {
                Ok(Step::Again(error.to_string()))
            }
            Err(PushError::Repository(error)) => {
                // Whether the push arrived is not known; the next look tells.
                self.pending = Some(started);
                Err(error.into())
            }
            Err(error @ (PushError::HookRejected { .. } | PushError::ProtectedBranch { .. })) => Err(error.into()),
        }
    }

    /// Whether a commit whose push had no clear answer is on its branch.
    fn arrived(&self, session: &Session, pending: &Started) -> Result<bool, StartError> {
        let head = if self.request.forge.is_some() {
            session.ls_remote(&pending.branch)?
        } else {
            Some(session.head().clone())
        };
        if head.as_ref() == Some(&pending.commit) {
            return Ok(true);
        }
        // Others may have continued the branch; the name is this start's alone.
        let directory = Directory::read(&session.files()?, &self.request.directory)?;
        Ok(directory.experiments().iter().any(|present| present.name == pending.experiment))
    }

    /// Opens the request, if one is wanted.
    fn finish(&mut self, session: &Session, mut started: Started) -> Result<Step, StartError> {
        let Some(forge) = &self.request.forge else { return Ok(Step::Done(Box::new(started))) };
        let message = message(&started.experiment, &started.target, &started.superseded, &self.request);
        let title = message.lines().next().unwrap_or_default().to_owned();
        let body = body(&started);
        let new = NewPull {
            head: started.branch.clone(),
            base: self.request.branch.clone(),
            title: title.clone(),
            body: body.clone(),
            draft: false,
        };
        let opened = self.forges.block_on(async {
            let pull = forge.open(&new).await?;
            Ok((pull.number, pull.url))
        });
        let (number, url) = match opened {
            Ok(pull) => pull,
            Err(error) if error_passes(&error) => {
                self.pending = Some(started);
                return Ok(Step::Again(error.to_string()));
            }
            Err(error) => {
                // A branch without a request would look like a start that is under way.
                let left = session.delete_branch(&started.branch, &Lease::At(started.commit.clone())).is_err();
                return Err(StartError::Forge { error, left: left.then_some(started.branch) });
            }
        };
        if session.ls_remote(&started.branch)?.as_ref() != Some(&started.commit) {
            return Err(StartError::Superseded { name: started.experiment, branch: started.branch });
        }
        // The request may be an earlier start's, which is replaced. A title that stays old is no reason to fail.
        if let Err(error) = self.forges.block_on(forge.update_text(number, Some(&title), &body)) {
            started.warnings.push(format!("the request's text may be old: {error}"));
        }
        started.pull_request = Some((number, url));
        Ok(Step::Done(Box::new(started)))
    }

    /// The branch for requests of a target, the same for every start: its lease lets one through.
    fn branch_of(&self, target: &str) -> String {
        let key = format!("{}\0{}\0{target}", self.request.branch, self.request.directory);
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' };
        let word: String = target.chars().map(plain).take(60).collect();
        format!("reiter8-start/{}-{}", word.trim_start_matches('-'), digest(key, 4))
    }

    /// What occupies the branch of requests, if anything does, and the branch's head.
    fn occupied(
        &self,
        session: &Session,
        forge: &Forge,
        branch: &str,
    ) -> Result<(Option<String>, Option<CommitId>), StartError> {
        let Some(head) = session.ls_remote(branch)? else { return Ok((None, None)) };
        let pull = self.forges.block_on(forge.find(branch, &self.request.branch));
        let running = match pull.map_err(|error| StartError::Forge { error, left: None })? {
            Some(pull) => match pull.state {
                PullState::Open => Some(format!("pull request #{} ({})", pull.number, pull.url)),
                PullState::Merged { .. } | PullState::Closed => None,
            },
            None => Some(format!("the branch {branch}, whose pull request is about to be opened,")),
        };
        Ok((running, Some(head)))
    }

    /// Waits until something moved that could free the target.
    fn wait(&mut self, session: Option<&Session>, busy: Busy) -> Result<(), StartError> {
        let Busy { running, target, base, head } = busy;
        let (OnRunning::Wait, false, Some(session)) = (self.request.on_running, self.request.dry_run, session) else {
            return Err(StartError::Running { running, target });
        };
        if self.waiting.as_ref().is_none_or(|(what, _)| *what != running) {
            self.waiting = Some((running.clone(), self.began));
        }
        loop {
            let left = self.request.timeout.saturating_sub(self.began.elapsed());
            if left.is_zero() {
                return Err(StartError::TimedOut { running, seconds: self.request.timeout.as_secs() });
            }
            self.remind(&running);
            std::thread::sleep(jittered(self.pause).min(left));
            self.pause = (self.pause * 3 / 2).min(self.request.poll);
            match self.moved(session, &base, head.as_ref()) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if passes(&error) => (self.say)(&error.to_string()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Says what is waited for, now and then.
    fn remind(&mut self, running: &str) {
        let elapsed = self.began.elapsed();
        if let Some((_, said)) = &mut self.waiting
            && (*said == self.began || said.elapsed() >= REMIND)
        {
            *said = Instant::now();
            let limit = self.request.timeout.as_secs();
            (self.say)(&format!("waiting for {running} to end, {} s of {limit} s", elapsed.as_secs()));
        }
    }

    /// Whether the base branch, the request's branch or the request's state is another one than before.
    fn moved(
        &self,
        session: &Session,
        base: &CommitId,
        head: Option<&(String, Option<CommitId>)>,
    ) -> Result<bool, StartError> {
        if session.ls_remote(&self.request.branch)?.as_ref() != Some(base) {
            return Ok(true);
        }
        let (Some(forge), Some((branch, head))) = (&self.request.forge, head) else { return Ok(false) };
        let (running, now) = self.occupied(session, forge, branch)?;
        Ok(running.is_none() || now != *head)
    }
}

/// The commit's message; its first line is the request's title.
fn message(experiment: &str, target: &str, superseded: &[String], request: &Request) -> String {
    let images: Vec<&str> = request.images.iter().map(|image| image.reference.as_str()).collect();
    let what = if images.is_empty() { String::new() } else { format!(": try {}", images.join(", ")) };
    let mut message = format!("Start {experiment}{what}\n\nTarget: {}\n", plain(target));
    for name in superseded {
        message.push_str(&format!("Supersedes: {}\n", plain(name)));
    }
    message
}

/// The request's text.
fn body(started: &Started) -> String {
    let mut body = format!(
        "Starts experiment `{}` for `{}`. Once this is merged and synced, traffic moves to the candidate step by step; another pull request brings the outcome.\n\n",
        started.experiment,
        plain(&started.target)
    );
    for (change, path) in &started.files {
        body.push_str(&format!("- {change} `{path}`\n"));
    }
    for name in &started.superseded {
        body.push_str(&format!("\nEnds experiment `{}` and removes it.\n", plain(name)));
    }
    body
}

/// A foreign name without its power over a page.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "._/-".contains(c) { c } else { '-' }).take(253).collect()
}

/// Whether a failure may be gone in a moment.
fn passes(error: &StartError) -> bool {
    match error {
        StartError::Repository(RepositoryError::Remote(failure))
        | StartError::Push(PushError::Repository(RepositoryError::Remote(failure))) => match failure {
            Failure::ProviderUnavailable { .. } | Failure::TimedOut | Failure::RateLimited { .. } => true,
            Failure::AuthenticationFailed
            | Failure::PermissionDenied
            | Failure::RepositoryNotFound
            | Failure::RepositoryMoved
            | Failure::TooLarge { .. } => false,
        },
        StartError::Forge { error, .. } => error_passes(error),
        _ => false,
    }
}

fn error_passes(error: &ForgeError) -> bool {
    matches!(error, ForgeError::ProviderUnavailable { .. } | ForgeError::RateLimited { .. })
}

/// Between half of a pause and all of it, so that those who lost a race together do not meet again.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// What tells the names of starts apart. Whoever guesses it gains nothing: a name that is there already is refused.
fn suffix() -> String {
    std::iter::repeat_with(|| fastrand::choice(ALPHABET).copied().map_or('b', char::from)).take(SUFFIX).collect()
}
