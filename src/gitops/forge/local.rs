//! Pull requests kept in a bare repository: what a forge does, without a server.
//!
//! Request N is two refs: `refs/pulls/N/head`, the commit last seen on its branch, and `refs/pulls/N/meta`, a JSON blob. So a
//! repository that is kept shows its whole story to the `git` command. For the embedded world; callers may merge and list.

use std::path::{Path, PathBuf};

use git2::{ErrorCode, Oid, Repository, Signature, Time};
use serde::{Deserialize, Serialize};

use super::super::repository::Author;
use super::super::tree::CommitId;
use super::{ForgeError, Merge, Merging, NewPull, Pull, PullState, foremost};

/// A bare repository as its own forge.
#[derive(Debug, Clone)]
pub struct LocalForge {
    path: PathBuf,
    merges: bool,
}

/// A local pull request with its texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalPull {
    /// What every forge tells.
    pub pull: Pull,
    /// The branch to merge into.
    pub base: String,
    /// One line.
    pub title: String,
    /// Markdown.
    pub body: String,
    /// In the order they came.
    pub comments: Vec<String>,
}

/// How a request's commits come to the base branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeStyle {
    /// By a merge commit.
    Merge,
    /// As one new commit.
    Squash,
    /// As a new commit with the text of the last one. Requests here have one commit each.
    Rebase,
}

/// The blob behind `refs/pulls/N/meta`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Meta {
    title: String,
    body: String,
    base: String,
    head: String,
    state: State,
    #[serde(default)]
    comments: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum State {
    Open,
    Closed,
    Merged(CommitId),
}

impl From<git2::Error> for ForgeError {
    fn from(error: git2::Error) -> Self {
        Self::Store { message: error.message().to_owned() }
    }
}

fn head_ref(number: u64) -> String {
    format!("refs/pulls/{number}/head")
}

fn meta_ref(number: u64) -> String {
    format!("refs/pulls/{number}/meta")
}

fn some<T>(found: Result<T, git2::Error>) -> Result<Option<T>, git2::Error> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn tip(repository: &Repository, branch: &str) -> Result<Option<Oid>, git2::Error> {
    some(repository.refname_to_id(&format!("refs/heads/{branch}")))
}

