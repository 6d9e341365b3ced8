//! The write-back over HTTP: a real `git http-backend`, and the ways in which servers fail.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::support::git_server::{Mode, Server, TOKEN};
use crate::support::gitops::{self, APP, author, environment, files, spec, text};
use reiter8::gitops::blocking;
use reiter8::gitops::plan::{Spec, plan_promote, plan_revert};
use reiter8::gitops::repository::{Clones, Lease, PushError, Remote, RepositoryError, Session};
use reiter8::gitops::transport::{Failure, Limits, Token};
use reiter8::gitops::tree::{Files, read};
use tempfile::TempDir;

/// A server with one repository, and the way to it.
struct World {
    root: TempDir,
    server: Server,
}

impl World {
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        environment(&root.path().join("env.git"));
        let server = Server::start(root.path()).await;
        Self { root, server }
    }

    fn remote(&self) -> Remote {
        Remote::Http {
            url: self.server.url("env.git"),
            credentials: Some(Token::new(TOKEN)),
            allow_http: true,
            ca: None,
        }
    }

    async fn open(&self, limits: Limits) -> Result<Session, RepositoryError> {
        let remote = self.remote();
        blocking(move || Session::open(&remote, "main", limits)).await
    }

    fn repository(&self) -> git2::Repository {
        git2::Repository::open_bare(self.root.path().join("env.git")).unwrap()
    }
}

/// Runs git work on a session where it may block, and gives the session back.
async fn with<T: Send + 'static>(
    session: Session,
    work: impl FnOnce(&mut Session) -> T + Send + 'static,
) -> (Session, T) {
    let (session, result) = tokio::task::spawn_blocking(move || {
        let mut session = session;
        let result = work(&mut session);
        (session, result)
    })
    .await
    .unwrap();
    (session, result)
}

