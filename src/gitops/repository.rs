//! One branch of the environment repository: read it, commit on it without a work tree, push with a lease.
//!
//! A [`Session`] is a bare clone in a temporary folder (of depth 1 over HTTP), so no hook, filter or attribute of the repository
//! ever runs. What is in a clone stays as it is, so that a [`Sender`] pushes from it while others use it. Commits are deterministic: the same base, change, text and time give the same id. All calls block; the async side
//! runs them on threads that may. The session makes no choices and keeps no state that the remote does not have; [`Clones`]
//! keeps it from one turn to the next.

mod clones;
mod error;
mod files;
mod history;
mod push;
mod put;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

pub use clones::{Clones, Ending};
pub use error::{PushError, RepositoryError};
use git2::build::TreeUpdateBuilder;
use git2::{AutotagOption, Direction, FetchOptions, FileMode, Oid, RemoteCallbacks, Repository, Signature, Time};
pub use push::{Lease, Sender};
pub use put::Put;
use reqwest::Url;
use tempfile::TempDir;

use super::plan::{Change, FileOp};
use super::transport::{Endpoint, Limits, Token, install};
use super::tree::{CommitId, Files};

/// Where the environment repository is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Remote {
    /// Over HTTPS, or HTTP where that is allowed.
    Http {
        /// The clone address, without credentials.
        url: String,
        /// Sent as the password of basic authentication.
        credentials: Option<Token>,
        /// Whether `http://` is acceptable; the controller's configuration lists such hosts.
        allow_http: bool,
        /// Authorities whose certificates are accepted beside those of the system, PEM.
        ca: Option<Arc<str>>,
    },
    /// A bare repository on this machine, for the embedded world.
    Local(PathBuf),
}

/// Who writes the commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The name.
    pub name: String,
    /// The address.
    pub email: String,
}

/// What a commit says besides its files.
#[derive(Debug, Clone, Copy)]
pub struct CommitText<'a> {
    /// The whole message.
    pub message: &'a str,
    /// Author and committer.
    pub author: &'a Author,
    /// The commit's time, in seconds since 1970; from the engine, so that a repetition gives the same id.
    pub time_seconds: i64,
}

/// Where the fetched branch is kept in the clone.
const FETCHED: &str = "refs/fetched";

/// How much of a branch is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// The newest commit.
    Head,
    /// What [`history`] searches.
    History,
}

impl Depth {
    fn commits(self) -> i32 {
        match self {
            Self::Head => 1,
            Self::History => history::MOST_COMMITS,
        }
    }
}

/// A branch of a remote repository, fetched.
pub struct Session {
    repository: Repository,
    link: Link,
    branch: String,
    head: CommitId,
    /// The head whose history was fetched last, too.
    deep: Option<CommitId>,
    /// Packs and commits that were added to the clone: nothing is ever taken out of it.
    grown: u32,
    limits: Limits,
    /// Removed with the session and what it sends.
    folder: Arc<TempDir>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("branch", &self.branch).field("head", &self.head).finish_non_exhaustive()
    }
}

/// How libgit2 reaches the remote.
enum Link {
    Http(Arc<Endpoint>),
    Local(String),
}

impl Link {
    fn new(remote: &Remote, limits: Limits) -> Result<Self, RepositoryError> {
        match remote {
            Remote::Http { url, credentials, allow_http, ca } => {
                let url = checked(url, *allow_http)?;
                Ok(Self::Http(Endpoint::open(url, credentials.clone(), ca.clone(), limits)))
            }
            Remote::Local(path) => path
                .to_str()
                .map(|path| Self::Local(path.to_owned()))
                .ok_or(RepositoryError::UrlRefused { why: "the path is not text" }),
        }
    }

    fn address(&self) -> String {
        match self {
            Self::Http(endpoint) => endpoint.address(),
            Self::Local(path) => path.clone(),
        }
    }

    /// Another one to the same place, for an operation beside those of this one.
    fn beside(&self) -> Self {
        match self {
            Self::Http(endpoint) => Self::Http(endpoint.beside()),
            Self::Local(path) => Self::Local(path.clone()),
        }
    }

    /// The commits of branches now, in one exchange; none where there is no such branch. Transfers no content.
    fn heads<const N: usize>(&self, branches: [&str; N]) -> Result<[Option<CommitId>; N], RepositoryError> {
        let mut found = [const { None }; N];
        let names = branches.iter().map(|branch| branch_ref(branch)).collect::<Result<Vec<_>, _>>()?;
        self.begin();
        let mut list = || -> Result<(), git2::Error> {
            let mut remote = git2::Remote::create_detached(self.address().as_str())?;
            let connection = remote.connect_auth(Direction::Fetch, None, None)?;
            let heads = connection.list()?;
            for (found, name) in found.iter_mut().zip(&names) {
                *found = heads.iter().find(|head| head.name() == name).map(|head| head.oid().into());
            }
            Ok(())
        };
        list().map_err(|error| self.explain(&error))?;
        Ok(found)
    }

