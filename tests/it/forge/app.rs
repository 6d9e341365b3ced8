//! GitHub Apps: a server on loopback checks what an App signs, hands out tokens, is slow to know them, and ends them.

use std::sync::Arc;

use crate::support::github::app::{Hub, Key};
use crate::support::github::openapi::{Api, VARIANTS};
use crate::support::gitops;
use jiff::SignedDuration;
use reiter8::api::{Provider, RepositorySpec};
use reiter8::engine::Unavailable;
use reiter8::gitops::forge::{App, Extras, Memory};
use reiter8::gitops::{Credential, WriteBack, WriteTarget};

/// A long life, as GitHub gives it.
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// The write-back of one turn.
fn turn(hub: &Hub, app: &App, memory: &Arc<Memory>) -> WriteBack {
    let repository = RepositorySpec::new(&hub.clone_url(), Provider::GitHub, "unused");
    let target = WriteTarget { repository, spec: gitops::spec(), extras: Extras::default() };
    WriteBack::new(target, Some(Credential::App(app.clone())), &["127.0.0.1".to_owned()], memory).unwrap()
}

/// One call of the forge in a turn of its own.
async fn call(hub: &Hub, app: &App, memory: &Arc<Memory>) -> Result<(), Unavailable> {
    turn(hub, app, memory).close(7, "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_for_one_repository_and_made_once_for_all() {
    let key = Key::new();
    let hub = Hub::start(&key, HOUR).await;
    for installation in [None, Some(99)] {
        let (app, memory) = (App::new(7, installation, &key.pem).unwrap(), Arc::default());
        let before = hub.minted();
        let (a, b, c) = tokio::join!(call(&hub, &app, &memory), call(&hub, &app, &memory), call(&hub, &app, &memory));
        assert_eq!((a, b, c), (Ok(()), Ok(()), Ok(())));
        call(&hub, &app, &memory).await.unwrap();
        assert_eq!(hub.minted() - before, 1, "installation {installation:?}");
    }
    assert_eq!(hub.findings(), Vec::<String>::new());
    let trades: Vec<_> = hub.asked().into_iter().filter(|asked| asked.path.ends_with("/access_tokens")).collect();
    for asked in hub.asked().iter().filter(|asked| asked.path.contains("installation")) {
        for api in VARIANTS.map(Api::load) {
            api.check_request(&asked.method, &asked.path, &[], asked.body.as_ref()).unwrap();
            api.check_answer(&asked.method, &asked.path, asked.status, &asked.answer).unwrap();
        }
    }
    let wanted = serde_json::json!({"repositories": ["env"],
        "permissions": {"contents": "write", "pull_requests": "write", "metadata": "read"}});
    assert_eq!(trades.len(), 2);
    assert!(trades.iter().all(|trade| trade.body.as_ref() == Some(&wanted)), "{trades:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_before_it_ends() {
    let key = Key::new();
    let hub = Hub::start(&key, SignedDuration::from_mins(4)).await;
    let (app, memory) = (App::new(7, None, &key.pem).unwrap(), Arc::default());
    for made in 1..=3 {
        call(&hub, &app, &memory).await.unwrap();
        assert_eq!(hub.minted(), made, "what ends within five minutes is not used again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_that_is_not_known_everywhere_is_tried_again() {
    let key = Key::new();
    let hub = Hub::start(&key, HOUR).await;
    let (app, memory) = (App::new(7, None, &key.pem).unwrap(), Arc::default());
    hub.refuse_next(&[404, 401]);
    for _ in 0..2 {
        let refused = call(&hub, &app, &memory).await.unwrap_err();
        assert_eq!(refused.cause.word(), "TokenNotReady", "{refused}");
    }
    call(&hub, &app, &memory).await.unwrap();
    assert_eq!(hub.minted(), 1, "the same token is tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_later_is_not_used_again() {
    let key = Key::new();
    let hub = Hub::start(&key, HOUR).await;
    let (app, memory) = (App::new(7, None, &key.pem).unwrap(), Arc::default());
    call(&hub, &app, &memory).await.unwrap();
    hub.refuse_next(&[401]);
    assert_eq!(call(&hub, &app, &memory).await.unwrap_err().cause.word(), "AuthenticationFailed");
    call(&hub, &app, &memory).await.unwrap();
    assert_eq!(hub.minted(), 2);
    // A repository that is not there is no fault of the token.
    hub.refuse_next(&[404]);
    assert_eq!(call(&hub, &app, &memory).await.unwrap_err().cause.word(), "RepositoryNotFound");
    call(&hub, &app, &memory).await.unwrap();
    assert_eq!(hub.minted(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn git_gets_the_same_token_and_the_app_may_push() {
    let key = Key::new();
    let hub = Hub::start(&key, HOUR).await;
    let (app, memory) = (App::new(7, None, &key.pem).unwrap(), Arc::default());
    // The repository says of every App that it may do nothing: what its installation was given counts.
    let missing = turn(&hub, &app, &memory).preflight().await.unwrap_err();
    assert_eq!(missing.cause.word(), "RepositoryNotFound", "the server has no repository for git: {missing}");
    let git: Vec<_> = hub.asked().into_iter().filter(|asked| asked.path.starts_with("/acme/env.git")).collect();
    assert!(!git.is_empty() && git.iter().all(|asked| asked.user == "x-access-token" && asked.token == "ghs_token1"));
    hub.give_read_only();
    let reader = turn(&hub, &app, &Arc::default()).preflight().await.unwrap_err();
    assert_eq!(reader.cause.word(), "PermissionDenied", "{reader}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_is_refused_and_secrets_are_told_nowhere() {
    let (key, other) = (Key::new(), Key::new());
    let hub = Hub::start(&key, HOUR).await;
    let (stranger, memory) = (App::new(7, None, &other.pem).unwrap(), Arc::default());
    let refused = call(&hub, &stranger, &memory).await.unwrap_err();
    assert_eq!((refused.cause.word(), hub.minted()), ("AuthenticationFailed", 0));
    let app = App::new(7, None, &key.pem).unwrap();
    call(&hub, &app, &memory).await.unwrap();
    hub.refuse_next(&[401]);
    let failed = call(&hub, &app, &memory).await.unwrap_err();
    let told = format!("{refused} {failed} {failed:?} {app:?} {memory:?} {:?}", Credential::App(app.clone()));
    assert!(!told.contains("ghs_token") && !told.contains("BEGIN") && !told.contains("eyJ"), "{told}");
}

#[test]
fn a_key_that_cannot_sign_is_refused_at_once() {
    let key = Key::new();
    assert!(App::new(7, None, &key.pkcs1).is_ok(), "GitHub's own form");
    let cut = &key.pem[..key.pem.len() / 2];
    for bad in ["", "ghp_token", "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----", cut] {
        assert_eq!(App::new(7, None, bad).unwrap_err().cause().word(), "CredentialsMissing", "{bad}");
    }
}
