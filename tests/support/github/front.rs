//! A front that turns a Gitea into a GitHub: same requests, GitHub's paths, statuses, fields and words.
//!
//! Holds every request against GitHub's description before it is translated, and every answer before it is sent; what does not fit
//! is kept in [`Front::findings`] and answered with a 500. Everything but `/api/v3` goes through as it is, so git works too.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::openapi::{Api, Filling, VARIANTS};

/// What Gitea knows a draft by.
const DRAFT: &str = "WIP: ";

/// Largest body that goes through.
const MAX_BODY: usize = 64 << 20;

/// The front of one Gitea server.
pub struct Front {
    gitea: String,
    client: reqwest::Client,
    apis: Vec<Api>,
    findings: Mutex<Vec<String>>,
    used: Mutex<BTreeSet<String>>,
    /// Requests whose mergeability was asked for: GitHub computes it after the first question.
    asked: Mutex<BTreeSet<u64>>,
}

/// A translated call.
struct Call {
    method: Method,
    owner: String,
    name: String,
    /// Below the repository.
    path: Vec<String>,
    query: Vec<(String, String)>,
    body: Option<Value>,
    authorization: Option<String>,
}

impl Front {
    /// Serves on a free port until the runtime ends; returns the front and its address.
    pub async fn start(gitea: &str) -> (Arc<Self>, String) {
        let client = reiter8::http::client().build().unwrap();
        let front = Arc::new(Self {
            gitea: gitea.to_owned(),
            client,
            apis: VARIANTS.iter().map(|variant| Api::load(variant)).collect(),
            findings: Mutex::default(),
            used: Mutex::default(),
            asked: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(serve).with_state(Arc::clone(&front));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (front, address)
    }

    /// Everything that did not fit GitHub's description.
    pub fn findings(&self) -> Vec<String> {
        self.findings.lock().unwrap().clone()
    }

    /// The operations that were used, by their names in the description.
    pub fn used(&self) -> Vec<String> {
        self.used.lock().unwrap().iter().cloned().collect()
    }

    /// A GitHub call from request to answer.
    async fn api(&self, method: &Method, path: &str, call: Result<Call, String>) -> Response {
        let (status, known) = match &call {
            Ok(call) => match self.checked(method, path, call) {
                Ok(()) => self.translate(call).await,
                Err(finding) => return self.broken(finding),
            },
            Err(finding) => return self.broken(finding.clone()),
        };
        let body = self.apis[0].fill(method.as_str(), path, status, &known, Filling::Least);
        for api in &self.apis {
            if let Err(finding) = api.check_answer(method.as_str(), path, status, &body) {
                return self.broken(finding);
            }
        }
        (StatusCode::from_u16(status).unwrap(), Json(body)).into_response()
    }

    fn checked(&self, method: &Method, path: &str, call: &Call) -> Result<(), String> {
        self.used.lock().unwrap().extend(self.apis[0].name(method.as_str(), path));
        self.apis.iter().try_for_each(|api| api.check_request(method.as_str(), path, &call.query, call.body.as_ref()))
    }

    fn broken(&self, finding: String) -> Response {
        eprintln!("{finding}");
        self.findings.lock().unwrap().push(finding.clone());
        (StatusCode::INTERNAL_SERVER_ERROR, finding).into_response()
    }

    /// The status and the fields of GitHub's answer.
    async fn translate(&self, call: &Call) -> (u16, Value) {
        let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
        match (&call.method, path.as_slice()) {
            (&Method::GET, []) => self.repository(call).await,
            (&Method::GET, ["pulls"]) => self.list(call).await,
            (&Method::POST, ["pulls"]) => self.create(call).await,
            (&Method::GET, ["pulls", number]) => {
                let (status, pull) = self.gitea(call, Method::GET, &format!("/pulls/{number}"), None).await;
                if status == 200 { (200, self.pull(call, &pull, true)) } else { refusal(status) }
            }
            (&Method::PATCH, ["pulls", number]) => self.update(call, number).await,
            (&Method::PUT, ["pulls", number, "merge"]) => self.merge(call, number).await,
            (&Method::POST, ["issues", number, "comments"]) => {
                let there = format!("/issues/{number}/comments");
                let (status, comment) = self.gitea(call, Method::POST, &there, call.body.clone()).await;
                if status == 201 {
                    (201, json!({"id": comment["id"], "body": comment["body"]}))
                } else {
                    refusal(status)
                }
            }
            (&Method::POST, ["issues", number, "labels"]) => self.label(call, number).await,
            (&Method::POST, ["pulls", number, "requested_reviewers"]) => self.review(call, number).await,
            _ => refusal(404),
        }
    }

    async fn repository(&self, call: &Call) -> (u16, Value) {
        let (status, found) = self.gitea(call, Method::GET, "", None).await;
        if status != 200 {
            return refusal(status);
        }
        let rights = &found["permissions"];
        let permissions = json!({"admin": rights["admin"], "push": rights["push"], "pull": rights["pull"]});
        let mut known = json!({"permissions": permissions, "owner": {"login": call.owner}});
        for same in ["id", "name", "full_name", "private", "archived", "default_branch"] {
            known[same] = found[same].clone();
        }
        (200, known)
    }

    /// GitHub filters by `owner:branch`, which Gitea's list cannot.
    async fn list(&self, call: &Call) -> (u16, Value) {
        let asked = |name: &str| call.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let (state, base) = (asked("state").unwrap_or("open"), asked("base").unwrap_or_default());
        let there = format!("/pulls?state={state}&base_branch={base}&limit=50");
        let (status, found) = self.gitea(call, Method::GET, &there, None).await;
        if status != 200 {
            return refusal(status);
        }
        let mut pulls: Vec<Value> = found.as_array().unwrap().iter().map(|pull| self.pull(call, pull, false)).collect();
        pulls.retain(|pull| asked("head").is_none_or(|head| pull["head"]["label"] == head));
        pulls.sort_by_key(|pull| std::cmp::Reverse(pull["number"].as_u64()));
        (200, Value::Array(pulls))
    }

    async fn create(&self, call: &Call) -> (u16, Value) {
        let body = call.body.as_ref().unwrap();
        let mut asked = body.clone();
        // Gitea tells a draft by its title.
        if body["draft"] == true {
            asked["title"] = format!("{DRAFT}{}", body["title"].as_str().unwrap()).into();
        }
        let (status, found) = self.gitea(call, Method::POST, "/pulls", Some(asked)).await;
        let (head, base) = (body["head"].as_str().unwrap(), body["base"].as_str().unwrap());
        let custom = |message: String| json!({"resource": "PullRequest", "code": "custom", "message": message});
        match status {
            201 => (201, self.pull(call, &found, false)),
            409 => invalid(&custom(format!("A pull request already exists for {}:{head}.", call.owner))),
            404 => invalid(&json!({"resource": "PullRequest", "field": "head", "code": "invalid"})),
            422 => invalid(&custom(format!("No commits between {base} and {head}"))),
            other => refusal(other),
        }
    }

    async fn update(&self, call: &Call, number: &str) -> (u16, Value) {
        let there = format!("/pulls/{number}");
        let (mut status, mut found) = self.gitea(call, Method::PATCH, &there, call.body.clone()).await;
        if status == 412 {
            // Closing what is merged changes nothing at GitHub.
            (status, found) = self.gitea(call, Method::GET, &there, None).await;
        }
        if matches!(status, 200 | 201) { (200, self.pull(call, &found, false)) } else { refusal(status) }
    }

    async fn merge(&self, call: &Call, number: &str) -> (u16, Value) {
        let body = call.body.as_ref().unwrap();
        let there = format!("/pulls/{number}/merge");
        let asked = json!({"Do": body["merge_method"], "head_commit_id": body["sha"]});
        let (status, _) = self.gitea(call, Method::POST, &there, Some(asked)).await;
        let refused = |message: &str| json!({"message": message, "documentation_url": "https://docs.github.com/rest"});
        match status {
            200 => {
                let (_, pull) = self.gitea(call, Method::GET, &format!("/pulls/{number}"), None).await;
                let message = "Pull Request successfully merged";
                (200, json!({"sha": pull["merge_commit_sha"], "merged": true, "message": message}))
            }
            405 => (405, refused("Pull Request is not mergeable")),
            409 => (409, refused("Head branch was modified. Review and try the merge again.")),
            other => refusal(other),
        }
    }

    /// GitHub makes the labels that a repository does not have.
    async fn label(&self, call: &Call, number: &str) -> (u16, Value) {
        let wanted = call.body.as_ref().unwrap()["labels"].as_array().cloned().unwrap_or_default();
        let (_, known) = self.gitea(call, Method::GET, "/labels?limit=50", None).await;
        for label in &wanted {
            if !known.as_array().unwrap().iter().any(|known| &known["name"] == label) {
                let made = json!({"name": label, "color": "#ededed"});
                self.gitea(call, Method::POST, "/labels", Some(made)).await;
            }
        }
        let there = format!("/issues/{number}/labels");
        let (status, found) = self.gitea(call, Method::POST, &there, Some(json!({"labels": wanted}))).await;
        if status != 200 {
            return refusal(status);
        }
        let labels = found.as_array().unwrap().iter();
        (200, labels.map(|label| json!({"id": label["id"], "name": label["name"], "color": label["color"]})).collect())
    }

    async fn review(&self, call: &Call, number: &str) -> (u16, Value) {
        let there = format!("/pulls/{number}/requested_reviewers");
        let (status, _) = self.gitea(call, Method::POST, &there, call.body.clone()).await;
        match status {
            201 => {
                let (_, found) = self.gitea(call, Method::GET, &format!("/pulls/{number}"), None).await;
                (201, self.pull(call, &found, false))
            }
            404 | 422 => {
                let message = "Reviews may only be requested from collaborators. One or more of the users or teams you specified is \
                               not a collaborator of the repository.";
                (422, json!({"message": message, "documentation_url": "https://docs.github.com/rest"}))
            }
            other => refusal(other),
        }
    }

    /// Gitea's request in GitHub's fields.
    fn pull(&self, call: &Call, pull: &Value, single: bool) -> Value {
        let (number, merged) = (pull["number"].as_u64().unwrap(), pull["merged"] == true);
        let known = !single || !self.asked.lock().unwrap().insert(number);
        let open = pull["state"] == "open";
        let side = |side: &Value| {
            let branch = side["label"].as_str().unwrap();
            let repo =
                json!({"id": side["repo_id"], "name": call.name, "full_name": format!("{}/{}", call.owner, call.name)});
            json!({"ref": branch, "label": format!("{}:{branch}", call.owner), "sha": side["sha"], "repo": repo})
        };
        let list = |name: &str, fields: &[&str]| -> Vec<Value> {
            let items = pull[name].as_array().into_iter().flatten();
            items.map(|item| fields.iter().map(|field| (field.to_string(), item[*field].clone())).collect()).collect()
        };
        json!({
            "id": pull["id"],
            "number": number,
            "state": pull["state"],
            "title": pull["title"].as_str().unwrap().trim_start_matches(DRAFT),
            "draft": pull["draft"],
            "body": pull["body"],
            "merged": merged,
            "merged_at": if merged { pull["merged_at"].clone() } else { Value::Null },
            // An open request has a merge that was only tried.
            "merge_commit_sha": if merged { pull["merge_commit_sha"].clone() } else { pull["head"]["sha"].clone() },
            "mergeable": if known && open { pull["mergeable"].clone() } else { Value::Null },
            "mergeable_state": if known { "clean" } else { "unknown" },
            "head": side(&pull["head"]),
            "base": side(&pull["base"]),
            "labels": list("labels", &["id", "name", "color"]),
            "requested_reviewers": list("requested_reviewers", &["id", "login"]),
        })
    }

    /// A call to Gitea, below the repository.
    async fn gitea(&self, call: &Call, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}/api/v1/repos/{}/{}{path}", self.gitea, call.owner, call.name);
        let mut request = self.client.request(method, url);
        if let Some(authorization) = &call.authorization {
            request = request.header(header::AUTHORIZATION, authorization.replace("Bearer ", "token "));
        }
        if let Some(body) = &body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default())
    }

