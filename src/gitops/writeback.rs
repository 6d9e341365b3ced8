//! The write-back of one experiment: answers the engine's questions about Git and carries out its effects.
//!
//! Puts the pieces of this module together and makes no choices. Both worlds use it: the live one over HTTP with a
//! forge, the embedded one on a bare repository on this machine. Git's blocking work runs on threads that may block, on
//! clones that are shared with the turns before; what a turn reads of the base branch, it looks up at the remote first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::access::{Access, Credential};
use super::blocking;
use super::forge::{self, Extras, Forge, ForgeError, Memory, Merge, Merging, NewPull, PullState as ForgeState};
use super::lookout::{Lookout, engine_pull};
use super::plan::{Change, FileChange, PlanError, Spec};
use super::plan::{
    baseline_template, kept_places, plan_cleanup, plan_discard, plan_promote, plan_revert, plan_whole, templates,
};
use super::rehearsal::rehearse;
use super::remedy;
use super::render::{self, Proposed};
use super::repository::{Author, Clones, CommitText, Ending, Lease, PushError, Remote, RepositoryError, Session};
use super::tree::{CommitId, Files, RepoPath, TreeError, read};
use crate::api::RepositorySpec;
use crate::engine::{
    self, Cause, Conflict, Effect, Handover, Look, Notice, Planned, Preflight, Request, RequestSeen, Reviewed, Seen,
    Stage, StageQuestion, StageSeen, StageWork, Unavailable,
};
use crate::text::chain;

/// Where and what the outcome is written.
#[derive(Clone, Debug)]
pub struct WriteTarget {
    /// The repository's address, forge, branch and identity.
    pub repository: RepositorySpec,
    /// The files and what is promoted.
    pub spec: Spec,
    /// What requests get beside their texts.
    pub extras: Extras,
}

/// The write-back of one experiment.
pub struct WriteBack {
    remote: Lookout,
    branch: String,
    author: Author,
    spec: Spec,
    extras: Extras,
    repository: RepositorySpec,
}

impl WriteBack {
    /// Over HTTP, with the repository's forge. Plain http is taken for the listed hosts only.
    pub fn new(
        target: WriteTarget,
        credential: Option<Credential>,
        http_hosts: &[String],
        memory: &Arc<Memory>,
    ) -> Seen<Self> {
        let remote = Lookout::new(&target.repository, credential, http_hosts, memory)?;
        Ok(Self::over(remote, target))
    }

    /// On the given remote and forge.
    pub fn with(remote: Remote, forge: Forge, target: WriteTarget) -> Self {
        Self::over(Lookout::over(Access::ready(remote, forge)), target)
    }

    fn over(remote: Lookout, target: WriteTarget) -> Self {
        let WriteTarget { repository, spec, extras } = target;
        let identity = repository.identity();
        Self {
            remote,
            branch: repository.branch().to_owned(),
            author: Author { name: identity.name, email: identity.email },
            spec,
            extras,
            repository,
        }
    }

    /// On these clones instead of its own.
    #[must_use]
    pub fn sharing(self, clones: &Clones) -> Self {
        Self { remote: self.remote.sharing(clones), ..self }
    }

    /// What the write-back could not do or see, with the field of the Repository and the fix.
    pub fn remedied(&self, u: Unavailable) -> Unavailable {
        remedy::remedied(u, &self.repository)
    }

    /// Rehearses both outcomes without writing, and asks what the credentials may do.
    pub async fn preflight(&self) -> Seen<Preflight> {
        let rights = self.remote.seen(self.remote.forge().await?.permissions().await).await?;
        if !rights.can_push || !rights.can_pull {
            let message =
                format!("the token may not {} the repository", if rights.can_pull { "push to" } else { "read" });
            return Err(Unavailable::new(Cause::PermissionDenied, message));
        }
        let spec = self.spec.clone();
        self.git(move |session| {
            session.refresh()?;
            let rehearsal = rehearse(&session.files()?, &spec).map_err(|flaw| flaw.refusal(&spec))?;
            let blobs = rehearsal.recorded().into_iter().map(|(place, id)| (place, id.to_string())).collect();
            Ok(Preflight { base: engine_id(session.head()), blobs })
        })
        .await
    }

