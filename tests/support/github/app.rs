//! GitHub's side of Apps, on loopback: it checks what an App signed with the App's public key, and knows the tokens that it gave.

use std::collections::VecDeque;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};

/// An App's key.
pub(crate) struct Key {
    /// The private half, PKCS #8.
    pub(crate) pem: String,
    /// The same in PKCS #1, as GitHub hands it out.
    pub pkcs1: String,
    public: Vec<u8>,
}

impl Key {
    pub(crate) fn new() -> Self {
        let text = |der: Vec<u8>| String::from_utf8(der).unwrap();
        let pem = openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048", "");
        let pem = text(pem);
        let pkcs1 = text(openssl("rsa -traditional", &pem));
        let public = openssl("rsa -RSAPublicKey_out -outform DER", &pem);
        Self { pem, pkcs1, public }
    }
}

/// What openssl makes of some input.
fn openssl(arguments: &str, input: &str) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(arguments.split(' ')).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("openssl");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

/// A call and its answer.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Without `/api/v3`.
    pub(crate) path: String,
    pub(crate) body: Option<Value>,
    /// Who asked, of a call of git.
    pub(crate) user: String,
    pub(crate) token: String,
    pub(crate) status: u16,
    pub(crate) answer: Value,
}

/// A GitHub with one repository, `acme/env`, and one App, 7, whose installation is 99.
pub(crate) struct Hub {
    address: String,
    state: Arc<Place>,
}

struct Place {
    public: Vec<u8>,
    life: SignedDuration,
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    asked: Vec<Asked>,
    findings: Vec<String>,
    minted: usize,
    read_only: bool,
    /// Statuses of the next calls with a token.
    refusals: VecDeque<u16>,
}

impl Hub {
    pub(crate) async fn start(key: &Key, life: SignedDuration) -> Self {
        let state = Arc::new(Place { public: key.public.clone(), life, now: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(serve).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, state }
    }

    pub(crate) fn clone_url(&self) -> String {
        format!("{}/acme/env.git", self.address)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.now.lock().unwrap().asked.clone()
    }

    /// What was wrong with claims.
    pub(crate) fn findings(&self) -> Vec<String> {
        self.state.now.lock().unwrap().findings.clone()
    }

    /// How many tokens were given.
    pub(crate) fn minted(&self) -> usize {
        self.state.now.lock().unwrap().minted
    }

    pub(crate) fn refuse_next(&self, statuses: &[u16]) {
        self.state.now.lock().unwrap().refusals.extend(statuses);
    }

    /// From now on installations may read contents alone.
    pub(crate) fn give_read_only(&self) {
        self.state.now.lock().unwrap().read_only = true;
    }
}

async fn serve(State(place): State<Arc<Place>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let (user, token) = credential(&parts.headers);
    let mut asked = Asked {
        method: parts.method.to_string(),
        path: parts.uri.path().trim_start_matches("/api/v3").to_owned(),
        body: serde_json::from_slice(&body).ok(),
        user,
        token,
        status: 0,
        answer: Value::Null,
    };
    (asked.status, asked.answer) = place.answer(&asked);
    place.now.lock().unwrap().asked.push(asked.clone());
    (StatusCode::from_u16(asked.status).unwrap(), Json(asked.answer)).into_response()
}

/// User and secret of a call.
fn credential(headers: &HeaderMap) -> (String, String) {
    let text = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if let Some(basic) = text.strip_prefix("Basic ") {
        let decoded = String::from_utf8(STANDARD.decode(basic).unwrap()).unwrap();
        let (user, token) = decoded.split_once(':').unwrap();
        return (user.to_owned(), token.to_owned());
    }
    (String::new(), text.trim_start_matches("Bearer ").to_owned())
}

fn refusal(status: u16) -> (u16, Value) {
    (status, json!({"message": "no", "documentation_url": "https://docs.github.com/rest"}))
}

impl Place {
    fn answer(&self, asked: &Asked) -> (u16, Value) {
        match (asked.method.as_str(), asked.path.as_str()) {
            ("GET", "/repos/acme/env/installation") => self.installation(&asked.token),
            ("POST", "/app/installations/99/access_tokens") => self.mint(&asked.token),
            _ => self.known(asked),
        }
    }

