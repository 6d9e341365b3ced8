//! The client of GitHub against answers in GitHub's published shape, and against answers that are none.
//!
//! A server on loopback holds each request against the description and answers as a test says; no Gitea, no network.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::github::openapi::{Api, Filling, VARIANTS};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use reiter8::gitops::forge::{
    Extras, Forge, ForgeError, GitHub, Gitea, Merge, Merging, NewPull, Permissions, Pull, PullState, Way,
};
use reiter8::gitops::repository::Author;
use reiter8::gitops::transport::Token;
use serde_json::{Value, json};

/// A token that must not be found anywhere.
const TOKEN: &str = "github_pat_11SECRET0123456789";
const HEAD: &str = "1111111111111111111111111111111111111111";
const MERGE: &str = "2222222222222222222222222222222222222222";

/// What a server answers: a status, headers, a body.
type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);
type Script = dyn Fn(&str, &str) -> Answer + Send + Sync;

/// A server that answers by a script and keeps what it was asked.
struct Stub {
    script: Box<Script>,
    asked: Mutex<Vec<Asked>>,
}

#[derive(Debug, Clone)]
struct Asked {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    body: Option<Value>,
    authorization: Option<String>,
    /// The answer that the client knows.
    tag: Option<String>,
}

async fn serve(State(stub): State<Arc<Stub>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let url = reqwest::Url::parse(&format!("http://stub{}", parts.uri)).unwrap();
    let asked = Asked {
        method: parts.method.to_string(),
        path: url.path().strip_prefix("/api/v3").unwrap_or_else(|| url.path()).to_owned(),
        query: url.query_pairs().into_owned().collect(),
        body: (!body.is_empty()).then(|| serde_json::from_slice(&body).unwrap()),
        authorization: parts.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned()),
        tag: parts.headers.get("if-none-match").map(|value| value.to_str().unwrap().to_owned()),
    };
    let (status, headers, body) = (stub.script)(&asked.method, &asked.path);
    stub.asked.lock().unwrap().push(asked);
    let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
    for (name, value) in headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