    /// The state of one stage, as far as it has to be looked at.
    pub async fn stage(&self, question: &StageQuestion) -> Seen<StageSeen> {
        let request = &question.request;
        match question.look {
            Look::Plan => Ok(StageSeen::Plan(self.plan(request).await?)),
            Look::Publish => {
                let (branch, head) = self.remote.heads(&request.branch, &request.base_branch).await?;
                let found = self.find(request).await?;
                let lacks = found.as_ref().map(|pull| self.extras.lacking(pull)).unwrap_or_default();
                let request = RequestSeen { head: Some(head), branch, pull: self.pull(found).await? };
                Ok(StageSeen::Publish { request, lacks })
            }
            Look::Review(number) => {
                let found = self.remote.seen(self.remote.forge().await?.get(number).await).await?;
                let conflicts = found.as_ref().is_some_and(forge::Pull::in_conflict);
                let pull = self.pull(found).await?;
                // After the request: a branch that is gone then was there as long as the request was open.
                let conflict = if conflicts { Some(Conflict { again: self.plan(request).await.ok() }) } else { None };
                let (branch, base) = (&request.branch, &request.base_branch);
                let twins = if question.twins {
                    self.remote.twins(branch, base, &request.key, number).await?
                } else {
                    Vec::new()
                };
                let (branch, head) = self.remote.heads(branch, base).await?;
                let request = RequestSeen { head: Some(head), branch, pull };
                Ok(StageSeen::Review(Reviewed { request, twins, conflict }))
            }
            Look::Base(ref commit) => {
                let commit = git_id(commit)?;
                self.git(move |session| {
                    let landed = session.holds(&commit)?;
                    Ok(StageSeen::Base { head: engine_id(session.head()), landed })
                })
                .await
            }
            Look::Contents(ref proposed) => {
                let (proposed, request, spec) = (proposed.clone(), request.clone(), self.spec.clone());
                self.git(move |session| {
                    session.refresh()?;
                    let blobs = contents(&session.files()?, proposed.keys())?;
                    let whole = blobs == proposed;
                    let kept = if whole { BTreeSet::new() } else { kept(session, &spec, &request)? };
                    Ok(StageSeen::Contents { blobs, kept })
                })
                .await
            }
        }
    }

    /// The pod template that the baseline's manifest has at a commit.
    pub async fn expected(&self, commit: &engine::CommitId) -> Seen<serde_json::Value> {
        self.at(commit, |files, spec| Ok(baseline_template(files, spec)?)).await
    }

    /// The pod templates that the baseline's and then each candidate's manifest has at a commit.
    pub async fn templates(&self, commit: &engine::CommitId) -> Seen<Vec<serde_json::Value>> {
        self.at(commit, |files, spec| Ok(templates(files, spec)?)).await
    }

