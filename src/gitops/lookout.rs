//! A repository and its forge, as they are looked at: by the turns of an experiment, and between them.
//!
//! Holds the credential and knows no experiment. Called by [`super::writeback`], and by the controller for experiments that
//! have nothing left to do but to wait for a merge. It reports what it sees and judges nothing.

use std::sync::Arc;

use reqwest::Url;

use super::access::{Access, Credential};
use super::forge::{self, Forge, Memory, PullState, Way};
use super::render;
use super::repository::{Clones, RepositoryError, Session};
use super::writeback::engine_id;
use crate::api::RepositorySpec;
use crate::engine::{self, Cause, Conflict, RequestSeen, Rest, Reviewed, Seen, Unavailable};

/// A repository and its forge.
pub struct Lookout {
    access: Access,
    clones: Clones,
}

impl Lookout {
    /// Over HTTP, with the repository's forge. Plain http is taken for the listed hosts only.
    pub fn new(
        repository: &RepositorySpec,
        credential: Option<Credential>,
        http_hosts: &[String],
        memory: &Arc<Memory>,
    ) -> Seen<Self> {
        let refuse =
            |why: String| Unavailable::new(Cause::RepositoryAddressRefused, format!("Repository spec.url: {why}"));
        // The text is not repeated: it could hold a token.
        let url = Url::parse(&repository.url).map_err(|e| refuse(format!("it is no address: {e}")))?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let allow_http = http_hosts.contains(&host);
        if url.scheme() == "http" && !allow_http {
            return Err(refuse(format!(
                "plain http to `{host}` is not allowed; use https, or start the controller with --allow-http-host {host}"
            )));
        }
        let ca = repository.ca_bundle.as_deref().map(Arc::from);
        let way = Way { allow_http, ca, memory: Arc::clone(memory) };
        Ok(Self::over(Access::new(repository, credential, way)?))
    }

    pub(super) fn over(access: Access) -> Self {
        Self { access, clones: Clones::default() }
    }

    pub(super) fn sharing(self, clones: &Clones) -> Self {
        Self { clones: clones.clone(), ..self }
    }

    /// The request of an experiment that rests, as [`super::WriteBack::stage`] sees it, but without others from its
    /// branch, without what it would be now, and without the branches if there is no news.
    pub async fn glance(&self, rest: &Rest) -> Seen<Reviewed> {
        let found = self.seen(self.forge().await?.get(rest.number).await).await?;
        let conflict = found.as_ref().filter(|pull| pull.in_conflict()).map(|_| Conflict::default());
        if let Some(pull) = found.as_ref().filter(|pull| pull.state == PullState::Open && conflict.is_none()) {
            let pull = Some(engine_pull(pull.clone(), engine::PullState::Open));
            let request = RequestSeen { pull, ..RequestSeen::default() };
            let seen = Ok(Reviewed { request, ..Reviewed::default() });
            // Without news the branches make no difference.
            if !rest.is_ended_by(&seen) {
                return seen;
            }
        }
        // After the request: a merge that it tells is in the base branch.
        let (branch, head) = self.heads(&rest.branch, &rest.base_branch).await?;
        let pull = found.map(|pull| {
            let state = match &pull.state {
                PullState::Open => engine::PullState::Open,
                PullState::Closed => engine::PullState::Closed,
                PullState::Merged { commit } => {
                    engine::PullState::Merged(commit.as_ref().map_or_else(|| head.clone(), engine_id))
                }
            };
            engine_pull(pull, state)
        });
        let request = RequestSeen { head: Some(head), branch, pull };
        Ok(Reviewed { request, twins: Vec::new(), conflict })
    }

    /// Other open requests from a request's branch, as far as they have its key.
    pub(super) async fn twins(&self, branch: &str, base: &str, key: &str, number: u64) -> Seen<Vec<engine::Pull>> {
        let open = self.seen(self.forge().await?.open_from(branch, base).await).await?;
        let ours = |pull: &forge::Pull| pull.body.as_deref().is_some_and(|body| render::has_key(body, key));
        let twins = open.into_iter().filter(|pull| pull.number != number && ours(pull));
        Ok(twins.map(|pull| engine_pull(pull, engine::PullState::Open)).collect())
    }

    /// The heads of a request's branch, if it is there, and of its base branch.
    pub(super) async fn heads(&self, branch: &str, base: &str) -> Seen<(Option<engine::CommitId>, engine::CommitId)> {
        let remote = &self.access.get().await?.0;
        let [branch, head] = self.seen(self.clones.heads(remote, [branch, base].map(str::to_owned)).await).await?;
        // Without its base branch a repository says nothing about a request.
        let head = head.ok_or_else(|| RepositoryError::BranchMissing { branch: base.to_owned() })?;
        Ok((branch.as_ref().map(engine_id), engine_id(&head)))
    }

    pub(super) async fn forge(&self) -> Seen<&Forge> {
        Ok(&self.access.get().await?.1)
    }

    /// Runs blocking work on a branch's clone.
    pub(super) async fn git<T: Send + 'static>(
        &self,
        branch: &str,
        work: impl FnOnce(&mut Session) -> Seen<T> + Send + 'static,
    ) -> Seen<T> {
        let remote = self.access.get().await?.0.clone();
        let done = self.clones.with(&remote, branch, work).await;
        self.seen(done).await
    }

    /// An answer; a credential that was refused is not used again.
    pub(super) async fn seen<T>(&self, answer: Result<T, impl Into<Unavailable>>) -> Seen<T> {
        let answer = answer.map_err(Into::into);
        if answer.as_ref().is_err_and(|u: &Unavailable| u.cause == Cause::AuthenticationFailed) {
            self.access.refused().await;
        }
        answer
    }
}

/// A request of the forge in the engine's words.
pub(super) fn engine_pull(pull: forge::Pull, state: engine::PullState) -> engine::Pull {
    let head = pull.head.as_ref().map(engine_id);
    let text = pull.body.as_deref().map(render::whose);
    engine::Pull { number: pull.number, url: pull.url, state, head, text }
}