    fn begin(&self) {
        match self {
            Self::Http(endpoint) => endpoint.begin(),
            Self::Local(_) => {}
        }
    }

    /// The reason that the server gave, else libgit2's words.
    fn explain(&self, error: &git2::Error) -> RepositoryError {
        let failure = match self {
            Self::Http(endpoint) => endpoint.take_failure(),
            Self::Local(_) => None,
        };
        failure
            .map_or_else(|| RepositoryError::from(error).reworded(|words| self.harmless(words)), RepositoryError::from)
    }

    /// What libgit2 or the server said, as it may be shown.
    fn harmless(&self, words: &str) -> String {
        match self {
            Self::Http(endpoint) => endpoint.harmless(words),
            Self::Local(_) => words.to_owned(),
        }
    }
}

/// Accepts `https`, and `http` where allowed; nothing that could carry a credential or a query.
pub(super) fn checked(url: &str, allow_http: bool) -> Result<Url, RepositoryError> {
    let refuse = |why| RepositoryError::UrlRefused { why };
    let parsed = Url::parse(url).map_err(|_| refuse("it is not a URL"))?;
    match parsed.scheme() {
        "https" => {}
        "http" if allow_http => {}
        "http" => return Err(refuse("http is allowed only for hosts that the controller's configuration lists")),
        _ => return Err(refuse("only https is supported")),
    }
    // One with a `/` begins the path, as far as the address's grammar goes.
    if !parsed.username().is_empty() || parsed.password().is_some() || parsed.path().contains('@') {
        return Err(refuse("credentials belong into the Secret"));
    }
    if parsed.query().is_some() || parsed.fragment().is_some() || parsed.host_str().is_none_or(str::is_empty) {
        return Err(refuse("it needs a host, and no query or fragment"));
    }
    Ok(parsed)
}

/// A branch name that is one to git too, and nothing but a branch name.
fn branch_ref(branch: &str) -> Result<String, RepositoryError> {
    let name = format!("refs/heads/{branch}");
    let plain = branch.len() <= 200
        && branch.chars().all(|c| c.is_ascii_alphanumeric() || "._/@+-".contains(c))
        && !branch.starts_with('-');
    if plain && git2::Reference::is_valid_name(&name) {
        Ok(name)
    } else {
        Err(RepositoryError::BadBranch { branch: branch.chars().take(100).collect() })
    }
}

impl Session {
    /// Fetches `branch` into a new bare repository.
    pub fn open(remote: &Remote, branch: &str, limits: Limits) -> Result<Self, RepositoryError> {
        let mut session = Self::empty(remote, branch, limits)?;
        session.refresh()?;
        Ok(session)
    }

    /// A new bare repository with nothing in it, and no [`Self::head`] before the first [`Self::refresh`].
    fn empty(remote: &Remote, branch: &str, limits: Limits) -> Result<Self, RepositoryError> {
        install();
        branch_ref(branch)?;
        let link = Link::new(remote, limits)?;
        let folder =
            TempDir::with_prefix("reiter8-").map_err(|error| RepositoryError::Store { message: error.to_string() })?;
        let repository = Repository::init_bare(folder.path()).map_err(|error| RepositoryError::from(&error))?;
        Ok(Self {
            repository,
            link,
            branch: branch.to_owned(),
            head: CommitId::from(Oid::ZERO_SHA1),
            deep: None,
            grown: 0,
            limits,
            folder: Arc::new(folder),
        })
    }

    /// The commit that was fetched last.
    pub fn head(&self) -> &CommitId {
        &self.head
    }