    /// Reads files of a commit.
    async fn at<T: Send + 'static>(
        &self,
        commit: &engine::CommitId,
        read: impl FnOnce(&dyn Files, &Spec) -> Seen<T> + Send + 'static,
    ) -> Seen<T> {
        let spec = self.spec.clone();
        git_id(commit)?;
        self.git(move |session| {
            session.refresh()?;
            // A base that moved on holds the commit all the same; what it says about the versions now is what is synced.
            let files = session.files()?;
            read(&files, &spec)
        })
        .await
    }

    /// Carries out one effect in Git or at the forge. The effects in the cluster are not the write-back's: it leaves them alone.
    pub async fn perform(&self, effect: &Effect) -> Result<Vec<Notice>, Unavailable> {
        match effect {
            Effect::Open { request, base } => return self.open(request, base).await,
            Effect::Merge { request, number, commit } => return self.merge(request, *number, commit).await,
            Effect::Push { request, base, commit } => self.push(request, base, commit).await?,
            Effect::Commit { request, base, commit } => self.commit(request, base, commit).await?,
            Effect::Rewrite { request, base, number, at } => self.rewrite(request, base, *number, *at).await?,
            Effect::Close { number, why } => self.close(*number, why).await?,
            Effect::Delete { branch, commit } => self.delete(branch, commit).await?,
            Effect::Claim | Effect::Release | Effect::Route(_) | Effect::Forget => {}
        }
        Ok(Vec::new())
    }

    /// Puts the request's branch at the commit, if there is no such branch yet.
    pub async fn push(
        &self,
        request: &Request,
        base: &engine::CommitId,
        commit: &engine::CommitId,
    ) -> Result<(), Unavailable> {
        let remade = self.remade(request, base, commit)?;
        let made_here = move |session: &mut Session| {
            let made = remade.on(session)?;
            // Afterwards: a sender knows where the history ended when it was opened, and making the commit may fetch.
            Ok((session.sender()?, made))
        };
        let (sender, made) = self.git(made_here).await?;
        let branch = request.branch.clone();
        // Others use the clone meanwhile: a server's hooks take their time.
        let pushed: Seen<()> = blocking(move || Ok(sender.push(&made, &branch, &Lease::Absent)?)).await;
        self.remote.seen(pushed).await
    }

    /// Puts the base branch at the commit, if it is at the commit's base. Those who want the same wait until it is known
    /// whether that went well: of several at once, the server would refuse all but one.
    pub async fn commit(
        &self,
        request: &Request,
        base: &engine::CommitId,
        commit: &engine::CommitId,
    ) -> Result<(), Unavailable> {
        let (remade, lease) = (self.remade(request, base, commit)?, Lease::At(git_id(base)?));
        let branch = request.base_branch.clone();
        self.git(move |session| {
            let made = remade.on(session)?;
            match session.push(&made, &branch, &lease) {
                // Of the base branch it means that somebody else was faster.
                Err(PushError::LeaseLost { .. } | PushError::NotFastForward) => Err(moved_on(&branch)),
                pushed => Ok(pushed?),
            }
        })
        .await
    }

    /// A commit that was decided on, to be made once more.
    fn remade(&self, request: &Request, base: &engine::CommitId, commit: &engine::CommitId) -> Seen<Remade> {
        let (base, commit) = (git_id(base)?, git_id(commit)?);
        Ok(Remade { base, commit, spec: self.spec.clone(), author: self.author.clone(), request: request.clone() })
    }

    /// Opens the request, if there is none from its branch in any state. An open one has its labels and reviewers afterwards;
    /// the notices tell what it lacks.
    pub async fn open(&self, request: &Request, base: &engine::CommitId) -> Result<Vec<Notice>, Unavailable> {
        if let Some(pull) = self.find(request).await? {
            let open = pull.state == ForgeState::Open;
            return Ok(if open { self.annotate(pull.number).await } else { Vec::new() });
        }
        let body = self.text(request, base, request.decided_at).await?;
        let (head, base) = (request.branch.clone(), request.base_branch.clone());
        let new = NewPull { head, base, title: render::title(request), body, draft: self.extras.draft };
        let pull = self.remote.seen(self.remote.forge().await?.open(&new).await).await?;
        let mut notices = Vec::new();
        if self.extras.draft && !pull.draft {
            let message = format!("request #{} can be merged at once: the repository takes no drafts", pull.number);
            notices.push(Notice { reason: "RequestIncomplete", message, warning: true });
        }
        notices.extend(self.annotate(pull.number).await);
        Ok(notices)
    }

    /// Replaces a request's text by what is known now. One that a person changed stays; so does its title, which is the same
    /// for as long as the request is.
    pub async fn rewrite(
        &self,
        request: &Request,
        base: &engine::CommitId,
        number: u64,
        at: Timestamp,
    ) -> Result<(), Unavailable> {
        let body = self.text(request, base, at).await?;
        let forge = self.remote.forge().await?;
        // What was seen at the beginning of the turn may be seconds old.
        let found = self.remote.seen(forge.get(number).await).await?;
        let text = found.filter(|pull| pull.state == ForgeState::Open).and_then(|pull| pull.body);
        if !text.is_some_and(|text| matches!(render::whose(&text), engine::TextSeen::Ours { .. })) {
            return Ok(());
        }
        match forge.update_text(number, None, &body).await {
            // The request is worth no less with an old text.
            Err(error @ (ForgeError::PermissionDenied | ForgeError::Refused { .. })) => {
                tracing::debug!(number, %error, "the forge does not take the request's new text");
                Ok(())
            }
            answer => self.remote.seen(answer).await,
        }
    }

    /// A request's text as of a time, with the changes that it makes on a commit and the mark that it is known by.
    async fn text(&self, request: &Request, base: &engine::CommitId, at: Timestamp) -> Seen<String> {
        let (spec, asked, base) = (self.spec.clone(), request.clone(), git_id(base)?);
        self.git(move |session| {
            // A base that is out of reach after a restart costs the list of changes, which the diff shows anyway.
            let here = session.reach(&base)?;
            let change = if here { change(session, &base, &spec, &asked).ok() } else { None }.unwrap_or_default();
            let body = render::body(Proposed { request: &asked, base: &base, change: &change });
            Ok(render::marked(&body, &asked.report.news.mark(), at))
        })
        .await
    }

    /// The request from a request's branch, in any state.
    async fn find(&self, request: &Request) -> Seen<Option<forge::Pull>> {
        self.remote.seen(self.remote.forge().await?.find(&request.branch, &request.base_branch).await).await
    }

    /// Labels and reviewers: a wrong name is told, and loses no request.
    async fn annotate(&self, number: u64) -> Vec<Notice> {
        let Ok(forge) = self.remote.forge().await else { return Vec::new() };
        let incomplete = |what: String| Notice {
            reason: "RequestIncomplete",
            message: format!("request #{number} is open without all that was asked for: {what}"),
            warning: true,
        };
        forge.annotate(number, &self.extras).await.into_iter().map(incomplete).collect()
    }

    /// Merges a request whose head is this commit, if the forge's rules let it be: what hinders it now may not hinder it at
    /// the next try. What no try can change is told; the request waits for a person then.
    pub async fn merge(
        &self,
        request: &Request,
        number: u64,
        commit: &engine::CommitId,
    ) -> Result<Vec<Notice>, Unavailable> {
        let merge =
            Merge { head: git_id(commit)?, author: self.author.clone(), time_seconds: request.decided_at.as_second() };
        match self.remote.forge().await?.merge(number, &merge).await {
            Ok(Merging::Done) => Ok(Vec::new()),
            Ok(Merging::NotYet { why }) => {
                tracing::debug!(number, why, "the forge does not let the request be merged yet");
                Ok(Vec::new())
            }
            Err(error @ (ForgeError::PermissionDenied | ForgeError::Refused { .. })) => {
                let message = format!("request #{number} has to be merged by a person: {error}");
                Ok(vec![Notice { reason: "RequestNotMerged", message, warning: true }])
            }
            Err(error) => self.remote.seen(Err(error)).await,
        }
    }

    /// Closes a request and says why; one that ended already is left as it is.
    pub async fn close(&self, number: u64, why: &str) -> Result<(), Unavailable> {
        let forge = self.remote.forge().await?;
        match forge.close(number).await {
            Ok(()) => {
                // It is closed all the same; some tokens may not comment.
                if let Err(error) = forge.comment(number, &render::closing(why)).await {
                    tracing::debug!(number, %error, "a closed request does not say why");
                }
                Ok(())
            }
            Err(ForgeError::AlreadyMerged) => Ok(()),
            Err(error) => self.remote.seen(Err(error)).await,
        }
    }

    /// Deletes the branch of a request that has ended, if it is at this commit. A forge or a server that keeps it may.
    pub async fn delete(&self, branch: &str, commit: &engine::CommitId) -> Result<(), Unavailable> {
        let (name, lease) = (branch.to_owned(), Lease::At(git_id(commit)?));
        let deleted = self.git(move |session| Ok(session.delete_branch(&name, &lease)?)).await;
        if let Err(error) = deleted {
            tracing::debug!(branch, reason = error.cause.word(), %error, "the branch of a request that has ended stays");
        }
        Ok(())
    }

    /// The commit that a stage needs on the base branch's head.
    async fn plan(&self, request: &Request) -> Seen<Planned> {
        let (spec, author, request) = (self.spec.clone(), self.author.clone(), request.clone());
        self.git(move |session| {
            let base = session.refresh()?.clone();
            if request.stage == Stage::Revert {
                let recorded = request.blobs.values().map(|blob| blob.parse()).collect::<Result<Vec<_>, _>>();
                session.recall(&recorded.map_err(Unavailable::from)?)?;
            }
            let change = change(session, &base, &spec, &request)?;
            if change.files.is_empty() {
                return Ok(Planned::Nothing(engine_id(&base)));
            }
            let commit = commit_of(session, &base, &change, &author, &request)?;
            let files = change.files.iter().map(line).collect();
            let after = change.files.iter().map(|f| (f.path.clone(), f.op.after().map(ToString::to_string))).collect();
            Ok(Planned::Commit(StageWork { base: engine_id(&base), commit: engine_id(&commit), files, after }))
        })
        .await
    }

    /// A request of the forge in the engine's words.
    async fn pull(&self, found: Option<forge::Pull>) -> Seen<Option<engine::Pull>> {
        let Some(pull) = found else { return Ok(None) };
        let state = match &pull.state {
            ForgeState::Open => engine::PullState::Open,
            ForgeState::Closed => engine::PullState::Closed,
            ForgeState::Merged { commit: Some(commit) } => engine::PullState::Merged(engine_id(commit)),
            ForgeState::Merged { commit: None } => {
                let head = self.git(|session| Ok(engine_id(session.refresh()?))).await?;
                engine::PullState::Merged(head)
            }
        };
        Ok(Some(engine_pull(pull, state)))
    }

    /// Runs blocking work on the branch's clone.
    async fn git<T: Send + 'static>(&self, work: impl FnOnce(&mut Session) -> Seen<T> + Send + 'static) -> Seen<T> {
        self.remote.git(&self.branch, work).await
    }
}