fn promotion(session: &Session, message: &str) -> reiter8::gitops::tree::CommitId {
    let change = plan_promote(&session.files().unwrap(), &spec()).unwrap();
    session.commit(session.head(), &change, text(message, &author())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shallow_clone_commits_and_pushes_what_a_full_one_would() {
    let world = World::new().await;
    let session = world.open(Limits::default()).await.unwrap();
    let repository = world.repository();
    let head = repository.find_reference("refs/heads/main").unwrap().peel_to_commit().unwrap();
    assert_eq!(session.head().to_string(), head.id().to_string());
    assert!(session.files_at(&head.parent_id(0).unwrap().into()).is_err(), "the clone has one commit");

    let path = world.root.path().join("env.git");
    let full = Session::open(&Remote::Local(path), "main", Limits::default()).unwrap();
    let (session, commit) = with(session, |session| promotion(session, "Promote")).await;
    assert_eq!(commit, promotion(&full, "Promote"));

    let (session, (pushed, again)) = with(session, {
        let commit = commit.clone();
        move |session| {
            (session.push(&commit, "iter8/x", &Lease::Absent), session.push(&commit, "iter8/x", &Lease::Absent))
        }
    })
    .await;
    assert_eq!((pushed, again), (Ok(()), Ok(())));
    let content = &files(&repository, "iter8/x")["apps/productpage/productpage.yaml"];
    assert_eq!(content, &gitops::fixture("promoted")["apps/productpage/productpage.yaml"]);

    // The base moves; a new look finds it, and the branch can be replaced under its lease, then removed.
    let moved = gitops::commit(&repository, "main", "More", &[("x".to_owned(), b"y".to_vec())].into());
    let (_, ()) = with(session, move |session| {
        assert_eq!(session.ls_remote("main").unwrap().unwrap().to_string(), moved.to_string());
        assert_eq!(session.refresh().unwrap().to_string(), moved.to_string());
        let second = promotion(session, "Promote");
        assert_ne!(second, commit);
        assert_eq!(
            session.push(&second, "iter8/x", &Lease::Absent),
            Err(PushError::LeaseLost { found: Some(commit.clone()) })
        );
        session.push(&second, "iter8/x", &Lease::At(commit.clone())).unwrap();
        assert_eq!(
            session.delete_branch("iter8/x", &Lease::At(commit)),
            Err(PushError::LeaseLost { found: Some(second.clone()) })
        );
        session.delete_branch("iter8/x", &Lease::At(second)).unwrap();
        assert_eq!(session.ls_remote("iter8/x"), Ok(None));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_replaced_is_fetched_when_it_is_asked_for() {
    let world = World::new().await;
    let session = world.open(Limits::default()).await.unwrap();
    let recorded = |file: &str, session: &Session| {
        let path = format!("{APP}/{file}");
        (path.clone(), read(&session.files().unwrap(), &path.parse().unwrap()).unwrap().unwrap().id)
    };
    let expected: BTreeMap<_, _> =
        ["productpage.yaml", "productpage-candidate.yaml"].map(|file| recorded(file, &session)).into();
    let (started, before) = (session.head().clone(), expected[&format!("{APP}/productpage.yaml")].clone());
    // The promotion goes on the base branch, and somebody else's commit after it.
    let (_, promoted) = with(session, |session| {
        let commit = promotion(session, "Promote");
        session.push(&commit, "main", &Lease::At(session.head().clone())).unwrap();
        assert!(matches!(
            session.push(&promotion(session, "Again"), "main", &Lease::At(session.head().clone())),
            Err(PushError::LeaseLost { .. })
        ));
        commit
    })
    .await;
    gitops::commit(&world.repository(), "main", "More", &[("x".to_owned(), b"y".to_vec())].into());

    let fresh = world.open(Limits::default()).await.unwrap();
    let spec = Spec { expected, ..spec() };
    let (_, ()) = with(fresh, move |session| {
        assert!(session.files().unwrap().content(&before).is_err(), "a clone has one commit");
        session.recall([&before]).unwrap();
        let change = plan_revert(&session.files().unwrap(), &spec).unwrap();
        assert_eq!(change.files.len(), 1);
        assert!(session.holds(&promoted).unwrap() && session.holds(&started).unwrap());
        let elsewhere = session.commit(session.head(), &change, text("Nowhere", &author())).unwrap();
        assert!(!session.holds(&elsewhere).unwrap());
    })
    .await;
    // One that knows a commit of its own only by name finds it as well.
    let fresh = world.open(Limits::default()).await.unwrap();
    let started = world.repository().revparse_single("main~2").unwrap().id().into();
    let (_, held) = with(fresh, move |session| session.holds(&started)).await;
    assert_eq!(held, Ok(true));
}

/// The base branch moves between two turns: a kept clone follows it and has the commit of before, which a new one has not.
#[tokio::test(flavor = "multi_thread")]
async fn a_clone_outlives_its_turn_and_no_failure() {
    let world = World::new().await;
    let (clones, remote, repository) = (Clones::default(), world.remote(), world.repository());
    let head = |session: &mut Session| session.refresh().cloned();
    let mut seen = vec![clones.with(&remote, "main", head).await.unwrap()];
    for turn in 0..3 {
        let file = (format!("file-{turn}"), b"y".to_vec());
        let moved = gitops::commit(&repository, "main", "More", &[file].into());
        let before = seen.clone();
        let look = move |session: &mut Session| {
            let head = session.refresh()?.clone();
            before.iter().try_for_each(|commit| session.files_at(commit).map(|_| ()))?;
            Ok::<_, RepositoryError>(head)
        };
        seen.push(clones.with(&remote, "main", look).await.unwrap());
        assert_eq!(seen.last().unwrap().to_string(), moved.to_string());
    }
    let first = seen[0].clone();
    let older = move |session: &mut Session| session.holds(&first);
    assert_eq!(clones.with(&remote, "main", older).await, Ok(true));
    assert_eq!(clones.with(&remote, "main", head).await.as_ref().ok(), seen.last());

    let kept = async || {
        let first = seen[0].clone();
        let look = move |session: &mut Session| {
            session.refresh()?;
            Ok::<_, RepositoryError>(session.files_at(&first).is_ok())
        };
        clones.with(&remote, "main", look).await
    };
    // A server that is busy and a plan that does not fit are not the clone's fault.
    world.server.set(Mode::Status(503));
    clones.with(&remote, "main", head).await.unwrap_err();
    world.server.set(Mode::Serve);
    let misfit = |_: &mut Session| Err::<(), _>(RepositoryError::BaseMoved { path: "a".to_owned() });
    clones.with(&remote, "main", misfit).await.unwrap_err();
    assert_eq!(kept().await, Ok(true));
    // What could not be used is not kept, and the next turn begins with nothing.
    let broken = |_: &mut Session| Err::<(), _>(RepositoryError::Store { message: "no space left".to_owned() });
    clones.with(&remote, "main", broken).await.unwrap_err();
    assert_eq!(kept().await, Ok(false));

    // A branch that is gone is missed at once, whatever the clone still has.
    repository.find_reference("refs/heads/main").unwrap().rename("refs/heads/trunk", true, "rename").unwrap();
    let missing = Err(RepositoryError::BranchMissing { branch: "main".to_owned() });
    assert_eq!(clones.with(&remote, "main", head).await, missing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_branch_that_a_hook_refuses_is_an_error() {
    let world = World::new().await;
    for (hook, words, reason) in [
        ("update", "no robots", "HookRejected"),
        ("pre-receive", "Not allowed to push to protected branch", "ProtectedBranch"),
    ] {
        let file = world.root.path().join("env.git/hooks").join(hook);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, format!("#!/bin/sh\necho '{words}' >&2\nexit 1\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let (_, refused) = with(world.open(Limits::default()).await.unwrap(), |session| {
            session.push(&promotion(session, "Promote"), "iter8/x", &Lease::Absent)
        })
        .await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.cause().word(), reason, "{refused}");
        assert!(refused.to_string().contains(words), "{refused}");
        assert!(world.repository().find_reference("refs/heads/iter8/x").is_err());
        std::fs::remove_file(file).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_leaves_a_push_that_can_be_repeated() {
    let world = World::new().await;
    let session = world.open(Limits::default()).await.unwrap();
    let (session, commit) = with(session, |session| promotion(session, "Promote")).await;
    world.server.set(Mode::LosePushAnswer);
    let (session, lost) = with(session, {
        let commit = commit.clone();
        move |session| session.push(&commit, "iter8/x", &Lease::Absent)
    })
    .await;
    assert_eq!(lost.unwrap_err().cause().word(), "ProviderUnavailable");
    world.server.set(Mode::Serve);
    let (_, repeated) = with(session, move |session| session.push(&commit, "iter8/x", &Lease::Absent)).await;
    assert_eq!(repeated, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_names_and_tell_no_secrets() {
    let world = World::new().await;
    let session = world.open(Limits::default()).await.unwrap();
    let (mut session, commit) = with(session, |session| promotion(session, "Promote")).await;
    let cases = [
        (Mode::Status(401), "AuthenticationFailed"),
        (Mode::Status(403), "PermissionDenied"),
        (Mode::Status(404), "RepositoryNotFound"),
        (Mode::Status(301), "RepositoryMoved"),
        (Mode::Status(307), "RepositoryMoved"),
        (Mode::Status(429), "RateLimited"),
        (Mode::Status(500), "ProviderUnavailable"),
        (Mode::Status(503), "ProviderUnavailable"),
        (Mode::Page, "ProviderUnavailable"),
    ];
    for (mode, reason) in cases {
        world.server.set(mode);
        let opened = world.open(Limits::default()).await.unwrap_err();
        let commit = commit.clone();
        let (back, pushed) = with(session, move |session| session.push(&commit, "iter8/x", &Lease::Absent)).await;
        session = back;
        let pushed = pushed.unwrap_err();
        assert_eq!((opened.cause().word(), pushed.cause().word()), (reason, reason), "{mode:?}: {opened}");
        for told in [format!("{opened} {opened:?}"), format!("{pushed} {pushed:?}")] {
            assert!(!told.contains(TOKEN) && !told.contains("127.0.0.1"), "{told}");
        }
    }
    world.server.set(Mode::Status(429));
    let limited = world.open(Limits::default()).await.unwrap_err();
    assert_eq!(limited, RepositoryError::Remote(Failure::RateLimited { retry_after: Some(Duration::from_secs(7)) }));

    world.server.set(Mode::Serve);
    for credentials in [None, Some(Token::new("wrong"))] {
        let remote = Remote::Http { url: world.server.url("env.git"), credentials, allow_http: true, ca: None };
        let refused = blocking(move || Session::open(&remote, "main", Limits::default())).await.unwrap_err();
        assert_eq!(refused.cause().word(), "AuthenticationFailed");
    }
    let token = Token::new(TOKEN);
    assert!(!format!("{token} {token:?} {:?} {session:?}", world.remote()).contains(TOKEN));
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_large_answers_end() {
    let world = World::new().await;
    let hasty = Limits { wall_clock: Duration::from_secs(1), ..Limits::default() };
    let small = Limits { bytes: 100, ..Limits::default() };
    for (mode, limits, failure) in [
        (Mode::Stall, hasty, Failure::TimedOut),
        (Mode::Trickle, hasty, Failure::TimedOut),
        (Mode::Serve, small, Failure::TooLarge { bytes: 100 }),
    ] {
        world.server.set(mode);
        let began = Instant::now();
        assert_eq!(world.open(limits).await.unwrap_err(), RepositoryError::Remote(failure), "{mode:?}");
        assert!(began.elapsed() < Duration::from_secs(10), "{mode:?} took {:?}", began.elapsed());
    }
}

#[test]
fn addresses_that_could_leak_or_wander_are_refused() {
    for (url, allow_http) in [
        ("http://forge.test/o/r.git", false),
        ("https://user:pass@forge.test/o/r.git", true),
        ("https://token@forge.test/o/r.git", true),
        ("https://forge.test/o/r.git?x=y", true),
        ("https://forge.test/o/r.git#x", true),
        ("file:///tmp/r.git", true),
        ("ssh://forge.test/o/r.git", true),
        ("git@forge.test:o/r.git", true),
        ("/tmp/r.git", true),
        ("reiter8://1", true),
        ("", true),
    ] {
        let remote = Remote::Http { url: url.into(), credentials: None, allow_http, ca: None };
        let refused = Session::open(&remote, "main", Limits::default()).unwrap_err();
        assert_eq!(refused.cause().word(), "AddressRefused", "{url}");
        assert!(!refused.to_string().contains("pass"), "{refused}");
    }
}
