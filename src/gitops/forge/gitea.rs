//! Gitea and Forgejo over their REST API.
//!
//! A thin client: few fields are read, all optional where the servers differ. Redirects are not followed, so that the token stays
//! with its host; every answer is bounded in time and size; addresses shown to people are built here, never taken from answers.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method, StatusCode, Url, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::super::repository::checked;
use super::super::transport::{Token, one_line};
use super::super::tree::CommitId;
use super::answer::{PAGE, client, credential, exchange, parse, retry_after, text, unavailable};
use super::memory::{Memory, Who};
use super::{Extras, ForgeError, Merging, NewPull, Permissions, Pull, PullState, Way, absent, foremost};

/// What makes a title one of a draft, unless the server's owner has configured other words.
const DRAFT: &str = "WIP: ";
/// The pause after a refusal that names none.
const LEAST_PAUSE: Duration = Duration::from_secs(60);
/// Most pages that are searched for a request that the direct look-up did not find.
const MAX_PAGES: usize = 4;
/// Styles of merging that bring the request's files to the base branch.
const STYLES: [&str; 5] = ["merge", "squash", "rebase", "rebase-merge", "fast-forward-only"];

/// A repository at a Gitea or Forgejo server.
#[derive(Debug, Clone)]
pub struct Gitea {
    client: Client,
    who: Who,
    memory: Arc<Memory>,
    /// `https://host/api/v1/repos/owner/name`
    api: Url,
    /// `https://host/owner/name`
    web: Url,
    token: Option<Token>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    number: u64,
    #[serde(default)]
    state: String,
    #[serde(default)]
    merged: bool,
    merge_commit_sha: Option<String>,
    mergeable: Option<bool>,
    #[serde(default)]
    draft: bool,
    head: Side,
    base: Side,
    labels: Option<Vec<Label>>,
    requested_reviewers: Option<Vec<User>>,
    body: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Side {
    /// The branch; after a merge and the branch's deletion `refs/pull/N/head`.
    #[serde(default, rename = "ref")]
    name: String,
    /// The branch, also after its deletion; `owner:branch` for a fork.
    #[serde(default)]
    label: String,
    #[serde(default)]
    sha: String,
}

#[derive(Debug, Deserialize)]
struct Repository {
    permissions: Option<Rights>,
    #[serde(default)]
    archived: bool,
    /// How requests are merged when nobody says otherwise.
    default_merge_style: Option<String>,
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

#[derive(Debug, Default, Deserialize)]
struct Complaint {
    #[serde(default)]
    message: String,
}

impl Gitea {
    /// The repository with this clone address. `allow_http` as for the clone itself.
    pub fn new(clone_url: &str, token: Option<Token>, allow_http: bool) -> Result<Self, ForgeError> {
        Self::over(clone_url, token, &Way { allow_http, ..Way::default() })
    }

    /// The same, over a way of its own.
    pub fn over(clone_url: &str, token: Option<Token>, way: &Way) -> Result<Self, ForgeError> {
        let refuse = |why| ForgeError::AddressRefused { why };
        let mut web = checked(clone_url, way.allow_http).map_err(|_| refuse("not an acceptable clone address"))?;
        let path = web.path().trim_end_matches('/').trim_end_matches(".git").to_owned();
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (Some(name), Some(owner)) = (parts.pop(), parts.pop()) else {
            return Err(refuse("it has no owner and name"));
        };
        let mut api = web.clone();
        let prefix = parts.join("/");
        api.set_path(&format!("{prefix}/api/v1/repos/{owner}/{name}"));
        web.set_path(&path);
        let host =
            format!("{}:{}", web.host_str().unwrap_or_default(), web.port_or_known_default().unwrap_or_default());
        let (client, who, memory) = (client(way)?, Who::new(&host, token.as_ref()), Arc::clone(&way.memory));
        Ok(Self { client, who, memory, api, web, token })
    }

    pub(super) async fn find(&self, head: &str, base: &str) -> Result<Option<Pull>, ForgeError> {
        let direct: Option<Answer> = self.read(&["pulls", base, head], &[]).await?;
        if let Some(answer) = direct {
            let pull = self.pull(answer);
            if pull.state == PullState::Open {
                return Ok(Some(pull));
            }
            // The direct look-up returns one of several: an open one counts more.
            let open = foremost(self.search(head, base, "open").await?);
            return Ok(Some(open.unwrap_or(pull)));
        }
        Ok(foremost(self.search(head, base, "all").await?))
    }