/// Others changed the base branch since a commit was planned on it.
fn moved_on(branch: &str) -> Unavailable {
    Unavailable::new(Cause::BaseMoved, format!("branch {branch} moved on; the commit is planned anew"))
}

/// What the write-back works on, with the contents that were recorded at the start.
fn recorded(spec: &Spec, request: &Request) -> Seen<Spec> {
    let mut spec = spec.promoting(request.candidate);
    for (path, blob) in &request.blobs {
        spec.expected.insert(path.clone(), blob.parse().map_err(Unavailable::from)?);
    }
    Ok(spec)
}

/// The files that a stage changes on a commit.
fn change(session: &Session, base: &CommitId, spec: &Spec, request: &Request) -> Seen<Change> {
    let spec = recorded(spec, request)?;
    let files = session.files_at(base)?;
    Ok(match request.stage {
        Stage::Promote if request.handover == Handover::SinglePullRequest => plan_whole(&files, &spec)?,
        Stage::Promote => plan_promote(&files, &spec)?,
        Stage::CleanUp if request.report.outcome == engine::Outcome::Discard => plan_discard(&files, &spec)?,
        Stage::CleanUp => plan_cleanup(&files, &spec)?,
        Stage::Revert => plan_revert(&files, &spec)?,
    })
}

/// The blob id at each path, none if there is no file.
fn contents<'p>(files: &dyn Files, paths: impl Iterator<Item = &'p String>) -> Seen<BTreeMap<String, Option<String>>> {
    let mut found = BTreeMap::new();
    for path in paths {
        let blob = read(files, &path.parse::<RepoPath>()?)?;
        found.insert(path.clone(), blob.map(|blob| blob.id.to_string()));
    }
    Ok(found)
}

