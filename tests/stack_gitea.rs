//! The write-back against a real Gitea: clone, push and the life of pull requests.
//!
//! Starts Gitea alone, with the code of `hack/stack`, and stops it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/stack/mod.rs"]
mod stack;
#[path = "support/gitops/mod.rs"]
mod support;

use reiter8::gitops::blocking;
use reiter8::gitops::forge::{Forge, ForgeError, Gitea, NewPull, Permissions, PullState};
use reiter8::gitops::plan::{Change, plan_cleanup, plan_promote};
use reiter8::gitops::repository::{Lease, Remote, Session};
use reiter8::gitops::transport::{Limits, Token};
use reiter8::gitops::tree::CommitId;
use serde_json::{Value, json};
use support::{author, environment, spec, text};

/// A Gitea of its own.
struct Server {
    site: stack::Site,
    url: String,
    token: String,
}

impl Server {
    fn start() -> Self {
        let dir = format!("/var/tmp/reiter8-test-gitea-{}", std::process::id()).into();
        let site = stack::Site { dir, bin: stack::binaries(), node: "unused".into() };
        let (port, token, _) = stack::parts::gitea(&site).unwrap();
        Self { site, url: format!("http://127.0.0.1:{port}"), token }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = stack::down(&self.site.dir);
    }
}

/// A new repository at a Gitea server, holding the fixture's environment.
struct World {
    client: reqwest::Client,
    api: String,
    remote: Remote,
    forge: Forge,
    token: String,
}

