//! A forge on which nothing happens unless a test says so: requests that wait, and the head of `main`. It answers as Gitea
//! does to what a look asks, and counts the looks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

/// The forge; a copy is the same one.
#[derive(Clone, Default)]
pub(crate) struct QuietForge(Arc<Mutex<Said>>);

/// What it says, and what it was asked.
#[derive(Default)]
pub(crate) struct Said {
    /// The token that it takes; any if empty.
    pub(crate) token: String,
    /// Whether every request is closed.
    pub(crate) closed: bool,
    /// Whether it answers nothing of use.
    pub(crate) away: bool,
    /// Looks at each request, also those that it refused.
    pub(crate) looks: BTreeMap<u64, usize>,
    /// How often its branches were listed.
    pub(crate) listed: usize,
}

impl QuietForge {
    /// Serves until the runtime ends; its address.
    pub(crate) async fn serve(&self) -> std::io::Result<String> {
        let repository = "/api/v1/repos/{owner}/{name}";
        let routes = axum::Router::new()
            .route(&format!("{repository}/pulls"), get(list))
            .route(&format!("{repository}/pulls/{{number}}"), get(one))
            .route("/{owner}/{name}/info/refs", get(refs))
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(format!("http://{address}"))
    }

    pub(crate) fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

async fn list() -> Json<Value> {
    Json(json!([]))
}

async fn one(
    State(forge): State<QuietForge>,
    Path((_, _, number)): Path<(String, String, u64)>,
    headers: HeaderMap,
) -> Response {
    let mut said = forge.said();
    *said.looks.entry(number).or_default() += 1;
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if said.away {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    if !said.token.is_empty() && shown != format!("token {}", said.token) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let state = if said.closed { "closed" } else { "open" };
    let side = |branch: &str, digit: &str| json!({"ref": branch, "label": branch, "sha": digit.repeat(40)});
    Json(json!({"number": number, "state": state, "merged": false, "mergeable": true,
        "head": side("iter8/x", "a"), "base": side("main", "b")}))
    .into_response()
}

/// The list of refs of git's protocol.
async fn refs(State(forge): State<QuietForge>) -> Response {
    forge.said().listed += 1;
    let line = |text: &str| format!("{:04x}{text}", text.len() + 4);
    let id = "b".repeat(40);
    let service = line("# service=git-upload-pack\n");
    let heads = [line(&format!("{id} HEAD\0agent=quiet\n")), line(&format!("{id} refs/heads/main\n"))].concat();
    let kind = [(header::CONTENT_TYPE, "application/x-git-upload-pack-advertisement")];
    (kind, format!("{service}0000{heads}0000")).into_response()
}