impl Stub {
    /// The client of `acme/env` at a server with this script.
    async fn start(script: impl Fn(&str, &str) -> Answer + Send + Sync + 'static) -> (Arc<Self>, Forge, String) {
        let stub = Arc::new(Self { script: Box::new(script), asked: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(serve).with_state(Arc::clone(&stub));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let url = format!("{address}/acme/env.git");
        let forge = Forge::GitHub(GitHub::new(&url, Some(&Token::new(TOKEN)), true).unwrap());
        (stub, forge, address)
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn json_answer(status: u16, body: &Value) -> Answer {
    (status, vec![("content-type", "application/json".into())], body.to_string().into_bytes())
}

fn refusal(status: u16, message: &str, errors: Value) -> Answer {
    let mut body = json!({"message": message, "documentation_url": "https://docs.github.com/rest"});
    if !errors.is_null() {
        body["errors"] = errors;
    }
    json_answer(status, &body)
}

fn new_pull() -> NewPull {
    NewPull { head: "iter8/a".into(), base: "main".into(), title: "Title".into(), body: "Body".into(), draft: false }
}

/// What GitHub says of a request in a state.
fn known(state: &str) -> Value {
    let merged = state == "merged";
    json!({
        "number": 7,
        "state": if merged { "closed" } else { state },
        "merged_at": if merged { json!("2026-01-02T03:04:05Z") } else { Value::Null },
        "merged": merged,
        "mergeable": Value::Null,
        "merge_commit_sha": MERGE,
        "head": {"ref": "iter8/a", "label": "acme:iter8/a", "sha": HEAD, "repo": {"id": 5}},
        "base": {"ref": "main", "label": "acme:main", "sha": MERGE, "repo": {"id": 5}},
        "labels": [{"name": "Reiter8"}],
        "requested_reviewers": [{"login": "ada"}],
        "body": "Body",
        "draft": false,
    })
}

fn pull(address: &str, state: PullState) -> Pull {
    Pull {
        number: 7,
        url: format!("{address}/acme/env/pull/7"),
        state,
        head: HEAD.parse().ok(),
        head_branch: "iter8/a".into(),
        mergeable: None,
        labels: vec!["Reiter8".into()],
        reviewers: vec!["ada".into()],
        body: Some("Body".into()),
        draft: false,
    }
}

fn merge() -> Merge {
    let author = Author { name: "Reiter8".into(), email: "reiter8@example.com".into() };
    Merge { head: HEAD.parse().unwrap(), author, time_seconds: 0 }
}

/// Every call once, in the shape of one description.
async fn every_call(variant: &'static str, filling: Filling) {
    let api = Api::load(variant);
    let (stub, forge, address) = Stub::start(move |method, path| {
        let api = Api::load(variant);
        let status = match (method, path.rsplit('/').next().unwrap()) {
            ("POST", "labels") => 200,
            ("POST", _) => 201,
            _ => 200,
        };
        let known = match (method, path) {
            ("GET", "/repos/acme/env") => {
                json!({"archived": false, "permissions": {"admin": false, "push": true, "pull": true}})
            }
            ("GET", "/repos/acme/env/pulls") => json!([known("closed"), known("open")]),
            ("GET", _) => known("merged"),
            ("PUT", _) => json!({"merged": true}),
            ("PATCH", _) => known("closed"),
            ("POST", "/repos/acme/env/pulls") => known("open"),
            ("POST", "/repos/acme/env/issues/7/labels") => json!([{"name": "Reiter8"}]),
            _ => json!({}),
        };
        let body = api.fill(method, path, status, &known, filling);
        api.check_answer(method, path, status, &body).unwrap();
        json_answer(status, &body)
    })
    .await;
    assert_eq!(forge.permissions().await, Ok(Permissions { can_push: true, can_pull: true }));
    assert_eq!(forge.find("iter8/a", "main").await, Ok(Some(pull(&address, PullState::Open))));
    assert_eq!(forge.find("iter8/b", "main").await, Ok(None), "what was not asked for is not taken");
    let merged = PullState::Merged { commit: MERGE.parse().ok() };
    assert_eq!(forge.get(7).await, Ok(Some(pull(&address, merged))));
    assert_eq!(forge.open(&new_pull()).await, Ok(pull(&address, PullState::Open)));
    forge.update_text(7, Some("Title"), "Body").await.unwrap();
    forge.comment(7, "Words").await.unwrap();
    assert_eq!(forge.merge(7, &merge()).await, Ok(Merging::Done));
    forge.close(7).await.unwrap();
    let extras = Extras { labels: vec!["reiter8".into()], reviewers: vec!["ada".into()], draft: false };
    assert_eq!(forge.annotate(7, &extras).await, Vec::<String>::new());
    let asked = stub.asked();
    assert_eq!(asked.len(), 12);
    for call in asked {
        api.check_request(&call.method, &call.path, &call.query, call.body.as_ref()).unwrap();
        assert_eq!(call.authorization.as_deref(), Some(format!("Bearer {TOKEN}").as_str()));
    }
}

#[tokio::test]
async fn every_request_and_every_answer_is_as_github_describes_it() {
    for variant in VARIANTS {
        every_call(variant, Filling::Least).await;
        every_call(variant, Filling::Most).await;
    }
}

#[tokio::test]
async fn where_there_are_no_drafts_a_request_is_opened_all_the_same() {
    let tried = std::sync::atomic::AtomicBool::new(false);
    let (stub, forge, address) = Stub::start(move |_, _| {
        if tried.swap(true, std::sync::atomic::Ordering::Relaxed) {
            return json_answer(201, &known("open"));
        }
        let message = "Draft pull requests are not supported in this repository.";
        refusal(422, message, Value::Null)
    })
    .await;
    let opened = forge.open(&NewPull { draft: true, ..new_pull() }).await;
    assert_eq!(opened, Ok(pull(&address, PullState::Open)));
    let drafts: Vec<Value> = stub.asked().into_iter().map(|call| call.body.unwrap()["draft"].clone()).collect();
    assert_eq!(drafts, [json!(true), json!(false)]);
}

#[test]
fn the_description_refuses_what_is_wrong() {
    let api = Api::load(VARIANTS[0]);
    let pulls = "/repos/acme/env/pulls";
    let with = |name: &str, value: &str| [(name.to_owned(), value.to_owned())];
    assert!(api.check_request("GET", pulls, &with("state", "all"), None).is_ok());
    assert!(api.check_request("GET", pulls, &with("state", "merged"), None).is_err());
    assert!(api.check_request("GET", pulls, &with("base_branch", "main"), None).is_err());
    assert!(api.check_request("GET", "/repos/acme/env/pulls/main/iter8", &[], None).is_err());
    assert!(api.check_request("GET", "/repos/acme/env/pulls/seven", &[], None).is_err());
    assert!(api.check_request("POST", pulls, &[], Some(&json!({"title": "x", "head": "a"}))).is_err());
    assert!(api.check_request("POST", pulls, &[], Some(&json!({"head": "a", "base": "b", "assignee": "c"}))).is_err());
    assert!(api.check_request("PATCH", "/repos/acme/env/pulls/7", &[], Some(&json!({"state": "merged"}))).is_err());
    assert!(api.check_request("POST", "/repos/acme/env/issues/7/labels", &[], Some(&json!({"labels": [7]}))).is_err());
    assert!(api.check_answer("GET", "/repos/acme/env/pulls/7", 200, &known("open")).is_err());
}

#[tokio::test]
async fn refusals_become_the_errors_of_the_interface() {
    let error = |field: &str| json!([{"resource": "PullRequest", "field": field, "code": "invalid"}]);
    let custom = |message: &str| json!([{"resource": "PullRequest", "code": "custom", "message": message}]);
    let none = Value::Null;
    let table = [
        (refusal(401, "Bad credentials", none.clone()), "AuthenticationFailed"),
        (refusal(403, "Resource not accessible by personal access token", none.clone()), "PermissionDenied"),
        (refusal(403, "Repository was archived so is read-only.", none.clone()), "RepositoryArchived"),
        (refusal(403, "You have exceeded a secondary rate limit", none.clone()), "RateLimited"),
        (refusal(429, "", none.clone()), "RateLimited"),
        (refusal(404, "Not Found", none.clone()), "RepositoryNotFound"),
        (refusal(422, "Validation Failed", error("head")), "RepositoryNotFound"),
        (refusal(422, "Validation Failed", error("base")), "RepositoryNotFound"),
        (refusal(422, "Validation Failed", custom("No commits between main and iter8/a")), "NoChange"),
        (refusal(422, "Validation Failed", custom("something else")), "RequestRefused"),
        (refusal(410, "Issues are disabled", none.clone()), "RequestRefused"),
        (refusal(502, "Server Error", none), "ProviderUnavailable"),
        ((200, vec![], b"<html>a login page</html>".to_vec()), "ProviderUnavailable"),
        ((201, vec![], b"[]".to_vec()), "ProviderUnavailable"),
        ((200, vec![], vec![b' '; 9 << 20]), "ProviderUnavailable"),
        ((301, vec![("location", "/api/v3/repositories/5".into())], vec![]), "RepositoryMoved"),
    ];
    for (answer, reason) in table {
        let shown = (answer.0, String::from_utf8_lossy(&answer.2).chars().take(100).collect::<String>());
        let (stub, forge, _) = Stub::start(move |_, _| answer.clone()).await;
        let error = forge.open(&new_pull()).await.unwrap_err();
        assert_eq!(error.cause().word(), reason, "{shown:?}: {error}");
        assert!(!format!("{error} {error:?} {forge:?}").contains(TOKEN), "{shown:?}");
        assert_eq!(stub.asked().len(), 1, "nothing is sent twice");
    }
}

#[tokio::test]
async fn a_pause_that_github_asks_for_is_told() {
    let answer = |_: &str, _: &str| (403, vec![("retry-after", "17".to_owned())], vec![]);
    let (_, forge, _) = Stub::start(answer).await;
    let error = forge.get(7).await.unwrap_err();
    assert_eq!(error, ForgeError::RateLimited { retry_after: Some(Duration::from_secs(17)) });
    assert!(error.to_string().ends_with("rate limited by the forge, asked to wait 17 s"), "{error}");
}

#[tokio::test]
async fn who_is_asked_to_wait_does_not_ask_meanwhile() {
    let (stub, _, address) = Stub::start(|_, path| match path {
        "/repos/acme/env/pulls/7" => refusal(403, "You have exceeded a secondary rate limit.", Value::Null),
        _ => (429, vec![("retry-after", "17".to_owned())], vec![]),
    })
    .await;
    let (url, way) = (format!("{address}/acme/env"), Way { allow_http: true, ..Way::default() });
    let limited = |error: ForgeError| match error {
        ForgeError::RateLimited { retry_after: Some(wait) } => wait.as_secs(),
        other => panic!("{other}"),
    };
    // GitHub asks for a minute when it names no time; what is left of it is told without a call, by the next turn's client too.
    for _ in 0..2 {
        let forge = Forge::GitHub(GitHub::over(&url, Some(&Token::new(TOKEN)), &way).unwrap());
        assert!((58..=60).contains(&limited(forge.get(7).await.unwrap_err())));
        assert!((58..=60).contains(&limited(forge.permissions().await.unwrap_err())));
    }
    assert_eq!(stub.asked().len(), 1);
    // Another credential has a count of its own.
    let forge = Forge::GitHub(GitHub::over(&url, Some(&Token::new("another")), &way).unwrap());
    assert_eq!((limited(forge.permissions().await.unwrap_err()), stub.asked().len()), (17, 2));
    // Gitea's client waits the same way.
    let forge = Forge::Gitea(Gitea::over(&url, Some(Token::new("a third")), &way).unwrap());
    for _ in 0..2 {
        assert!((16..=17).contains(&limited(forge.permissions().await.unwrap_err())));
    }
    assert_eq!(stub.asked().len(), 3);
}

#[tokio::test]
async fn a_request_that_did_not_change_costs_nothing() {
    let calls = Mutex::new(0);
    let (stub, _, address) = Stub::start(move |_, _| {
        let mut calls = calls.lock().unwrap();
        *calls += 1;
        let with_tag = |state: &str, tag: &str| {
            let (status, mut headers, body) = json_answer(200, &known(state));
            headers.push(("etag", tag.to_owned()));
            (status, headers, body)
        };
        match *calls {
            1 => with_tag("open", "W/\"one\""),
            2 | 4 => (304, vec![], vec![]),
            _ => with_tag("merged", "\"two\""),
        }
    })
    .await;
    let (url, way) = (format!("{address}/acme/env"), Way { allow_http: true, ..Way::default() });
    let mut states = Vec::new();
    for _ in 0..4 {
        // Each turn has a client of its own.
        let forge = Forge::GitHub(GitHub::over(&url, Some(&Token::new(TOKEN)), &way).unwrap());
        states.push(matches!(forge.get(7).await.unwrap().unwrap().state, PullState::Merged { .. }));
    }
    assert_eq!(states, [false, false, true, true]);
    let tags: Vec<Option<String>> = stub.asked().into_iter().map(|asked| asked.tag).collect();
    let tag = |tag: &str| Some(tag.to_owned());
    assert_eq!(tags, [None, tag("W/\"one\""), tag("W/\"one\""), tag("\"two\"")]);
}

#[tokio::test]
async fn a_request_that_is_checked_or_queued_waits_and_is_in_nobodys_way() {
    for (mergeable, state) in [(Value::Null, "unknown"), (json!(true), "blocked"), (json!(false), "queued")] {
        let mut open = known("open");
        open["mergeable"] = mergeable.clone();
        open["mergeable_state"] = json!(state);
        let (_, forge, _) = Stub::start(move |_, _| json_answer(200, &open)).await;
        let pull = forge.get(7).await.unwrap().unwrap();
        assert_eq!((pull.state, pull.mergeable), (PullState::Open, mergeable.as_bool()), "{state}");
    }
}

#[tokio::test]
async fn a_request_that_exists_is_found_instead_of_opened() {
    let exists = json!([{"resource": "PullRequest", "code": "custom", "message": "A pull request already exists for acme:iter8/a."}]);
    for (state, expected) in [("open", Ok(PullState::Open)), ("closed", Err("RequestRefused"))] {
        let exists = exists.clone();
        let (_, forge, _) = Stub::start(move |method, _| match method {
            "POST" => refusal(422, "Validation Failed", exists.clone()),
            _ => json_answer(200, &json!([known(state)])),
        })
        .await;
        let opened = forge.open(&new_pull()).await;
        assert_eq!(opened.map(|pull| pull.state).map_err(|error| error.cause().word()), expected);
    }
}

#[tokio::test]
async fn what_an_open_request_lacks_is_known() {
    let (_, forge, _) = Stub::start(|_, _| json_answer(200, &known("open"))).await;
    let open = forge.get(7).await.unwrap().unwrap();
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let wanted = |labels: &[&str], reviewers: &[&str]| Extras {
        labels: names(labels),
        reviewers: names(reviewers),
        draft: false,
    };
    assert_eq!(wanted(&["reiter8"], &["Ada"]).lacking(&open), Vec::<String>::new(), "case does not count");
    assert_eq!(wanted(&["reiter8", "env"], &["bob"]).lacking(&open), ["label env", "reviewer bob"]);
    let ended = Pull { state: PullState::Closed, ..open };
    assert_eq!(wanted(&["env"], &["bob"]).lacking(&ended), Vec::<String>::new(), "nobody reviews what has ended");
}

#[tokio::test]
async fn a_branch_of_the_same_name_in_a_fork_is_not_ours() {
    let mut fork = known("open");
    fork["head"]["repo"] = json!({"id": 6});
    let mut gone = known("open");
    gone["head"]["repo"] = Value::Null;
    let (_, forge, _) = Stub::start(move |_, _| json_answer(200, &json!([fork, gone]))).await;
    assert_eq!(forge.find("iter8/a", "main").await, Ok(None));
}

#[tokio::test]
async fn closing_what_is_merged_is_told() {
    let (_, forge, _) = Stub::start(|_, _| json_answer(200, &known("merged"))).await;
    assert_eq!(forge.close(7).await, Err(ForgeError::AlreadyMerged));
}

#[tokio::test]
async fn a_merge_names_its_commit_and_a_way_that_the_repository_allows() {
    let ways = [
        (json!({}), "merge"),
        (json!({"allow_merge_commit": true, "allow_squash_merge": true}), "merge"),
        (json!({"allow_merge_commit": false, "allow_squash_merge": true}), "squash"),
        (json!({"allow_merge_commit": false, "allow_squash_merge": false}), "rebase"),
    ];
    for (repository, way) in ways {
        let (stub, forge, _) = Stub::start(move |method, _| match method {
            "GET" => json_answer(200, &repository),
            _ => {
                json_answer(200, &json!({"sha": MERGE, "merged": true, "message": "Pull Request successfully merged"}))
            }
        })
        .await;
        assert_eq!(forge.merge(7, &merge()).await, Ok(Merging::Done));
        let asked = stub.asked().pop().unwrap();
        assert_eq!((asked.method.as_str(), asked.path.as_str()), ("PUT", "/repos/acme/env/pulls/7/merge"));
        assert_eq!(asked.body, Some(json!({"sha": HEAD, "merge_method": way})));
    }
}

#[tokio::test]
async fn what_hinders_a_merge_now_is_no_error() {
    let hindered = |status, message: &'static str| {
        Stub::start(move |method, _| match method {
            "GET" => json_answer(200, &json!({})),
            _ => refusal(status, message, Value::Null),
        })
    };
    for (status, message) in [
        (405, "Required status check \"ci\" is expected."),
        (405, "At least 1 approving review is required by reviewers with write access."),
        (405, "Base branch was modified. Review and try the merge again."),
        (405, "Pull Request is in the merge queue"),
        (409, "Head branch was modified. Review and try the merge again."),
    ] {
        let (_, forge, _) = hindered(status, message).await;
        assert_eq!(forge.merge(7, &merge()).await, Ok(Merging::NotYet { why: message.into() }));
    }
    for (status, message, reason) in [
        (403, "no", "PermissionDenied"),
        (404, "no", "RepositoryNotFound"),
        (422, "no", "RequestRefused"),
        // A person has to put it there.
        (405, "Changes must be made through the merge queue", "RequestRefused"),
    ] {
        let (_, forge, _) = hindered(status, message).await;
        assert_eq!(forge.merge(7, &merge()).await.unwrap_err().cause().word(), reason);
    }
}

#[tokio::test]
async fn the_token_stays_with_its_host() {
    let (other, _, elsewhere) = Stub::start(|_, _| json_answer(200, &json!([]))).await;
    let target = format!("{elsewhere}/api/v3/repos/acme/env/pulls");
    let (_, forge, _) = Stub::start(move |_, _| (307, vec![("location", target.clone())], vec![])).await;
    assert_eq!(forge.find("iter8/a", "main").await, Err(ForgeError::RepositoryMoved));
    assert!(other.asked().is_empty(), "{:?}", other.asked());
}

#[tokio::test]
async fn nobody_listening_is_unavailable_and_says_no_address() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let github = GitHub::new(&format!("http://{address}/acme/env"), Some(&Token::new(TOKEN)), true).unwrap();
    let error = Forge::GitHub(github).permissions().await.unwrap_err();
    assert_eq!(error, ForgeError::ProviderUnavailable { message: "no connection".into() });
}

#[tokio::test]
async fn one_wrong_reviewer_does_not_lose_the_others() {
    let (stub, forge, _) = Stub::start(|_, path| match path.rsplit('/').next().unwrap() {
        "labels" => refusal(403, "Resource not accessible", Value::Null),
        _ => refusal(422, "Reviews may only be requested from collaborators.", Value::Null),
    })
    .await;
    let extras = Extras { labels: vec!["reiter8".into()], reviewers: vec!["ada".into(), "bob".into()], draft: false };
    let told = forge.annotate(7, &extras).await;
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].starts_with("labels reiter8: ") && told[1].starts_with("reviewers ada: "), "{told:?}");
    let bodies: Vec<Value> = stub.asked().into_iter().skip(1).filter_map(|asked| asked.body).collect();
    assert_eq!(
        bodies,
        [json!({"reviewers": ["ada", "bob"]}), json!({"reviewers": ["ada"]}), json!({"reviewers": ["bob"]})]
    );
}