    /// The files of that commit.
    pub fn files(&self) -> Result<impl Files + '_, RepositoryError> {
        self.files_at(&self.head)
    }

    /// The files of a commit that this session fetched or made.
    pub fn files_at(&self, commit: &CommitId) -> Result<impl Files + '_, RepositoryError> {
        Ok(files::GitFiles::new(&self.repository, self.repository.find_commit(commit.oid())?.tree()?))
    }

    /// Looks at the branch, fetches it if it moved, and returns its commit.
    pub fn refresh(&mut self) -> Result<&CommitId, RepositoryError> {
        self.fetch(Depth::Head)
    }

    /// Fetches the branch unless what is asked for is here. Over HTTP it comes with so many of its commits; a local one comes
    /// whole.
    fn fetch(&mut self, depth: Depth) -> Result<&CommitId, RepositoryError> {
        self.link.begin();
        let deadline = Instant::now() + self.limits.wall_clock;
        let budget = self.limits.bytes;
        let mut callbacks = RemoteCallbacks::new();
        callbacks
            .transfer_progress(move |progress| progress.received_bytes() as u64 <= budget && Instant::now() < deadline);
        let mut options = FetchOptions::new();
        options.remote_callbacks(callbacks).download_tags(AutotagOption::None);
        if matches!(self.link, Link::Http(_)) {
            options.depth(depth.commits());
        }
        let source = branch_ref(&self.branch)?;
        let fetched = self.fetch_moved(&source, depth, &mut options);
        drop(options);
        let Some(head) = fetched.map_err(|error| self.link.explain(&error))? else {
            return Err(RepositoryError::BranchMissing { branch: self.branch.clone() });
        };
        if depth == Depth::History {
            self.deep = Some(head.clone());
        }
        self.head = head;
        Ok(&self.head)
    }

    /// One exchange: the remote's list of branches, and what is not here of this one. `None` if it has no such branch.
    fn fetch_moved(
        &mut self,
        source: &str,
        depth: Depth,
        options: &mut FetchOptions<'_>,
    ) -> Result<Option<CommitId>, git2::Error> {
        let mut remote = self.repository.remote_anonymous(&self.link.address())?;
        let mut connection = remote.connect_auth(Direction::Fetch, None, None)?;
        let found = connection.list()?.iter().find(|head| head.name() == source).map(|head| head.oid().into());
        let here = match depth {
            Depth::Head => Some(&self.head),
            Depth::History => self.deep.as_ref(),
        };
        if found.is_none() || found.as_ref() == here {
            return Ok(found);
        }
        self.grown += 1;
        connection.remote().fetch(&[&format!("+{source}:{FETCHED}")], Some(options), None)?;
        // What came, which is newer than the list if somebody was fast.
        Ok(Some(self.repository.find_reference(FETCHED)?.peel_to_commit()?.id().into()))
    }

    /// Sees to it that a commit is here, if the branch has it as its head or the clone had it before; whether it is.
    pub fn reach(&mut self, commit: &CommitId) -> Result<bool, RepositoryError> {
        if self.has(commit) {
            return Ok(true);
        }
        self.refresh()?;
        Ok(self.has(commit))
    }

    fn has(&self, commit: &CommitId) -> bool {
        self.repository.find_commit(commit.oid()).is_ok()
    }

    /// The commit of a branch at the remote now, `None` if there is no such branch. Transfers no content.
    pub fn ls_remote(&self, branch: &str) -> Result<Option<CommitId>, RepositoryError> {
        let [found] = self.link.heads([branch])?;
        Ok(found)
    }

    /// What pushes from this clone while others use it.
    pub fn sender(&self) -> Result<Sender, RepositoryError> {
        Sender::new(Arc::clone(&self.folder), self.link.beside())
    }

    /// Writes a commit on `base` into this session, without any branch; the same arguments give the same id.
    pub fn commit(&self, base: &CommitId, change: &Change, text: CommitText<'_>) -> Result<CommitId, RepositoryError> {
        let parent = self.repository.find_commit(base.oid())?;
        let tree = parent.tree()?;
        let mut update = TreeUpdateBuilder::new();
        for file in &change.files {
            let entry = tree.get_path(std::path::Path::new(&file.path)).ok();
            let found = entry.as_ref().map(git2::TreeEntry::id);
            let (FileOp::Edit { before, .. } | FileOp::Remove { before }) = &file.op;
            if found != Some(before.oid()) {
                return Err(RepositoryError::BaseMoved { path: file.path.clone() });
            }
            match &file.op {
                FileOp::Edit { after, bytes, .. } => {
                    let executable = entry.is_some_and(|entry| entry.filemode() == i32::from(FileMode::BlobExecutable));
                    let blob = self.repository.blob(bytes)?;
                    if blob != after.oid() {
                        return Err(RepositoryError::BaseMoved { path: file.path.clone() });
                    }
                    update.upsert(
                        file.path.as_str(),
                        blob,
                        if executable { FileMode::BlobExecutable } else { FileMode::Blob },
                    );
                }
                FileOp::Remove { .. } => {
                    update.remove(file.path.as_str());
                }
            }
        }
        let tree = self.repository.find_tree(update.create_updated(&self.repository, &tree)?)?;
        let signature = Signature::new(&text.author.name, &text.author.email, &Time::new(text.time_seconds, 0))?;
        let commit = self.repository.commit(None, &signature, &signature, text.message, &tree, &[&parent])?;
        Ok(commit.into())
    }
}