impl World {
    async fn new(server: &str, token: &str) -> Self {
        let client = reqwest::Client::new();
        let name =
            format!("env-{}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos());
        let world = Self {
            client,
            api: format!("{server}/api/v1"),
            remote: Remote::Local("unused".into()),
            forge: Forge::Local(reiter8::gitops::forge::LocalForge::new("unused".as_ref())),
            token: token.to_owned(),
        };
        let made = world.call("POST", "/user/repos", json!({"name": name, "default_branch": "main"})).await.1;
        let full_name = made["full_name"].as_str().unwrap();
        let url = format!("{server}/{full_name}.git");
        let token = Token::new(token);
        let seed = tempfile::tempdir().unwrap();
        environment(seed.path());
        let pushed = tokio::process::Command::new("git")
            .args([
                "-C",
                seed.path().to_str().unwrap(),
                "-c",
                &format!("http.extraHeader=Authorization: token {}", world.token),
                "push",
                "-q",
                &url,
                "refs/heads/main",
            ])
            .output()
            .await
            .unwrap();
        assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
        let forge = Forge::Gitea(Gitea::new(&url, Some(token.clone()), true).unwrap());
        let world = Self {
            api: format!("{}/repos/{full_name}", world.api),
            remote: Remote::Http { url, credentials: Some(token), allow_http: true },
            forge,
            ..world
        };
        // The server learns of a first push a moment after it answered it.
        eventually(async || world.call("GET", "/branches/main", Value::Null).await.0 == 200).await;
        world
    }

    /// What a person does at the server.
    async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = self
            .client
            .request(method.parse().unwrap(), format!("{}{path}", self.api))
            .header("authorization", format!("token {}", self.token));
        let response = request.json(&body).send().await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.bytes().await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    /// Pushes a planned change to a branch, from a fresh clone.
    async fn propose(&self, branch: &'static str, plan: fn(&Session) -> Change) -> CommitId {
        let remote = self.remote.clone();
        blocking(move || {
            let session = Session::open(&remote, "main", Limits::default())?;
            let commit = session.commit(session.head(), &plan(&session), text("Change", &author()))?;
            session.push(&commit, branch, &Lease::Absent).unwrap();
            Ok::<_, reiter8::gitops::repository::RepositoryError>(commit)
        })
        .await
        .unwrap()
    }

    async fn merge(&self, number: u64) {
        eventually(async || self.forge.get(number).await.unwrap().unwrap().mergeable == Some(true)).await;
        let (status, answer) = self
            .call("POST", &format!("/pulls/{number}/merge"), json!({"Do": "merge", "delete_branch_after_merge": true}))
            .await;
        assert_eq!(status, 200, "{answer}");
    }
}

/// Waits until a condition holds, for at most 20 seconds.
async fn eventually(condition: impl AsyncFn() -> bool) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !condition().await {
        assert!(std::time::Instant::now() < until, "the condition never held");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

fn request(branch: &str) -> NewPull {
    NewPull { head: branch.into(), base: "main".into(), title: "Title".into(), body: "Body".into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_live_and_die_at_gitea_as_the_interface_says() {
    let server = Server::start();
    let world = World::new(&server.url, &server.token).await;
    let forge = &world.forge;
    assert_eq!(forge.permissions().await, Ok(Permissions { can_push: true, can_pull: true }));
    assert_eq!(forge.find("iter8/promote", "main").await, Ok(None));
    assert_eq!(forge.get(1).await, Ok(None));
    assert_eq!(forge.open(&request("iter8/promote")).await, Err(ForgeError::NotFound));
    assert_eq!(forge.open(&request("main")).await, Err(ForgeError::NoChanges));

    // Promote: opened once, found in every state.
    let commit =
        world.propose("iter8/promote", |session| plan_promote(&session.files().unwrap(), &spec()).unwrap()).await;
    let pull = forge.open(&request("iter8/promote")).await.unwrap();
    assert_eq!(
        (pull.number, &pull.state, pull.head.as_ref(), pull.head_branch.as_str()),
        (1, &PullState::Open, Some(&commit), "iter8/promote")
    );
    assert_eq!(forge.open(&request("iter8/promote")).await.unwrap().number, 1, "opening twice gives the same request");
    assert_eq!(forge.find("iter8/promote", "main").await.unwrap().unwrap().number, 1);
    forge.update_text(1, "New title", "New body").await.unwrap();
    forge.comment(1, "A comment").await.unwrap();
    let issue = world.call("GET", "/issues/1", Value::Null).await.1;
    assert_eq!(
        (issue["title"].as_str(), issue["body"].as_str(), issue["comments"].as_u64()),
        (Some("New title"), Some("New body"), Some(1))
    );
    world.merge(1).await;
    let merged = forge.find("iter8/promote", "main").await.unwrap().unwrap();
    assert!(matches!(merged.state, PullState::Merged { commit: Some(_) }), "{merged:?}");
    assert_eq!(
        (merged.head.as_ref(), merged.head_branch.as_str(), merged.mergeable),
        (Some(&commit), "iter8/promote", None)
    );
    assert_eq!(forge.get(1).await.unwrap().unwrap(), merged);
    assert_eq!(forge.close(1).await, Err(ForgeError::AlreadyMerged));

    // Clean-up: closed by a person, opened again on the same branch, merged.
    let commit =
        world.propose("iter8/cleanup", |session| plan_cleanup(&session.files().unwrap(), &spec()).unwrap()).await;
    let first = forge.open(&request("iter8/cleanup")).await.unwrap();
    forge.close(first.number).await.unwrap();
    forge.close(first.number).await.unwrap();
    assert_eq!(forge.find("iter8/cleanup", "main").await.unwrap().unwrap().state, PullState::Closed);
    let second = forge.open(&request("iter8/cleanup")).await.unwrap();
    assert_ne!(first.number, second.number);
    let found = forge.find("iter8/cleanup", "main").await.unwrap().unwrap();
    assert_eq!((found.number, found.state, found.head), (second.number, PullState::Open, Some(commit)));
    world.merge(second.number).await;

    let remote = world.remote.clone();
    let listed = blocking(move || {
        let session = Session::open(&remote, "main", Limits::default())?;
        let names =
            reiter8::gitops::tree::Files::list(&session.files()?, Some(&support::APP.parse().unwrap())).unwrap();
        Ok::<_, reiter8::gitops::repository::RepositoryError>(
            names.into_iter().map(|entry| entry.name).collect::<Vec<_>>(),
        )
    });
    assert_eq!(listed.await.unwrap(), ["istio.yaml", "productpage.yaml"]);

    // Refusals.
    let stranger = Gitea::new(
        &format!("{}.git", world.api.replace("/api/v1/repos", "")),
        Some(Token::new("0000000000000000000000000000000000000000")),
        true,
    )
    .unwrap();
    assert_eq!(Forge::Gitea(stranger).permissions().await, Err(ForgeError::AuthenticationFailed));
    let protection = json!({"rule_name": "iter8/**", "enable_push": false});
    assert_eq!(world.call("POST", "/branch_protections", protection).await.0, 201);
    let remote = world.remote.clone();
    let refused = blocking(move || {
        let session = Session::open(&remote, "main", Limits::default())?;
        let commit = session.commit(session.head(), &Change::default(), text("Empty", &author()))?;
        Ok::<_, reiter8::gitops::repository::RepositoryError>(session.push(&commit, "iter8/protected", &Lease::Absent))
    });
    let refused = refused.await.unwrap().unwrap_err();
    assert_eq!(refused.reason(), "ProtectedBranch", "{refused}");
    let archived = world.call("PATCH", "", json!({"archived": true})).await;
    assert_eq!(archived.0, 200, "{}", archived.1);
    assert_eq!(forge.permissions().await, Err(ForgeError::RepositoryArchived));
}