    fn installation(&self, claim: &str) -> (u16, Value) {
        if !self.claimed(claim) {
            return refusal(401);
        }
        let url = "https://github.example/x";
        let account = json!({"login": "acme", "id": 1, "node_id": "x", "avatar_url": url, "gravatar_id": null, "url": url,
            "html_url": url, "followers_url": url, "following_url": url, "gists_url": url, "starred_url": url,
            "subscriptions_url": url, "organizations_url": url, "repos_url": url, "events_url": url,
            "received_events_url": url, "type": "Organization", "site_admin": false});
        let time = "2026-01-02T03:04:05Z";
        (
            200,
            json!({"id": 99, "account": account, "repository_selection": "selected", "access_tokens_url": url,
            "repositories_url": url, "html_url": url, "app_id": 7, "target_id": 1, "target_type": "Organization",
            "permissions": {"contents": "write"}, "events": [], "created_at": time, "updated_at": time,
            "single_file_name": null, "app_slug": "reiter8", "suspended_by": null, "suspended_at": null, "client_id": "Iv1"}),
        )
    }

    fn mint(&self, claim: &str) -> (u16, Value) {
        if !self.claimed(claim) {
            return refusal(401);
        }
        let mut now = self.now.lock().unwrap();
        now.minted += 1;
        let contents = if now.read_only { "read" } else { "write" };
        let permissions = json!({"contents": contents, "pull_requests": "write", "metadata": "read"});
        let expires = (Timestamp::now() + self.life).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        (201, json!({"token": format!("ghs_token{}", now.minted), "expires_at": expires, "permissions": permissions}))
    }

    /// Whether a claim is the App's, and as GitHub wants it.
    fn claimed(&self, claim: &str) -> bool {
        let found = self.check(claim);
        let good = found.is_ok();
        self.now
            .lock()
            .unwrap()
            .findings
            .extend(found.err().filter(|finding| finding != "the signature is another key's"));
        good
    }

    fn check(&self, claim: &str) -> Result<(), String> {
        let (text, signature) = claim.rsplit_once('.').ok_or("no claim")?;
        let (head, claims) = text.split_once('.').ok_or("no head")?;
        let read = |part: &str| -> Result<Vec<u8>, String> { URL_SAFE_NO_PAD.decode(part).map_err(|e| e.to_string()) };
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public);
        key.verify(text.as_bytes(), &read(signature)?).map_err(|_| "the signature is another key's")?;
        let json =
            |part: &str| -> Result<Value, String> { serde_json::from_slice(&read(part)?).map_err(|e| e.to_string()) };
        let (head, claims, now) = (json(head)?, json(claims)?, Timestamp::now().as_second());
        let (iat, exp) = (claims["iat"].as_i64().ok_or("no iat")?, claims["exp"].as_i64().ok_or("no exp")?);
        let right = head["alg"] == "RS256" && claims["iss"] == "7";
        let timely = (now - 70..=now - 50).contains(&iat) && exp > now && exp <= now + 600 && exp - iat <= 600;
        if right && timely { Ok(()) } else { Err(format!("{head} {claims} at {now}")) }
    }

    /// Calls with a token.
    fn known(&self, asked: &Asked) -> (u16, Value) {
        let mut now = self.now.lock().unwrap();
        if asked.token != format!("ghs_token{}", now.minted) || now.minted == 0 {
            return refusal(401);
        }
        if let Some(status) = now.refusals.pop_front() {
            return refusal(status);
        }
        let side = json!({"ref": "main", "sha": "", "repo": {"id": 5}});
        match (asked.method.as_str(), asked.path.as_str()) {
            // Of an App the repository says nothing useful.
            ("GET", "/repos/acme/env") => {
                (200, json!({"archived": false, "permissions": {"admin": false, "push": false, "pull": false}}))
            }
            ("PATCH", "/repos/acme/env/pulls/7") => {
                (200, json!({"number": 7, "state": "closed", "head": side, "base": side}))
            }
            _ => refusal(404),
        }
    }
}