    pub(super) async fn open_from(&self, head: &str, base: &str) -> Result<Vec<Pull>, ForgeError> {
        self.search(head, base, "open").await
    }

    /// Looks through the newest requests, up to the page that has any from the branch; the servers' list has no filter by head.
    async fn search(&self, head: &str, base: &str, state: &str) -> Result<Vec<Pull>, ForgeError> {
        for page in 1..=MAX_PAGES {
            let query = [
                ("state", state.to_owned()),
                ("base_branch", base.to_owned()),
                ("limit", PAGE.to_string()),
                ("page", page.to_string()),
            ];
            let answers: Vec<Answer> = self.read(&["pulls"], &query).await?.ok_or(ForgeError::NotFound)?;
            let last = answers.len() < PAGE;
            let found: Vec<Pull> = answers
                .into_iter()
                .filter(|answer| answer.is_for(head, base))
                .map(|answer| self.pull(answer))
                .collect();
            if last || !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    pub(super) async fn get(&self, number: u64) -> Result<Option<Pull>, ForgeError> {
        let answer: Option<Answer> = self.read(&["pulls", &number.to_string()], &[]).await?;
        Ok(answer.map(|answer| self.pull(answer)))
    }

    pub(super) async fn open(&self, new: &NewPull) -> Result<Pull, ForgeError> {
        let title = if new.draft { format!("{DRAFT}{}", new.title) } else { new.title.clone() };
        let body = json!({"head": new.head, "base": new.base, "title": title, "body": new.body});
        let (status, bytes) = self.call(Method::POST, &["pulls"], &[], Some(body)).await?;
        match status {
            StatusCode::CONFLICT => {
                let existing = self.find(&new.head, &new.base).await?;
                existing.ok_or_else(|| ForgeError::Refused { message: complaint(&bytes) })
            }
            StatusCode::UNPROCESSABLE_ENTITY if complaint(&bytes).contains("no changes") => Err(ForgeError::NoChanges),
            _ => accept(status, &bytes).and_then(|()| parse(&bytes)).map(|answer| self.pull(answer)),
        }
    }

    pub(super) async fn update_text(&self, number: u64, title: Option<&str>, body: &str) -> Result<(), ForgeError> {
        self.write(Method::PATCH, &["pulls", &number.to_string()], text(title, body)).await
    }

    pub(super) async fn comment(&self, number: u64, body: &str) -> Result<(), ForgeError> {
        self.write(Method::POST, &["issues", &number.to_string(), "comments"], json!({"body": body})).await
    }

    pub(super) async fn close(&self, number: u64) -> Result<(), ForgeError> {
        self.write(Method::PATCH, &["pulls", &number.to_string()], json!({"state": "closed"})).await
    }

    pub(super) async fn merge(&self, number: u64, head: &CommitId) -> Result<Merging, ForgeError> {
        let style = self.repository().await?.default_merge_style.filter(|style| STYLES.contains(&style.as_str()));
        // A merge that the server keeps for later (`merge_when_checks_succeed`) would take whatever is its head then.
        let body = json!({"Do": style.as_deref().unwrap_or("merge"), "head_commit_id": head.to_string()});
        let (status, bytes) =
            self.call(Method::POST, &["pulls", &number.to_string(), "merge"], &[], Some(body)).await?;
        match status {
            // Not mergeable, or not known to be; the head is another one.
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::CONFLICT => Ok(Merging::NotYet { why: complaint(&bytes) }),
            _ => accept(status, &bytes).map(|()| Merging::Done),
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
        // One by one: a wrong name refuses all that are asked for with it.
        for reviewer in &extras.reviewers {
            let path = ["pulls", &number.to_string(), "requested_reviewers"];
            let asked = self.write(Method::POST, &path, json!({"reviewers": [reviewer]})).await;
            warnings.extend(asked.err().map(|error| match error {
                ForgeError::NotFound => format!("reviewers {reviewer}: there is no such user at the forge"),
                error => format!("reviewers {reviewer}: {error}"),
            }));
        }
        warnings
    }

    /// Adds labels that the repository or its organization has, by their names; returns all that the request has then.
    async fn label(&self, number: u64, labels: &[String]) -> Result<Vec<String>, ForgeError> {
        let path = ["issues", &number.to_string(), "labels"];
        let (status, bytes) = self.call(Method::POST, &path, &[], Some(json!({"labels": labels}))).await?;
        let there: Vec<Label> = accept(status, &bytes).and_then(|()| parse(&bytes))?;
        Ok(there.into_iter().map(|label| label.name).collect())
    }

    pub(super) async fn permissions(&self) -> Result<Permissions, ForgeError> {
        let repository = self.repository().await?;
        if repository.archived {
            return Err(ForgeError::RepositoryArchived);
        }
        let rights = repository.permissions.unwrap_or_default();
        Ok(Permissions { can_push: rights.push, can_pull: rights.pull })
    }

    async fn repository(&self) -> Result<Repository, ForgeError> {
        self.read(&[], &[]).await?.ok_or(ForgeError::NotFound)
    }

    fn pull(&self, answer: Answer) -> Pull {
        let state = match (answer.merged, answer.state.as_str()) {
            (true, _) => PullState::Merged { commit: answer.merge_commit_sha.and_then(|sha| sha.parse().ok()) },
            (false, "open") => PullState::Open,
            (false, _) => PullState::Closed,
        };
        Pull {
            number: answer.number,
            url: format!("{}/pulls/{}", self.web, answer.number),
            // Of a draft it says no whatever its base is.
            mergeable: answer.mergeable.filter(|_| state == PullState::Open && !answer.draft),
            state,
            head: answer.head.sha.parse().ok(),
            head_branch: answer.head.branch().to_owned(),
            labels: answer.labels.into_iter().flatten().map(|label| label.name).collect(),
            reviewers: answer.requested_reviewers.into_iter().flatten().map(|user| user.login).collect(),
            body: answer.body,
            draft: answer.draft,
        }
    }

    async fn read<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<Option<T>, ForgeError> {
        let (status, bytes) = self.call(Method::GET, path, query, None).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        accept(status, &bytes).and_then(|()| parse(&bytes)).map(Some)
    }

    async fn write(&self, method: Method, path: &[&str], body: serde_json::Value) -> Result<(), ForgeError> {
        let (status, bytes) = self.call(method, path, &[], Some(body)).await?;
        accept(status, &bytes)
    }

    /// One call; the answer's status and its bounded body.
    async fn call(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<serde_json::Value>,
    ) -> Result<(StatusCode, Vec<u8>), ForgeError> {
        if let Some(left) = self.memory.pause(&self.who) {
            return Err(ForgeError::RateLimited { retry_after: Some(left) });
        }
        let mut url = self.api.clone();
        // Pushed as segments, so that the `/` of a branch name is encoded.
        url.path_segments_mut().map_err(|()| ForgeError::AddressRefused { why: "it has no path" })?.extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.request(method, url).header(header::ACCEPT, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, credential("token", token)?);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let (status, headers, body) = exchange(request, self.token.as_ref()).await?;
        if status == StatusCode::TOO_MANY_REQUESTS {
            let wait = retry_after(&headers);
            self.memory.set_pause(&self.who, wait.unwrap_or(LEAST_PAUSE));
            return Err(ForgeError::RateLimited { retry_after: wait });
        }
        Ok((status, body))
    }
}

impl Answer {
    fn is_for(&self, head: &str, base: &str) -> bool {
        self.head.branch() == head && self.base.branch() == base
    }
}

impl Side {
    fn branch(&self) -> &str {
        if self.label.is_empty() { &self.name } else { &self.label }
    }
}

/// Turns a refusal into its error.
fn accept(status: StatusCode, bytes: &[u8]) -> Result<(), ForgeError> {
    match status {
        _ if status.is_success() => Ok(()),
        StatusCode::UNAUTHORIZED => Err(ForgeError::AuthenticationFailed),
        StatusCode::FORBIDDEN => Err(ForgeError::PermissionDenied),
        StatusCode::NOT_FOUND => Err(ForgeError::NotFound),
        StatusCode::PRECONDITION_FAILED => Err(ForgeError::AlreadyMerged),
        StatusCode::LOCKED => Err(ForgeError::RepositoryArchived),
        _ if status.is_redirection() => Err(ForgeError::RepositoryMoved),
        _ if status.is_client_error() => Err(ForgeError::Refused { message: complaint(bytes) }),
        _ => Err(unavailable(&format!("status {}", status.as_u16()))),
    }
}

/// The server's words, made harmless.
fn complaint(bytes: &[u8]) -> String {
    let complaint: Complaint = serde_json::from_slice(bytes).unwrap_or_default();
    one_line(&complaint.message)
}
