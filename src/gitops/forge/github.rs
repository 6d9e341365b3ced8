//! GitHub and GitHub Enterprise over their REST API.
//!
//! Answers are read into few fields of our own, all optional where GitHub leaves them out: one that cannot be read would lose a
//! request that exists. Addresses shown to people are built here, never taken from answers.

mod app;
mod line;

use line::{Address, Ask, Line};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde_json::json;

pub use app::App;
pub(super) use app::Minted;
pub(crate) use app::granted;

use super::super::transport::Token;
use super::super::tree::CommitId;
use super::answer::{PAGE, text, unavailable};
use super::{Extras, ForgeError, Merging, NewPull, Permissions, Pull, PullState, Way, absent, foremost};

/// A repository at GitHub.
#[derive(Debug, Clone)]
pub struct GitHub {
    /// Below `repos/owner/name`.
    line: Line,
    /// `https://host/owner/name`
    web: Url,
    owner: String,
    /// What an App's installation was given; of anybody else the repository says it.
    granted: Option<Permissions>,
}

/// A pull request; lists leave out `merged` and `mergeable`.
#[derive(Debug, Deserialize)]
struct Answer {
    number: u64,
    #[serde(default)]
    state: String,
    merged_at: Option<String>,
    /// Of an open request, a merge that was only tried.
    merge_commit_sha: Option<String>,
    /// Null until it is computed.
    mergeable: Option<bool>,
    head: Side,
    base: Side,
    labels: Option<Vec<Label>>,
    requested_reviewers: Option<Vec<User>>,
    body: Option<String>,
    #[serde(default)]
    draft: bool,
}

#[derive(Debug, Deserialize)]
struct Side {
    /// The branch; it stays after the branch's deletion.
    #[serde(default, rename = "ref")]
    name: String,
    #[serde(default)]
    sha: String,
    /// Null when the fork that it came from is gone.
    repo: Option<Place>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Place {
    id: u64,
}

#[derive(Debug, Deserialize)]
struct Repository {
    permissions: Option<Rights>,
    #[serde(default)]
    archived: bool,
    allow_merge_commit: Option<bool>,
    allow_squash_merge: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
struct Rights {
    #[serde(default)]
    push: bool,
    #[serde(default)]
    pull: bool,
}

#[derive(Debug, Deserialize)]
struct User {
    #[serde(default)]
    login: String,
}

#[derive(Debug, Deserialize)]
struct Label {
    #[serde(default)]
    name: String,
}

impl GitHub {
    /// The repository with this clone address, `https://HOST/OWNER/NAME.git`. `allow_http` as for the clone itself.
    pub fn new(clone_url: &str, token: Option<&Token>, allow_http: bool) -> Result<Self, ForgeError> {
        Self::over(clone_url, token, &Way { allow_http, ..Way::default() })
    }

    /// The same, over a way of its own.
    pub fn over(clone_url: &str, token: Option<&Token>, way: &Way) -> Result<Self, ForgeError> {
        let place = Address::new(clone_url, way.allow_http)?;
        let line = Line::new(&place, &["repos", &place.owner, &place.name], token, way)?;
        Ok(Self { line, web: place.web, owner: place.owner, granted: None })
    }

    /// With what an App's installation was given.
    pub(crate) fn with_rights(self, granted: Permissions) -> Self {
        Self { granted: Some(granted), ..self }
    }

    pub(super) async fn find(&self, head: &str, base: &str) -> Result<Option<Pull>, ForgeError> {
        Ok(foremost(self.list(head, base, "all").await?))
    }

    pub(super) async fn open_from(&self, head: &str, base: &str) -> Result<Vec<Pull>, ForgeError> {
        self.list(head, base, "open").await
    }

    /// The newest requests from a branch.
    async fn list(&self, head: &str, base: &str, state: &str) -> Result<Vec<Pull>, ForgeError> {
        let (from, page) = (format!("{}:{head}", self.owner), PAGE.to_string());
        let query = [
            ("head", from.as_str()),
            ("base", base),
            ("state", state),
            ("sort", "created"),
            ("direction", "desc"),
            ("per_page", &page),
        ];
        let answers: Vec<Answer> = self.line.call(Ask::Get, &["pulls"], &query).await?.read()?;
        Ok(answers.into_iter().filter(|answer| answer.is_for(head, base)).map(|answer| self.pull(answer)).collect())
    }

