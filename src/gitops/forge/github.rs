//! GitHub and GitHub Enterprise over their REST API.
//!
//! octocrab carries the token, the API's version and the base address; its retries and redirects are left out, because a request
//! that is sent again could be opened twice. Answers are read into few fields of our own, all optional where GitHub leaves them
//! out: one that cannot be read would lose a request that exists. Addresses shown to people are built here, never taken from answers.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use octocrab::service::middleware::auth_header::AuthHeaderLayer;
use octocrab::service::middleware::extra_headers::ExtraHeadersLayer;
use octocrab::service::middleware::reqwest_connector::ReqwestConnector;
use octocrab::{AuthState, Octocrab, OctocrabBuilder};
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::repository::checked;
use super::super::transport::Token;
use super::super::tree::CommitId;
use super::answer::unavailable;
use super::answer::{MAX_ANSWER, PAGE, client, harmless, number, parse, pause, retry_after, unanswered};
use super::{Extras, ForgeError, Merging, NewPull, Permissions, Pull, PullState, absent};

/// GitHub asks for this pause when it names none.
const LEAST_PAUSE: Duration = Duration::from_secs(60);

/// A repository at GitHub.
#[derive(Debug, Clone)]
pub struct GitHub {
    client: Octocrab,
    /// `https://api.github.com/repos/owner/name`, `https://host/api/v3/repos/owner/name` at an Enterprise server.
    api: Url,
    /// `https://host/owner/name`
    web: Url,
    owner: String,
}

/// A call's method and body.
enum Ask {
    Get,
    Post(Value),
    Patch(Value),
    Put(Value),
}

/// An answer of any status, read to its end.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
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

/// The body of a refusal.
#[derive(Debug, Default, Deserialize)]
struct Complaint {
    #[serde(default)]
    message: String,
    /// Objects with `message`, or `field` and `code`; plain texts at some calls.
    #[serde(default)]
    errors: Vec<Value>,
}

impl GitHub {
    /// The repository with this clone address, `https://HOST/OWNER/NAME.git`. `allow_http` as for the clone itself.
    ///
    /// To be called on a tokio runtime: octocrab starts a task of its own there.
    pub fn new(clone_url: &str, token: Option<&Token>, allow_http: bool) -> Result<Self, ForgeError> {
        let refuse = |why| ForgeError::AddressRefused { why };
        let mut web = checked(clone_url, allow_http).map_err(|_| refuse("not an acceptable clone address"))?;
        let path = web.path().trim_matches('/').trim_end_matches(".git").to_owned();
        let Some((owner, name)) = path.split_once('/').filter(|(_, name)| !name.contains('/')) else {
            return Err(refuse("GitHub's repositories have an owner and a name, and nothing else in their path"));
        };
        let root = api_root(&web).ok_or_else(|| refuse("its host is not one"))?;
        let mut api = root.clone();
        api.path_segments_mut().map_err(|()| refuse("it has no path"))?.pop_if_empty().extend(["repos", owner, name]);
        let owner = owner.to_owned();
        web.set_path(&path);
        let client = connect(client()?, &root, token)?;
        Ok(Self { client, api, web, owner })
    }

    pub(super) async fn find(&self, head: &str, base: &str) -> Result<Option<Pull>, ForgeError> {
        let (from, page) = (format!("{}:{head}", self.owner), PAGE.to_string());
        let query = [
            ("head", from.as_str()),
            ("base", base),
            ("state", "all"),
            ("sort", "created"),
            ("direction", "desc"),
            ("per_page", &page),
        ];
        let answers: Vec<Answer> = self.call(Ask::Get, &["pulls"], &query).await?.read()?;
        let ours = answers.into_iter().filter(|answer| answer.is_for(head, base)).map(|answer| self.pull(answer));
        Ok(ours.max_by_key(|pull| (pull.state == PullState::Open, pull.number)))
    }

    pub(super) async fn get(&self, number: u64) -> Result<Option<Pull>, ForgeError> {
        let reply = self.call(Ask::Get, &["pulls", &number.to_string()], &[]).await?;
        if reply.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        reply.read().map(|answer| Some(self.pull(answer)))
    }