/// The files of a promotion on the base branch that others changed, in which every place that it changed is as it was
/// proposed.
fn kept(session: &mut Session, spec: &Spec, request: &Request) -> Seen<BTreeSet<String>> {
    if request.stage != Stage::Promote {
        return Ok(BTreeSet::new());
    }
    let spec = recorded(spec, request)?;
    session.recall(spec.expected.values())?;
    // What cannot be compared place by place counts as a whole.
    Ok(kept_places(&session.files()?, &spec).unwrap_or_default())
}

/// A commit that was decided on.
struct Remade {
    base: CommitId,
    commit: CommitId,
    spec: Spec,
    author: Author,
    request: Request,
}

impl Remade {
    /// Makes it again.
    fn on(&self, session: &mut Session) -> Seen<CommitId> {
        if !session.reach(&self.base)? {
            return Err(moved_on(&self.request.base_branch));
        }
        let change = change(session, &self.base, &self.spec, &self.request)?;
        let made = commit_of(session, &self.base, &change, &self.author, &self.request)?;
        if made != self.commit {
            let what = format!("the commit became {made} instead of {}; it is planned anew", self.commit);
            return Err(Unavailable::new(Cause::PlanChanged, what));
        }
        Ok(made)
    }
}

fn commit_of(
    session: &Session,
    base: &CommitId,
    change: &Change,
    author: &Author,
    request: &Request,
) -> Seen<CommitId> {
    let message = render::commit_message(request, base);
    let text = CommitText { message: &message, author, time_seconds: request.decided_at.as_second() };
    Ok(session.commit(base, change, text)?)
}

/// One line for the status: what happens to a file.
fn line(file: &FileChange) -> String {
    format!("{} {}", file.op.verb(), file.path)
}

pub(super) fn engine_id(id: &CommitId) -> engine::CommitId {
    engine::CommitId(id.to_string())
}

fn git_id(id: &engine::CommitId) -> Seen<CommitId> {
    id.0.parse().map_err(Unavailable::from)
}

impl Ending for Unavailable {
    fn is_of_the_clone(&self) -> bool {
        // What the disk's failures are called, whichever of the errors below they came in.
        self.cause == Cause::RepositoryUnreadable
    }
}

/// Each error keeps its own cause.
macro_rules! causes {
    ($($error:ty),*) => {
        $(impl From<$error> for Unavailable {
            fn from(error: $error) -> Self {
                Self::new(error.cause(), chain(&error))
            }
        })*
    };
}
causes!(RepositoryError, PushError, TreeError, ForgeError);

impl From<PlanError> for Unavailable {
    fn from(error: PlanError) -> Self {
        let remedy = error.remedy().map(|remedy| format!("; {remedy}")).unwrap_or_default();
        Self::new(error.cause(), chain(&error) + &remedy)
    }
}