    pub(super) async fn get(&self, number: u64) -> Result<Option<Pull>, ForgeError> {
        let reply = self.line.call(Ask::Again, &["pulls", &number.to_string()], &[]).await?;
        if reply.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        reply.read().map(|answer| Some(self.pull(answer)))
    }

    pub(super) async fn open(&self, new: &NewPull) -> Result<Pull, ForgeError> {
        let ask = |draft: bool| {
            let (head, base, title, body) = (&new.head, &new.base, &new.title, &new.body);
            Ask::Post(json!({"head": head, "base": base, "title": title, "body": body, "draft": draft}))
        };
        let mut reply = self.line.call(ask(new.draft), &["pulls"], &[]).await?;
        // Some plans have no drafts.
        if new.draft && reply.status == StatusCode::UNPROCESSABLE_ENTITY && reply.complaint().says("draft") {
            reply = self.line.call(ask(false), &["pulls"], &[]).await?;
        }
        if reply.status == StatusCode::UNPROCESSABLE_ENTITY {
            let complaint = reply.complaint();
            if complaint.says("already exists") {
                let existing = self.find(&new.head, &new.base).await?.filter(|pull| pull.state == PullState::Open);
                return existing.ok_or_else(|| ForgeError::Refused { message: complaint.words() });
            }
            if complaint.says("No commits between") {
                return Err(ForgeError::NoChanges);
            }
            if complaint.names_missing_branch() {
                return Err(ForgeError::NotFound);
            }
        }
        reply.read().map(|answer| self.pull(answer))
    }

    pub(super) async fn update_text(&self, number: u64, title: Option<&str>, body: &str) -> Result<(), ForgeError> {
        let ask = Ask::Patch(text(title, body));
        self.line.call(ask, &["pulls", &number.to_string()], &[]).await?.accept()
    }

    pub(super) async fn comment(&self, number: u64, body: &str) -> Result<(), ForgeError> {
        let ask = Ask::Post(json!({"body": body}));
        self.line.call(ask, &["issues", &number.to_string(), "comments"], &[]).await?.accept()
    }

    pub(super) async fn close(&self, number: u64) -> Result<(), ForgeError> {
        let ask = Ask::Patch(json!({"state": "closed"}));
        let answer: Answer = self.line.call(ask, &["pulls", &number.to_string()], &[]).await?.read()?;
        // Closing a merged request changes nothing and is no error at GitHub.
        match self.pull(answer).state {
            PullState::Merged { .. } => Err(ForgeError::AlreadyMerged),
            PullState::Closed => Ok(()),
            PullState::Open => Err(unavailable("the request was closed and is open")),
        }
    }

    pub(super) async fn merge(&self, number: u64, head: &CommitId) -> Result<Merging, ForgeError> {
        let repository: Repository = self.line.call(Ask::Get, &[], &[]).await?.read()?;
        let body = json!({"sha": head.to_string(), "merge_method": repository.merge_method()});
        let reply = self.line.call(Ask::Put(body), &["pulls", &number.to_string(), "merge"], &[]).await?;
        match reply.status {
            // A person puts it into the queue, once: what a queue threw out is no machine's business to put back.
            StatusCode::METHOD_NOT_ALLOWED if reply.complaint().says("through the merge queue") => {
                Err(ForgeError::Refused { message: reply.complaint().words() })
            }
            // Not mergeable, or not known to be; in the queue; the head is another one.
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::CONFLICT => {
                Ok(Merging::NotYet { why: reply.complaint().words() })
            }
            _ => reply.accept().map(|()| Merging::Done),
        }
    }

    pub(super) async fn annotate(&self, number: u64, extras: &Extras) -> Vec<String> {
        let mut warnings = Vec::new();
        if !extras.labels.is_empty() {
            match self.label(number, &extras.labels).await {
                Ok(there) => warnings.extend(absent(&extras.labels, &there)),
                Err(error) => warnings.push(format!("labels {}: {error}", extras.labels.join(", "))),
            }
        }
        if !extras.reviewers.is_empty() {
            match self.ask_for_reviews(number, &extras.reviewers).await {
                // One wrong name refuses all: the others are asked one by one.
                Err(ForgeError::Refused { .. }) if extras.reviewers.len() > 1 => {
                    for reviewer in extras.reviewers.chunks(1) {
                        warnings
                            .extend(self.ask_for_reviews(number, reviewer).await.err().map(|e| refused(reviewer, &e)));
                    }
                }
                Err(error) => warnings.push(refused(&extras.reviewers, &error)),
                Ok(()) => {}
            }
        }
        warnings
    }