    /// What is no API call: git's own protocol.
    async fn through(&self, method: Method, path: &str, mut headers: HeaderMap, body: Bytes) -> Response {
        headers.remove(header::HOST);
        let request = self.client.request(method, format!("{}{path}", self.gitea)).headers(headers).body(body);
        let response = request.send().await.unwrap();
        let (status, mut headers) = (response.status(), response.headers().clone());
        headers.remove(header::TRANSFER_ENCODING);
        headers.remove(header::CONTENT_LENGTH);
        (status, headers, Body::from(response.bytes().await.unwrap())).into_response()
    }
}

async fn serve(State(front): State<Arc<Front>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, MAX_BODY).await.unwrap();
    let Some(path) = parts.uri.path().strip_prefix("/api/v3") else {
        let path = parts.uri.path_and_query().unwrap().as_str().to_owned();
        return front.through(parts.method, &path, parts.headers, body).await;
    };
    let call = call(&parts, path, &body);
    front.api(&parts.method, path, call).await
}

/// A request of GitHub's API, with the headers that GitHub asks for.
fn call(parts: &axum::http::request::Parts, path: &str, body: &[u8]) -> Result<Call, String> {
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    for (name, value) in [("accept", "application/vnd.github+json"), ("x-github-api-version", "2022-11-28")] {
        if text(name).as_deref() != Some(value) {
            return Err(format!("header {name} is {:?}", text(name)));
        }
    }
    if text("user-agent").is_none_or(|agent| !agent.starts_with("reiter8/")) {
        return Err("GitHub refuses requests without a user agent".into());
    }
    let parsed = reqwest::Url::parse(&format!("http://front{}", parts.uri)).unwrap();
    let mut segments = path.split('/').skip(2).map(str::to_owned);
    let (Some(owner), Some(name)) = (segments.next(), segments.next()) else {
        return Err(format!("{path} names no repository"));
    };
    Ok(Call {
        method: parts.method.clone(),
        owner,
        name,
        path: segments.collect(),
        query: parsed.query_pairs().into_owned().collect(),
        body: (!body.is_empty()).then(|| serde_json::from_slice(body)).transpose().map_err(|e| e.to_string())?,
        authorization: text("authorization"),
    })
}

fn refusal(status: u16) -> (u16, Value) {
    let message = match status {
        401 => "Bad credentials",
        403 => "Resource not accessible by personal access token",
        404 => "Not Found",
        423 => return (403, json!({"message": "Repository was archived so is read-only."})),
        _ => "Server Error",
    };
    (
        status,
        json!({"message": message, "documentation_url": "https://docs.github.com/rest", "status": status.to_string()}),
    )
}

fn invalid(error: &Value) -> (u16, Value) {
    (
        422,
        json!({"message": "Validation Failed", "documentation_url": "https://docs.github.com/rest", "errors": [error]}),
    )
}