    pub(super) async fn open(&self, new: &NewPull) -> Result<Pull, ForgeError> {
        let body = json!({"head": new.head, "base": new.base, "title": new.title, "body": new.body});
        let reply = self.call(Ask::Post(body), &["pulls"], &[]).await?;
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

    pub(super) async fn update_text(&self, number: u64, title: &str, body: &str) -> Result<(), ForgeError> {
        let ask = Ask::Patch(json!({"title": title, "body": body}));
        self.call(ask, &["pulls", &number.to_string()], &[]).await?.accept()
    }

    pub(super) async fn comment(&self, number: u64, body: &str) -> Result<(), ForgeError> {
        let ask = Ask::Post(json!({"body": body}));
        self.call(ask, &["issues", &number.to_string(), "comments"], &[]).await?.accept()
    }

    pub(super) async fn close(&self, number: u64) -> Result<(), ForgeError> {
        let ask = Ask::Patch(json!({"state": "closed"}));
        let answer: Answer = self.call(ask, &["pulls", &number.to_string()], &[]).await?.read()?;
        // Closing a merged request changes nothing and is no error at GitHub.
        match self.pull(answer).state {
            PullState::Merged { .. } => Err(ForgeError::AlreadyMerged),
            PullState::Closed => Ok(()),
            PullState::Open => Err(unavailable("the request was closed and is open")),
        }
    }

    pub(super) async fn merge(&self, number: u64, head: &CommitId) -> Result<Merging, ForgeError> {
        let repository: Repository = self.call(Ask::Get, &[], &[]).await?.read()?;
        let body = json!({"sha": head.to_string(), "merge_method": repository.merge_method()});
        let reply = self.call(Ask::Put(body), &["pulls", &number.to_string(), "merge"], &[]).await?;
        match reply.status {
            // Not mergeable, or not known to be; the head is another one.
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
        let there: Vec<Label> = self.call(ask, &["issues", &number.to_string(), "labels"], &[]).await?.read()?;
        Ok(there.into_iter().map(|label| label.name).collect())
    }

    async fn ask_for_reviews(&self, number: u64, reviewers: &[String]) -> Result<(), ForgeError> {
        let ask = Ask::Post(json!({"reviewers": reviewers}));
        self.call(ask, &["pulls", &number.to_string(), "requested_reviewers"], &[]).await?.accept()
    }

    pub(super) async fn permissions(&self) -> Result<Permissions, ForgeError> {
        let repository: Repository = self.call(Ask::Get, &[], &[]).await?.read()?;
        if repository.archived {
            return Err(ForgeError::RepositoryArchived);
        }
        let rights = repository.permissions.unwrap_or_default();
        Ok(Permissions { can_push: rights.push, can_pull: rights.pull })
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
        }
    }

    /// One call; an error if there is no answer, or one that asks to wait.
    async fn call(&self, ask: Ask, path: &[&str], query: &[(&str, &str)]) -> Result<Reply, ForgeError> {
        let mut url = self.api.clone();
        url.path_segments_mut().map_err(|()| ForgeError::AddressRefused { why: "it has no path" })?.extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let response = match ask {
            Ask::Get => self.client._get(url.as_str()).await,
            Ask::Post(body) => self.client._post(url.as_str(), Some(&body)).await,
            Ask::Put(body) => self.client._put(url.as_str(), Some(&body)).await,
            Ask::Patch(body) => self.client._patch(url.as_str(), Some(&body)).await,
        };
        let response = response.map_err(|error| unanswered(timed_out(&error)))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|error| {
            unavailable(if error.is::<LengthLimitError>() { "the answer is too large" } else { "the answer stopped" })
        })?;
        let reply = Reply { status, headers, body: body.to_bytes().into() };
        reply
            .patience(SystemTime::now())
            .map_or(Ok(reply), |wait| Err(ForgeError::RateLimited { retry_after: Some(wait) }))
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

impl Reply {
    /// How long GitHub wants not to be asked, when that is its answer.
    fn patience(&self, now: SystemTime) -> Option<Duration> {
        if !matches!(self.status, StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS) {
            return None;
        }
        if let Some(wait) = retry_after(&self.headers) {
            return Some(wait);
        }
        if number(&self.headers, "x-ratelimit-remaining") == Some(0) {
            let reset = number(&self.headers, "x-ratelimit-reset")?;
            let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
            return Some(pause(reset.saturating_sub(now)));
        }
        let limited = self.status == StatusCode::TOO_MANY_REQUESTS || self.complaint().says("rate limit");
        limited.then_some(LEAST_PAUSE)
    }

    /// Turns a refusal into its error.
    fn accept(&self) -> Result<(), ForgeError> {
        match self.status {
            status if status.is_success() => Ok(()),
            StatusCode::UNAUTHORIZED => Err(ForgeError::AuthenticationFailed),
            StatusCode::FORBIDDEN if self.complaint().says("archived") => Err(ForgeError::RepositoryArchived),
            StatusCode::FORBIDDEN => Err(ForgeError::PermissionDenied),
            StatusCode::NOT_FOUND => Err(ForgeError::NotFound),
            status if status.is_redirection() => Err(ForgeError::RepositoryMoved),
            status if status.is_client_error() => Err(ForgeError::Refused { message: self.complaint().words() }),
            status => Err(unavailable(&format!("status {}", status.as_u16()))),
        }
    }

    fn read<T: DeserializeOwned>(&self) -> Result<T, ForgeError> {
        self.accept().and_then(|()| parse(&self.body))
    }

    fn complaint(&self) -> Complaint {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Complaint {
    /// The message and the details, made harmless.
    fn words(&self) -> String {
        let mut words = self.message.clone();
        for error in &self.errors {
            let text = |key| error.get(key).and_then(Value::as_str);
            let detail = match (error.as_str().or_else(|| text("message")), text("field"), text("code")) {
                (Some(message), _, _) => message.to_owned(),
                (None, Some(field), Some(code)) => format!("{field} is {code}"),
                (None, _, code) => code.unwrap_or("unknown").to_owned(),
            };
            // Writing to a text cannot fail.
            let _ = write!(words, "; {detail}");
        }
        harmless(&words)
    }

    fn says(&self, phrase: &str) -> bool {
        self.words().to_lowercase().contains(&phrase.to_lowercase())
    }

    /// `head` or `base` is no branch.
    fn names_missing_branch(&self) -> bool {
        self.errors.iter().any(|error| {
            let field = error.get("field").and_then(Value::as_str);
            matches!(field, Some("head" | "base")) && error.get("code").and_then(Value::as_str) == Some("invalid")
        })
    }
}

/// octocrab over our own HTTP client: it brings the API's version, the token is added for this host alone.
fn connect(client: Client, root: &Url, token: Option<&Token>) -> Result<Octocrab, ForgeError> {
    let base = || root.as_str().parse().map_err(|_| ForgeError::AddressRefused { why: "its host is not one" });
    let header = |token: &Token| {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
            .map_err(|_| ForgeError::AuthenticationFailed)?;
        value.set_sensitive(true);
        Ok::<_, ForgeError>(value)
    };
    let accepted = vec![(header::ACCEPT, HeaderValue::from_static("application/vnd.github+json"))];
    let built = OctocrabBuilder::new_empty()
        .with_service(ReqwestConnector::new(client))
        .with_layer(&ExtraHeadersLayer::new(Arc::new(accepted)))
        .with_layer(&AuthHeaderLayer::new(token.map(header).transpose()?, base()?, base()?))
        .with_auth(AuthState::None)
        .build();
    built.map_err(|never| match never {})
}

/// The root of the API that serves a repository's address.
fn api_root(web: &Url) -> Option<Url> {
    let mut root = web.clone();
    match web.host_str()? {
        "github.com" => root.set_host(Some("api.github.com")).ok()?,
        // Enterprise Cloud with its data in one region.
        host if host.ends_with(".ghe.com") => root.set_host(Some(&format!("api.{host}"))).ok()?,
        _ => {
            root.set_path("/api/v3");
            return Some(root);
        }
    }
    root.set_path("/");
    Some(root)
}

fn refused(reviewers: &[String], error: &ForgeError) -> String {
    format!("reviewers {}: {error}", reviewers.join(", "))
}

/// Whether no answer came in time; octocrab wraps what the connection said.
fn timed_out(error: &octocrab::Error) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_timeout) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    fn reply(status: u16, headers: &[(&'static str, &str)], body: &Value) -> Reply {
        let headers = headers.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect();
        Reply { status: StatusCode::from_u16(status).unwrap(), headers, body: body.to_string().into_bytes() }
    }

    #[test]
    fn the_api_is_where_github_says_and_nowhere_else() {
        let root = |web: &str| api_root(&web.parse().unwrap()).unwrap().to_string();
        assert_eq!(root("https://github.com/acme/env.git"), "https://api.github.com/");
        assert_eq!(root("https://acme.ghe.com/acme/env"), "https://api.acme.ghe.com/");
        assert_eq!(root("https://git.acme.example:8443/acme/env"), "https://git.acme.example:8443/api/v3");
        assert_eq!(root("https://github.com.evil.example/a/b"), "https://github.com.evil.example/api/v3");
    }

    #[tokio::test]
    async fn an_address_has_an_owner_and_a_name() {
        let github = GitHub::new("https://git.acme.example/acme/env.git", None, false).unwrap();
        assert_eq!(github.api.as_str(), "https://git.acme.example/api/v3/repos/acme/env");
        assert_eq!(github.web.as_str(), "https://git.acme.example/acme/env");
        for bad in
            ["https://github.com/acme", "https://github.com/a/b/c", "http://github.com/a/b", "https://u@github.com/a/b"]
        {
            assert_eq!(GitHub::new(bad, None, false).unwrap_err().reason(), "AddressRefused", "{bad}");
        }
        let token = Token::new("a\nb");
        let refused = GitHub::new("https://github.com/acme/env", Some(&token), false);
        assert_eq!(refused.unwrap_err(), ForgeError::AuthenticationFailed);
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_not_waited_for() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let root: Url = format!("http://{}/api/v3", silent.local_addr().unwrap()).parse().unwrap();
        let impatient = Client::builder().timeout(Duration::from_millis(50)).build().unwrap();
        let client = connect(impatient, &root, None).unwrap();
        let github = GitHub { client, api: root.clone(), web: root, owner: "acme".into() };
        assert_eq!(github.get(7).await, Err(unavailable("no answer in time")));
    }

    #[test]
    fn a_pause_is_what_github_asks_for() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let asked = |status, headers: &[(&'static str, &str)], message: &str| {
            reply(status, headers, &json!({"message": message})).patience(now).map(|wait| wait.as_secs())
        };
        assert_eq!(asked(403, &[("retry-after", "7")], ""), Some(7));
        assert_eq!(asked(429, &[], ""), Some(60));
        let spent = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1030")];
        assert_eq!(asked(403, &spent, "API rate limit exceeded"), Some(30));
        assert_eq!(asked(403, &[], "You have exceeded a secondary rate limit."), Some(60));
        assert_eq!(asked(403, &[("retry-after", "999999999999")], ""), Some(3600));
        assert_eq!(
            asked(403, &[("x-ratelimit-remaining", "17")], "Resource not accessible by personal access token"),
            None
        );
        assert_eq!(asked(404, &[("retry-after", "7")], ""), None);
    }

    #[test]
    fn refusals_keep_their_words_without_control_characters() {
        let body = json!({"message": "Validation\u{1b} Failed", "errors": [
            {"resource": "PullRequest", "field": "head", "code": "invalid"}, "a text", {"code": "custom", "message": "more"}, 7]});
        let refusal = reply(422, &[], &body);
        assert!(refusal.complaint().names_missing_branch());
        let words = "Validation  Failed; head is invalid; a text; more; unknown".to_owned();
        assert_eq!(refusal.accept(), Err(ForgeError::Refused { message: words }));
        assert_eq!(reply(502, &[], &Value::Null).accept(), Err(unavailable("status 502")));
        assert_eq!(reply(301, &[], &Value::Null).accept(), Err(ForgeError::RepositoryMoved));
        let archived = json!({"message": "Repository was archived so is read-only."});
        assert_eq!(reply(403, &[], &archived).accept(), Err(ForgeError::RepositoryArchived));
    }
}