    /// Adds labels, of which those that the repository does not know are made; returns all that the request has.
    async fn label(&self, number: u64, labels: &[String]) -> Result<Vec<String>, ForgeError> {
        let ask = Ask::Post(json!({"labels": labels}));
        let there: Vec<Label> = self.line.call(ask, &["issues", &number.to_string(), "labels"], &[]).await?.read()?;
        Ok(there.into_iter().map(|label| label.name).collect())
    }

    async fn ask_for_reviews(&self, number: u64, reviewers: &[String]) -> Result<(), ForgeError> {
        let ask = Ask::Post(json!({"reviewers": reviewers}));
        self.line.call(ask, &["pulls", &number.to_string(), "requested_reviewers"], &[]).await?.accept()
    }

    pub(super) async fn permissions(&self) -> Result<Permissions, ForgeError> {
        let repository: Repository = self.line.call(Ask::Get, &[], &[]).await?.read()?;
        if repository.archived {
            return Err(ForgeError::RepositoryArchived);
        }
        let rights = repository.permissions.unwrap_or_default();
        let told = Permissions { can_push: rights.push, can_pull: rights.pull };
        Ok(self.granted.unwrap_or(told))
    }

    fn pull(&self, answer: Answer) -> Pull {
        let state = match (answer.merged_at, answer.state.as_str()) {
            (Some(_), _) => PullState::Merged { commit: answer.merge_commit_sha.and_then(|sha| sha.parse().ok()) },
            (None, "open") => PullState::Open,
            (None, _) => PullState::Closed,
        };
        Pull {
            number: answer.number,
            url: format!("{}/pull/{}", self.web, answer.number),
            mergeable: answer.mergeable.filter(|_| state == PullState::Open),
            state,
            head: answer.head.sha.parse().ok(),
            head_branch: answer.head.name,
            labels: answer.labels.into_iter().flatten().map(|label| label.name).collect(),
            reviewers: answer.requested_reviewers.into_iter().flatten().map(|user| user.login).collect(),
            body: answer.body,
            draft: answer.draft,
        }
    }
}

impl Repository {
    /// A way of merging that the repository allows; GitHub always allows one of three.
    fn merge_method(&self) -> &'static str {
        match (self.allow_merge_commit, self.allow_squash_merge) {
            (None | Some(true), _) => "merge",
            (Some(false), Some(true)) => "squash",
            (Some(false), _) => "rebase",
        }
    }
}

impl Answer {
    /// Whether it is from a branch of this repository, not from one of the same name in a fork.
    fn is_for(&self, head: &str, base: &str) -> bool {
        self.head.name == head && self.base.name == base && self.head.repo == self.base.repo
    }
}

fn refused(reviewers: &[String], error: &ForgeError) -> String {
    format!("reviewers {}: {error}", reviewers.join(", "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;
    use crate::engine::Cause;

    #[test]
    fn an_address_has_an_owner_and_a_name() {
        let github = GitHub::new("https://git.acme.example/acme/env.git", None, false).unwrap();
        assert_eq!(github.line.base().as_str(), "https://git.acme.example/api/v3/repos/acme/env");
        assert_eq!(github.web.as_str(), "https://git.acme.example/acme/env");
        for bad in
            ["https://github.com/acme", "https://github.com/a/b/c", "http://github.com/a/b", "https://u@github.com/a/b"]
        {
            assert_eq!(GitHub::new(bad, None, false).unwrap_err().cause(), Cause::AddressRefused, "{bad}");
        }
        let token = Token::new("a\nb");
        let refused = GitHub::new("https://github.com/acme/env", Some(&token), false);
        assert_eq!(refused.unwrap_err(), ForgeError::AuthenticationFailed);
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_not_waited_for() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let root: Url = format!("http://{}/api/v3", silent.local_addr().unwrap()).parse().unwrap();
        let impatient = crate::http::client().timeout(std::time::Duration::from_millis(50)).build().unwrap();
        let line = Line::with(impatient, root.clone());
        let github = GitHub { line, web: root, owner: "acme".into(), granted: None };
        assert_eq!(github.get(7).await, Err(unavailable("no answer in time")));
    }
}