impl LocalForge {
    /// Uses the bare repository at `path`.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), merges: true }
    }

    /// Lets only people merge: whoever asks through [`super::Forge`] may not.
    #[must_use]
    pub fn without_merge_right(self) -> Self {
        Self { merges: false, ..self }
    }

    fn repository(&self) -> Result<Repository, ForgeError> {
        Ok(Repository::open_bare(&self.path)?)
    }

    fn load(repository: &Repository, number: u64) -> Result<Option<Meta>, ForgeError> {
        let Some(id) = some(repository.refname_to_id(&meta_ref(number)))? else { return Ok(None) };
        let blob = repository.find_blob(id)?;
        serde_json::from_slice(blob.content())
            .map(Some)
            .map_err(|error| ForgeError::Store { message: error.to_string() })
    }

    fn store(repository: &Repository, number: u64, meta: &Meta, replace: bool) -> Result<(), ForgeError> {
        let text = serde_json::to_vec_pretty(meta).map_err(|error| ForgeError::Store { message: error.to_string() })?;
        repository.reference(&meta_ref(number), repository.blob(&text)?, replace, "pull request")?;
        Ok(())
    }

    fn required(repository: &Repository, number: u64) -> Result<Meta, ForgeError> {
        Self::load(repository, number)?.ok_or(ForgeError::NotFound)
    }

    fn numbers(repository: &Repository) -> Result<Vec<u64>, ForgeError> {
        let mut numbers = Vec::new();
        for reference in repository.references_glob("refs/pulls/*/meta")? {
            let number: Option<u64> = reference?.name()?.split('/').nth(2).and_then(|number| number.parse().ok());
            numbers.extend(number);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Follows the branch of an open request: a new tip is its new head, a deleted branch closes it.
    fn follow(repository: &Repository, number: u64, meta: &mut Meta) -> Result<(), ForgeError> {
        if meta.state == State::Open {
            if let Some(tip) = tip(repository, &meta.head)? {
                repository.reference(&head_ref(number), tip, true, "pull request")?;
            } else {
                meta.state = State::Closed;
                Self::store(repository, number, meta, true)?;
            }
        }
        Ok(())
    }

    fn describe(repository: &Repository, number: u64) -> Result<Option<LocalPull>, ForgeError> {
        let Some(mut meta) = Self::load(repository, number)? else { return Ok(None) };
        Self::follow(repository, number, &mut meta)?;
        let head = some(repository.refname_to_id(&head_ref(number)))?;
        let mergeable = match (&meta.state, head, tip(repository, &meta.base)?) {
            (State::Open, Some(head), Some(base)) => Some(
                !repository
                    .merge_commits(&repository.find_commit(base)?, &repository.find_commit(head)?, None)?
                    .has_conflicts(),
            ),
            _ => None,
        };
        let state = match meta.state {
            State::Open => PullState::Open,
            State::Closed => PullState::Closed,
            State::Merged(commit) => PullState::Merged { commit: Some(commit) },
        };
        let pull = Pull {
            number,
            url: format!("local/pulls/{number}"),
            state,
            head: head.map(CommitId::from),
            head_branch: meta.head,
            mergeable,
            labels: Vec::new(),
            reviewers: Vec::new(),
            body: Some(meta.body.clone()),
            draft: false,
        };
        Ok(Some(LocalPull { pull, base: meta.base, title: meta.title, body: meta.body, comments: meta.comments }))
    }

    /// Every request, oldest first.
    pub fn list(&self) -> Result<Vec<LocalPull>, ForgeError> {
        let repository = self.repository()?;
        let mut pulls = Vec::new();
        for number in Self::numbers(&repository)? {
            pulls.extend(Self::describe(&repository, number)?);
        }
        Ok(pulls)
    }

    /// Merges an open request with a merge commit and returns it.
    pub fn merge(&self, number: u64, author: &Author, time_seconds: i64) -> Result<CommitId, ForgeError> {
        self.merge_as(number, MergeStyle::Merge, author, time_seconds)
    }

    /// Merges an open request and returns the base branch's new head.
    pub fn merge_as(
        &self,
        number: u64,
        style: MergeStyle,
        author: &Author,
        time_seconds: i64,
    ) -> Result<CommitId, ForgeError> {
        let repository = self.repository()?;
        let mut meta = Self::required(&repository, number)?;
        Self::follow(&repository, number, &mut meta)?;
        match meta.state {
            State::Open => {}
            State::Closed => return Err(ForgeError::Refused { message: "the request is closed".to_owned() }),
            State::Merged(_) => return Err(ForgeError::AlreadyMerged),
        }
        let ours = repository.find_commit(tip(&repository, &meta.base)?.ok_or(ForgeError::NotFound)?)?;
        let theirs = repository.find_commit(repository.refname_to_id(&head_ref(number))?)?;
        let mut index = repository.merge_commits(&ours, &theirs, None)?;
        if index.has_conflicts() {
            return Err(ForgeError::Refused { message: "the request conflicts with its base".to_owned() });
        }
        let tree = repository.find_tree(index.write_tree_to(&repository)?)?;
        let signature = Signature::new(&author.name, &author.email, &Time::new(time_seconds, 0))?;
        let (message, parents) = match style {
            MergeStyle::Merge => (format!("Merge pull request #{number}: {}\n", meta.title), vec![&ours, &theirs]),
            MergeStyle::Squash => (format!("{} (#{number})\n", meta.title), vec![&ours]),
            MergeStyle::Rebase => (theirs.message().unwrap_or_default().to_owned(), vec![&ours]),
        };
        let commit = repository.commit(None, &signature, &signature, &message, &tree, &parents)?;
        repository.reference_matching(&format!("refs/heads/{}", meta.base), commit, true, ours.id(), "merge")?;
        meta.state = State::Merged(commit.into());
        Self::store(&repository, number, &meta, true)?;
        Ok(commit.into())
    }

    /// Merges an open request whose head is the given commit.
    pub(super) fn merge_if(&self, number: u64, merge: &Merge) -> Result<Merging, ForgeError> {
        if !self.merges {
            return Err(ForgeError::PermissionDenied);
        }
        let pull = self.get(number)?.ok_or(ForgeError::NotFound)?;
        if pull.head.as_ref() != Some(&merge.head) {
            return Ok(Merging::NotYet { why: "its head is another commit".to_owned() });
        }
        match self.merge(number, &merge.author, merge.time_seconds) {
            Ok(_) | Err(ForgeError::AlreadyMerged) => Ok(Merging::Done),
            Err(ForgeError::Refused { message }) => Ok(Merging::NotYet { why: message }),
            Err(error) => Err(error),
        }
    }

    pub(super) fn find(&self, head: &str, base: &str) -> Result<Option<Pull>, ForgeError> {
        Ok(foremost(self.from(head, base)?))
    }

    pub(super) fn open_from(&self, head: &str, base: &str) -> Result<Vec<Pull>, ForgeError> {
        Ok(self.from(head, base)?.into_iter().filter(|pull| pull.state == PullState::Open).collect())
    }

    fn from(&self, head: &str, base: &str) -> Result<Vec<Pull>, ForgeError> {
        let ours = |pull: &LocalPull| pull.base == base && pull.pull.head_branch == head;
        Ok(self.list()?.into_iter().filter(ours).map(|pull| pull.pull).collect())
    }

    pub(super) fn get(&self, number: u64) -> Result<Option<Pull>, ForgeError> {
        Ok(Self::describe(&self.repository()?, number)?.map(|pull| pull.pull))
    }

    pub(super) fn open(&self, new: &NewPull) -> Result<Pull, ForgeError> {
        if let Some(pull) = self.find(&new.head, &new.base)?.filter(|pull| pull.state == PullState::Open) {
            return Ok(pull);
        }
        let repository = self.repository()?;
        let (head, base) = (
            tip(&repository, &new.head)?.ok_or(ForgeError::NotFound)?,
            tip(&repository, &new.base)?.ok_or(ForgeError::NotFound)?,
        );
        if head == base {
            return Err(ForgeError::NoChanges);
        }
        let number = Self::numbers(&repository)?.last().map_or(1, |last| last + 1);
        let meta = Meta {
            title: new.title.clone(),
            body: new.body.clone(),
            base: new.base.clone(),
            head: new.head.clone(),
            state: State::Open,
            comments: Vec::new(),
        };
        repository.reference(&head_ref(number), head, true, "pull request")?;
        Self::store(&repository, number, &meta, false)?;
        self.get(number)?.ok_or(ForgeError::NotFound)
    }

    pub(super) fn update_text(&self, number: u64, title: Option<&str>, body: &str) -> Result<(), ForgeError> {
        let repository = self.repository()?;
        let meta = Self::required(&repository, number)?;
        let title = title.map_or(meta.title, ToOwned::to_owned);
        Self::store(&repository, number, &Meta { title, body: body.to_owned(), ..meta }, true)
    }

    pub(super) fn comment(&self, number: u64, body: &str) -> Result<(), ForgeError> {
        let repository = self.repository()?;
        let mut meta = Self::required(&repository, number)?;
        meta.comments.push(body.to_owned());
        Self::store(&repository, number, &meta, true)
    }

    /// Closes a request, as a reviewer would.
    pub fn close(&self, number: u64) -> Result<(), ForgeError> {
        let repository = self.repository()?;
        let mut meta = Self::required(&repository, number)?;
        Self::follow(&repository, number, &mut meta)?;
        match meta.state {
            State::Open => Self::store(&repository, number, &Meta { state: State::Closed, ..meta }, true),
            State::Closed => Ok(()),
            State::Merged(_) => Err(ForgeError::AlreadyMerged),
        }
    }
}
