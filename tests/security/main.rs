//! Attacks on the write-back, as tables: what somebody writes into an object, a repository or an answer, and the reason by
//! which it is refused. Every row goes through the product's own code, against repositories and loopback servers that are
//! made here. `docs/security.md` names these tests; here it is held to them too.
//!
//! A program of its own: it measures the memory of its process, and keeps everything that its process logs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, unreachable_pub)] // Each program uses a part of it.
#[path = "../support"]
mod support {
    pub(crate) mod git_server;
    pub(crate) mod gitops;
    pub(crate) mod named_tests;
}

mod attack;

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::path::Path;
use std::time::Duration;

use attack::peak_memory;
use attack::secret::{TOKEN, forms, found, keep_logs, logs};
use attack::server::{Attack, GIBIBYTE, Server};
use git2::{ObjectType, Oid, Repository};
use reiter8::api::{Provider, RepositorySpec};
use reiter8::engine::{Cause, Unavailable};
use reiter8::gitops::forge::{Extras, Forge, GitHub, Gitea, LocalForge, NewPull, Permissions, Way};
use reiter8::gitops::plan::{Spec, plan_promote};
use reiter8::gitops::repository::{Lease, Remote, RepositoryError, Session};
use reiter8::gitops::transport::{Limits, Token};
use reiter8::gitops::{Credential, WriteBack, WriteTarget, blocking, remedy};
use support::git_server;
use support::gitops::{self, APP, author, environment, spec, text};
use support::named_tests;

/// More than any of these attacks may cost, and less than the chart lets the controller have.
const MOST_MEMORY: u64 = 448 << 20;
/// What connections hold that nobody has read.
const SLACK: u64 = 24 << 20;
/// Rows that the table in the documentation has.
const ROWS: usize = 23;

/// A refusal as it is told, and everything that could be printed of it.
struct Told {
    cause: Cause,
    text: String,
}

impl Told {
    fn of<E: Display + Debug + Into<Unavailable>>(error: E) -> Self {
        let text = format!("{error}\n{error:?}");
        let seen = remedy::remedied(error.into(), &repository("https://git.example.com/acme/env.git"));
        Self { cause: seen.cause, text: format!("{text}\n{seen}\n{seen:?}\n{}", seen.message) }
    }
}

fn repository(url: &str) -> RepositorySpec {
    RepositorySpec::new(url, Provider::Gitea, "environment-token")
}

/// Fails with all that is wrong.
fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether one of the reasons, which `|` separates, is the one that was told.
fn is(reasons: &str, told: &str) -> bool {
    reasons.split('|').any(|reason| reason == told)
}

// What is written into an Experiment or a Repository.

/// The write-back on a repository of this machine.
fn local(path: &Path, branch: &str, spec: Spec) -> WriteBack {
    let repository = RepositorySpec { branch: Some(branch.into()), ..repository("https://git.example.com/a/b.git") };
    WriteBack::with(
        Remote::Local(path.into()),
        Forge::Local(LocalForge::new(path)),
        WriteTarget { repository, spec, extras: Extras::default() },
    )
}

/// The preflight's refusal, if it refuses.
async fn preflight(path: &Path, branch: &str, spec: Spec) -> Option<Unavailable> {
    let write_back = local(path, branch, spec);
    write_back.preflight().await.err().map(|unavailable| write_back.remedied(unavailable))
}

const BRANCHES: [&str; 27] = [
    "--upload-pack=touch /tmp/x",
    "-f",
    "a..b",
    "../main",
    "a/../main",
    "main:refs/heads/other",
    "main^",
    "main~1",
    "@{-1}",
    "main*",
    "main?",
    "[main]",
    "a b",
    "a\\b",
    "a\nb",
    "a\0b",
    "",
    "/main",
    "main/",
    "a//b",
    ".hidden",
    "main.lock",
    "main.",
    "\u{202e}niam",
    "ma\u{200b}in",
    "\u{ff4d}ain",
    "m\u{430}in",
];

#[tokio::test(flavor = "multi_thread")]
async fn hostile_branch_names_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bare = environment(folder.path());
    let remote = Remote::Local(folder.path().into());
    let session = Session::open(&remote, "main", Limits::default()).unwrap();
    let long = "x".repeat(201);
    let mut wrong = vec![];
    for branch in BRANCHES.into_iter().chain([long.as_str()]) {
        let told = preflight(folder.path(), branch, spec()).await.expect("it is refused");
        let pushed = session.push(session.head(), branch, &Lease::Absent).unwrap_err();
        let looked = session.ls_remote(branch).unwrap_err();
        let reasons = [told.cause.word(), pushed.cause().word(), looked.cause().word()];
        if reasons != ["InvalidBranch"; 3] || told.message.chars().any(|c| c.is_control() || c == '\u{202e}') {
            wrong.push(format!("{branch:?}: {reasons:?} {told}"));
        }
    }
    assert_eq!(bare.references().unwrap().count(), 1, "nothing was pushed");
    none(&wrong);
}

const PATHS: [&str; 31] = [
    "..",
    "../secrets",
    "apps/../../secrets",
    "/etc/passwd",
    "./apps",
    "apps//x",
    "apps/",
    "",
    ".git/config",
    ".GIT/config",
    ".gIt",
    "apps/.git/hooks/update",
    ".git./config",
    "GIT~1/config",
    ".git ",
    ".git::$INDEX_ALLOCATION",
    ".g\u{200c}it/config",
    ".git\u{200d}",
    "\u{ff0e}git/config",
    "\u{2024}\u{2024}/secrets",
    "apps\\..\\..\\secrets",
    "C:\\x",
    "c:x",
    "apps/\u{202e}lmay.x",
    "\u{430}pps",
    "e\u{301}",
    "a\0b",
    "a\nb",
    "-rf",
    "apps/-rf",
    "x #y",
];

#[tokio::test(flavor = "multi_thread")]
async fn hostile_paths_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    environment(folder.path());
    assert_eq!(preflight(folder.path(), "main", spec()).await, None, "without an attack all is well");
    let long = "x/".repeat(512) + "x";
    let mut wrong = vec![];
    for path in PATHS.into_iter().chain([long.as_str()]) {
        let fields = [
            Spec { path: path.into(), ..spec() },
            Spec { from: path.into(), ..spec() },
            Spec { to: path.into(), ..spec() },
            Spec { remove: vec![path.into()], ..spec() },
        ];
        for (field, spec) in ["path", "from", "to", "remove"].into_iter().zip(fields) {
            let told = preflight(folder.path(), "main", spec).await;
            let well = told.as_ref().is_some_and(|told| {
                told.cause.word() == "InvalidPath" && !told.message.chars().any(|c| c.is_control() || c == '\u{202e}')
            });
            if !well {
                wrong.push(format!("{field} {path:?}: {told:?}"));
            }
        }
    }
    none(&wrong);
}

/// Where a token may be written instead of into its Secret.
const ADDRESSES: [&str; 8] = [
    "https://bot:TOKEN@forge.test/acme/env.git",
    "https://TOKEN@forge.test/acme/env.git",
    "https://forge.test/acme/env.git?access_token=TOKEN",
    "https://forge.test/acme/env.git#TOKEN",
    "http://bot:TOKEN@forge.test/acme/env.git",
    "ssh://bot:TOKEN@forge.test/acme/env.git",
    "https://bot:TOKEN@[forge.test/acme/env.git",
    "bot:TOKEN@forge.test:acme/env.git",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_an_address_is_refused_and_not_repeated() {
    keep_logs();
    let mut wrong = vec![];
    for (address, form) in ADDRESSES.iter().flat_map(|address| forms().into_iter().map(move |form| (address, form))) {
        let url = address.replace("TOKEN", &form);
        for (provider, hosts) in [(Provider::Gitea, vec![]), (Provider::GitHub, vec!["forge.test".to_owned()])] {
            let repository = RepositorySpec::new(&url, provider, "environment-token");
            let target = WriteTarget { repository: repository.clone(), spec: spec(), extras: Extras::default() };
            let Err(refused) = WriteBack::new(target, None, &hosts, &std::sync::Arc::default()) else {
                wrong.push(format!("{address} is taken"));
                continue;
            };
            let told = remedy::remedied(refused, &repository);
            if !is("AddressRefused|RepositoryAddressRefused", told.cause.word())
                || !found(&format!("{told:?}")).is_empty()
            {
                wrong.push(format!("{address}: {told}"));
            }
        }
        let remote = Remote::Http { url, credentials: None, allow_http: true, ca: None };
        let opened = blocking(move || Session::open(&remote, "main", Limits::default())).await;
        let told = Told::of(opened.expect_err("it is refused"));
        if told.cause.word() != "AddressRefused" || !found(&told.text).is_empty() {
            wrong.push(format!("{address}: {}", told.text));
        }
    }
    assert_eq!(found(&logs()), Vec::<String>::new());
    none(&wrong);
}

// What is in the repository.

/// An entry of a tree: mode, name, object.
type Entry = (&'static str, Vec<u8>, Oid);

/// Writes a tree as it is, without libgit2's checks.
fn tree(repository: &Repository, entries: &[Entry]) -> Oid {
    let mut bytes = vec![];
    for (mode, name, id) in entries {
        bytes.extend([mode.as_bytes(), b" ", name, b"\0", id.as_bytes()].concat());
    }
    repository.odb().unwrap().write(ObjectType::Tree, &bytes).unwrap()
}

/// A new head of `main` whose manifests are these entries, or the one entry instead of their directory.
fn commit(repository: &Repository, entries: &[Entry], instead: Option<(&'static str, Oid)>) {
    let (mode, app) = instead.unwrap_or_else(|| ("40000", tree(repository, entries)));
    let (above, name) = APP.split_once('/').unwrap();
    let folder = tree(repository, &[(mode, name.into(), app)]);
    let root = repository.find_tree(tree(repository, &[("40000", above.into(), folder)])).unwrap();
    let parent = repository.find_reference("refs/heads/main").unwrap().peel_to_commit().unwrap();
    let author = git2::Signature::new("ci", "ci@example.test", &git2::Time::new(gitops::TIME, 0)).unwrap();
    repository.commit(Some("refs/heads/main"), &author, &author, "Attack", &root, &[&parent]).unwrap();
}

/// The manifests of the head.
fn manifests(repository: &Repository) -> Vec<Entry> {
    let root = repository.find_reference("refs/heads/main").unwrap().peel_to_tree().unwrap();
    let folder = repository.find_tree(root.get_path(Path::new(APP)).unwrap().id()).unwrap();
    folder.iter().map(|entry| ("100644", entry.name_bytes().to_vec(), entry.id())).collect()
}

/// What is done to an entry of the candidate's name, or to the directory.
#[derive(Clone, Copy)]
enum Shape {
    /// Another mode.
    Mode(&'static str),
    /// Another content.
    Content(&'static [u8]),
    /// So many bytes.
    Size(usize),
    /// A second entry of this mode behind it.
    Twice(&'static str),
    /// The directory with this mode.
    Directory(&'static str),
}

const ENTRIES: &[(&str, Shape, &str, &str)] = &[
    ("a link instead of the file", Shape::Mode("120000"), "UnsupportedEntry", "a symbolic link"),
    ("a submodule instead of the file", Shape::Mode("160000"), "UnsupportedEntry", "neither file nor directory"),
    ("an entry of no known kind", Shape::Mode("170000"), "UnsupportedEntry", "it is "),
    ("a link instead of the directory", Shape::Directory("120000"), "UnsupportedEntry", "a symbolic link"),
    ("a submodule instead of the directory", Shape::Directory("160000"), "UnsupportedEntry", "neither file nor"),
    ("a file instead of the directory", Shape::Directory("100644"), "UnsupportedEntry", "a file"),
    ("two files of one name", Shape::Twice("100644"), "UnsupportedEntry", "this name twice"),
    ("a file and a link of one name", Shape::Twice("120000"), "UnsupportedEntry", "this name twice"),
    (
        "a pointer of LFS",
        Shape::Content(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        "LfsPointer",
        "Git LFS pointer",
    ),
    ("an encrypted file", Shape::Content(b"kind: Deployment\nsops: {mac: x}\n"), "Encrypted", "SOPS"),
    ("bytes that are no text", Shape::Content(b"\0GITCRYPT\0\xff\xfe"), "NotText", "UTF-8"),
    ("a file that is too large", Shape::Size((1 << 20) + 1), "FileTooLarge", "1048576 bytes"),
];

fn shaped(repository: &Repository, shape: Shape) {
    let mut entries = manifests(repository);
    let at = entries.iter().position(|(_, name, _)| name == spec().from.as_bytes()).unwrap();
    let blob = |content: &[u8]| repository.blob(content).unwrap();
    let elsewhere = blob(b"../../secrets.yaml");
    let mut instead = None;
    match shape {
        Shape::Mode(mode) => entries[at] = (mode, entries[at].1.clone(), elsewhere),
        Shape::Content(content) => entries[at].2 = blob(content),
        Shape::Size(size) => entries[at].2 = blob(&vec![b'#'; size]),
        Shape::Twice(mode) => entries.insert(at + 1, (mode, entries[at].1.clone(), elsewhere)),
        Shape::Directory(mode) => instead = Some((mode, elsewhere)),
    }
    commit(repository, &entries, instead);
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_are_not_plain_files_are_refused() {
    let mut wrong = vec![];
    for (name, shape, reason, words) in ENTRIES {
        let folder = tempfile::tempdir().unwrap();
        let bare = environment(folder.path());
        shaped(&bare, *shape);
        let told = preflight(folder.path(), "main", spec()).await;
        println!("| {name} | {told:?} |");
        if !told.as_ref().is_some_and(|told| told.cause.word() == *reason && told.message.contains(words)) {
            wrong.push(format!("{name}: {told:?}"));
        }
    }
    none(&wrong);
}

/// Names that other programs might take for something else; nobody asks for them, so they are left as they are.
const NEIGHBOURS: [&[u8]; 7] =
    [b"..", b".git", b".GIT", b"a\\..\\b.yaml", b"\xff\xfe.yaml", b"..\\x.yaml", "\u{202e}lmay.yaml".as_bytes()];

#[tokio::test(flavor = "multi_thread")]
async fn hostile_neighbours_are_neither_read_nor_written() {
    for name in NEIGHBOURS {
        let folder = tempfile::tempdir().unwrap();
        let bare = environment(folder.path());
        let mut entries = manifests(&bare);
        entries.push(("100644", name.to_vec(), bare.blob(b"kind: Experiment\n").unwrap()));
        entries.sort_by(|(_, a, _), (_, b, _)| a.cmp(b));
        commit(&bare, &entries, None);
        let shown = String::from_utf8_lossy(name);
        assert_eq!(preflight(folder.path(), "main", spec()).await, None, "{shown}");
        let session = Session::open(&Remote::Local(folder.path().into()), "main", Limits::default()).unwrap();
        let change = plan_promote(&session.files().unwrap(), &spec()).unwrap();
        let paths: Vec<_> = change.files.iter().map(|file| file.path.clone()).collect();
        assert_eq!(paths, [format!("{APP}/{}", spec().to)], "{shown}");
        match session.commit(session.head(), &change, text("Promote", &author())) {
            Ok(made) => {
                session.push(&made, "main", &Lease::At(session.head().clone())).unwrap();
                let kept = entries.iter().find(|entry| entry.1 == name);
                assert_eq!(manifests(&bare).iter().find(|entry| entry.1 == name), kept, "{shown} is as it was");
            }
            Err(error) => assert_eq!(error.cause().word(), "RepositoryUnreadable", "{shown}: {error}"),
        }
    }
}

/// A candidate with this pod template, behind some lines.
fn candidate(before: &str, template: &str) -> String {
    format!(
        "{before}apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: productpage-candidate\nspec:\n  template: {template}\n"
    )
}

/// Lists of lists, each with ten times the one before.
fn laughs() -> String {
    let mut text = "x0: &x0 [ha, ha]\n".to_owned();
    for n in 1..30 {
        text += &format!("x{n}: &x{n} [{}]\n", vec![format!("*x{}", n - 1); 10].join(", "));
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn yaml_that_costs_or_misleads_is_refused() {
    let rows: Vec<(&str, String, &str)> = vec![
        ("laughs", candidate(&laughs(), "*x29"), "AliasInvolved"),
        ("laughs below", candidate(&laughs(), "{metadata: {annotations: *x29}}"), "AliasInvolved"),
        ("an anchor in itself", candidate("", "&t {spec: *t}"), "AliasInvolved|InvalidYaml"),
        ("a merge", candidate("x: &x {a: b}\n", "{<<: *x}"), "AliasInvolved"),
        ("depth by dashes", "- ".repeat(100_000), "FileTooDeep"),
        ("depth by brackets", candidate("", &"[".repeat(100_000)), "FileTooDeep|InvalidYaml"),
        ("width", (0..5000).map(|n| format!("k{n}:\n")).collect(), "FileTooComplex"),
        ("nodes", format!("- [{}]\n", "1,".repeat(3000)).repeat(60), "FileTooComplex"),
        ("a size", format!("# {}\n", "x".repeat(1 << 20)), "FileTooLarge"),
        ("a tag", candidate("x: !!python/object/apply:os.system [reboot]\n", "{}"), "UnsupportedYaml"),
        ("a key twice", candidate("kind: Service\n", "{}"), "DuplicateKey"),
        ("a line that only some see", candidate("x: a\u{2028}kind: Service\n", "{}"), "UnsupportedYaml"),
        ("a template", candidate("", "{{ .Files.Get \"/etc/passwd\" }}"), "TemplateFile"),
        ("a tab", candidate("x:\n\ty: z\n", "{}"), "TabIndentation"),
        ("a zero byte", candidate("x: \"a\0b\"\n", "{}"), "InvalidYaml|NotText|UnsupportedYaml"),
        ("two of one name", candidate("", "{}\n---") + &candidate("\n", "{}"), "Ambiguous"),
    ];
    let mut wrong = vec![];
    for (name, text, reasons) in rows {
        let folder = tempfile::tempdir().unwrap();
        let bare = environment(folder.path());
        let file = BTreeMap::from([(format!("{APP}/{}", spec().from), text.into_bytes())]);
        gitops::commit(&bare, "main", "Attack", &file);
        let told = preflight(folder.path(), "main", spec()).await;
        let line = format!("{name}: {:?}", told.as_ref().map(|told| (told.cause.word(), told.message.len())));
        println!("{line}");
        if !told.is_some_and(|told| is(reasons, told.cause.word()) && told.message.len() < 1000) {
            wrong.push(format!("{line}, wanted {reasons}"));
        }
    }
    none(&wrong);
    assert!(peak_memory() < MOST_MEMORY, "{} MiB", peak_memory() >> 20);
}

// What a server answers.

/// Who asks the server.
#[derive(Clone, Copy, Debug)]
enum Client {
    Gitea,
    GitHub,
    Git(Limits),
}

const CLIENTS: [Client; 3] = [Client::Gitea, Client::GitHub, Client::Git(HASTY)];
/// Of one git operation.
const HASTY: Limits = Limits { bytes: 64 << 20, wall_clock: Duration::from_secs(60) };

fn url(server: &Server) -> String {
    format!("{}/acme/env.git", server.address)
}

fn forge(client: Client, server: &Server) -> Option<Forge> {
    let way = Way { allow_http: true, ..Way::default() };
    let (url, token) = (url(server), Token::new(TOKEN));
    match client {
        Client::Gitea => Some(Forge::Gitea(Gitea::over(&url, Some(token), &way).unwrap())),
        Client::GitHub => Some(Forge::GitHub(GitHub::over(&url, Some(&token), &way).unwrap())),
        Client::Git(_) => None,
    }
}

/// What comes of asking the server; it must refuse.
async fn asks(client: Client, server: &Server) -> Told {
    if let Some(forge) = forge(client, server) {
        return Told::of(forge.permissions().await.expect_err("it is refused"));
    }
    let Client::Git(limits) = client else { unreachable!() };
    let credentials = Some(Token::new(TOKEN));
    let remote = Remote::Http { url: url(server), credentials, allow_http: true, ca: None };
    let opened = blocking(move || Session::open(&remote, "main", limits)).await;
    Told::of(opened.expect_err("it is refused"))
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_are_cut() {
    const FORGE: u64 = 8 << 20;
    let bomb = Limits { bytes: 4 << 20, ..HASTY };
    let announced = |announced| Attack::Large { announced };
    let rows = [
        (Client::Gitea, announced(true), "ProviderUnavailable", "the answer is too large", FORGE),
        (Client::Gitea, announced(false), "ProviderUnavailable", "the answer is too large", FORGE),
        (Client::GitHub, announced(true), "ProviderUnavailable", "the answer is too large", FORGE),
        (Client::GitHub, announced(false), "ProviderUnavailable", "the answer is too large", FORGE),
        (Client::Gitea, Attack::Headers, "ProviderUnavailable", "no connection", 0),
        (Client::GitHub, Attack::Headers, "ProviderUnavailable", "no connection", 0),
        (Client::Git(HASTY), Attack::Headers, "ProviderUnavailable", "the exchange failed", 0),
        (Client::Git(HASTY), Attack::Refs, "RepositoryTooLarge", "larger than", 32 << 20),
        (Client::Git(HASTY), Attack::Pack, "RepositoryTooLarge", "larger than", HASTY.bytes),
        (Client::Git(bomb), Attack::Bomb, "RepositoryTooLarge", "larger than", bomb.bytes),
    ];
    let mut wrong = vec![];
    for (client, attack, reason, words, most) in rows {
        let server = Server::start(attack.clone());
        let told = asks(client, &server).await;
        let line = format!("{client:?} {attack:?}: {} after {} KiB", told.cause.word(), server.sent() >> 10);
        println!("{line}, {} MiB at most so far", peak_memory() >> 20);
        if told.cause.word() != reason || !told.text.contains(words) || server.sent() > most + SLACK {
            wrong.push(format!("{line}: {}", told.text));
        }
        // It was large enough to be cut, and not just refused for its shape.
        if server.sent() < most {
            wrong.push(format!("{line}: only {} bytes were sent", server.sent()));
        }
    }
    none(&wrong);
    const { assert!(HASTY.bytes + SLACK < GIBIBYTE / 8, "cut long before the end") };
    assert!(peak_memory() < MOST_MEMORY, "{} MiB", peak_memory() >> 20);
}

/// The forges' clients wait 30 s, and so does this test.
#[tokio::test(flavor = "multi_thread")]
async fn slow_answers_end() {
    let hasty = Limits { wall_clock: Duration::from_secs(3), ..Limits::default() };
    let clients = [Client::Gitea, Client::GitHub, Client::Git(hasty)];
    let rows = clients.into_iter().flat_map(|client| [true, false].map(|body| (client, body)));
    let slow = async |client, body| {
        let server = Server::start(Attack::Slow { body });
        let told = tokio::time::timeout(Duration::from_secs(90), asks(client, &server)).await;
        let told = told.unwrap_or_else(|_| panic!("{client:?} {body} waits for ever"));
        assert_eq!(told.cause.word(), "ProviderUnavailable", "{client:?} {body}: {}", told.text);
        // The headers, and a byte for each second that somebody waited.
        let head = if body { 200 } else { 0 };
        println!("{client:?}, body {body}: ended after {} bytes: {}", server.sent(), told.text);
        assert!((1..head + 40).contains(&server.sent()), "{client:?} {body}: {} bytes", server.sent());
    };
    futures::future::join_all(rows.map(|(client, body)| slow(client, body))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed() {
    keep_logs();
    let other = Server::start(Attack::Json("{}".into()));
    let new =
        NewPull { head: "iter8/x".into(), base: "main".into(), title: "t".into(), body: "b".into(), draft: false };
    for status in [301, 302, 303, 307, 308] {
        for client in CLIENTS {
            let to = format!("{}/acme/env.git/info/refs?token={}", other.address, forms()[1]);
            let server = Server::start(Attack::Redirect(status, to));
            let mut refused = vec![asks(client, &server).await];
            if let Some(forge) = forge(client, &server) {
                refused.push(Told::of(forge.open(&new).await.unwrap_err()));
                refused.push(Told::of(forge.comment(7, "b").await.unwrap_err()));
                refused.push(Told::of(forge.close(7).await.unwrap_err()));
            }
            for told in refused {
                assert_eq!(told.cause.word(), "RepositoryMoved", "{client:?} {status}: {}", told.text);
                assert_eq!(found(&told.text), Vec::<String>::new());
                assert!(!told.text.contains(&other.address), "{}", told.text);
            }
            assert!(server.asked().iter().all(|asked| asked.credential.is_some()), "the first one gets the token");
        }
    }
    assert!(other.asked().is_empty(), "{:?}", other.asked());
    assert_eq!(found(&logs()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_promise_something_else_are_refused() {
    let deep = format!("{}{}", "[".repeat(1 << 20), "]".repeat(1 << 20));
    let object = format!("{{\"archived\": {deep}}}");
    for body in [deep.as_str(), &object, "", "null", "{\"permissions\": {\"push\": \"yes\"}}", "<html>", "\0"] {
        for client in CLIENTS {
            let told = asks(client, &Server::start(Attack::Json(body.into()))).await;
            let start = &body[..body.len().min(20)];
            assert_eq!(told.cause.word(), "ProviderUnavailable", "{client:?} {start}: {}", told.text);
        }
    }
    // What nobody asked for is skipped, however deep it is, and gives no rights.
    for client in [Client::Gitea, Client::GitHub] {
        let server = Server::start(Attack::Json(format!("{{\"more\": {deep}}}")));
        let rights = forge(client, &server).unwrap().permissions().await.unwrap();
        assert_eq!(rights, Permissions { can_push: false, can_pull: false });
    }
}

/// An answer's addresses are not those that people see, and its commit is one only if it looks like one.
#[tokio::test(flavor = "multi_thread")]
async fn addresses_in_answers_are_not_shown() {
    let side = r#"{"ref": "iter8/x", "label": "iter8/x", "sha": "--help", "repo": {"id": 1}}"#;
    let body = format!(
        r#"{{"number": 7, "state": "open", "url": "https://evil.test/", "html_url": "https://evil.test/", "head": {side}, "base": {side}}}"#
    );
    for client in [Client::Gitea, Client::GitHub] {
        let server = Server::start(Attack::Json(body.clone()));
        let pull = forge(client, &server).unwrap().get(7).await.unwrap().unwrap();
        assert!(pull.url.starts_with(&format!("{}/acme/env/pull", server.address)), "{}", pull.url);
        assert_eq!(pull.head, None);
        assert!(!format!("{pull:?}").contains("evil"));
    }
}

// Where the token goes.

#[test]
fn the_token_is_recognised_in_all_its_forms() {
    use base64::Engine as _;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("x-access-token:{TOKEN}"));
    let other = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("a:{TOKEN}"));
    for text in forms().into_iter().chain([format!("Bearer {TOKEN}!"), basic, other]) {
        assert_ne!(found(&format!("before {text} after")), Vec::<String>::new(), "{text}");
    }
    assert_eq!(found("R8x+9zQ and nothing more"), Vec::<String>::new());
}

/// Everything that a server can make the clients say, and all that they send and log.
#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_told_to_its_server_alone() {
    keep_logs();
    let new =
        NewPull { head: "iter8/x".into(), base: "main".into(), title: "t".into(), body: "b".into(), draft: false };
    let extras = Extras { labels: vec!["l".into()], reviewers: vec!["r".into(), "s".into()], draft: false };
    let attacks = [
        Attack::Repeat,
        Attack::GitError,
        Attack::Headers,
        Attack::Json("{}".into()),
        Attack::Redirect(307, "http://127.0.0.1:1/".into()),
    ];
    for (attack, client) in attacks.iter().flat_map(|attack| CLIENTS.map(|client| (attack, client))) {
        let server = Server::start(attack.clone());
        let mut said = vec![];
        if let Some(forge) = forge(client, &server) {
            said.push(format!("{:?} {forge:?}", forge.permissions().await));
            said.extend(
                [forge.open(&new).await.err(), forge.get(7).await.err()]
                    .map(|e| e.map_or_else(String::new, |e| Told::of(e).text)),
            );
            said.extend(
                [forge.close(7).await.err(), forge.comment(7, "b").await.err()]
                    .map(|e| e.map_or_else(String::new, |e| Told::of(e).text)),
            );
            said.extend(forge.annotate(7, &extras).await);
        } else {
            said.push(asks(client, &server).await.text);
        }
        for said in &said {
            assert_eq!(found(said), Vec::<String>::new(), "{client:?} {attack:?}: {said}");
            assert!(!said.contains('\u{1b}'), "{client:?} {attack:?}: {said}");
            assert!(said.len() < 4000, "{client:?} {attack:?}: {said}");
        }
        let repeats = matches!(
            (attack, client),
            (Attack::Repeat, Client::Gitea | Client::GitHub) | (Attack::GitError, Client::Git(_))
        );
        assert!(!repeats || said.iter().any(|said| said.contains("redacted")), "{client:?} {attack:?}: {said:?}");
        for asked in server.asked() {
            assert_eq!(found(&format!("{}{}", asked.line, asked.rest)), Vec::<String>::new(), "{asked:?}");
            assert!(asked.credential.is_some_and(|credential| !found(&credential).is_empty()), "it was used");
        }
    }
    through_the_write_back().await;
    let logged = logs();
    assert_eq!(found(&logged), Vec::<String>::new());
    assert!(
        logged.contains("127.0.0.1") && logged.contains("TRACE"),
        "the libraries' logs were kept: {} bytes",
        logged.len()
    );
}

/// A hook knows whom it refuses, and may say with what: that is told without the token, however often it is repeated.
#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_prints_the_token_is_told_without_it() {
    use base64::Engine as _;
    use std::os::unix::fs::PermissionsExt as _;
    let token = git_server::TOKEN;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("x-access-token:{token}"));
    let root = tempfile::tempdir().unwrap();
    environment(&root.path().join("env.git"));
    let server = git_server::Server::start(root.path()).await;
    let remote =
        Remote::Http { url: server.url("env.git"), credentials: Some(Token::new(token)), allow_http: true, ca: None };
    for (hook, times) in [("pre-receive", 1), ("update", 1), ("pre-receive", 200)] {
        let file = root.path().join("env.git/hooks").join(hook);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let line = format!("no push with {token} or Authorization: Basic {basic}; ").repeat(times);
        std::fs::write(&file, format!("#!/bin/sh\nprintf '%s' '{line}' >&2\nexit 1\n")).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let remote = remote.clone();
        let refused = blocking(move || {
            let session = Session::open(&remote, "main", Limits::default())?;
            let change = plan_promote(&session.files()?, &spec()).unwrap();
            let commit = session.commit(session.head(), &change, text("Promote", &author()))?;
            Ok::<_, RepositoryError>(session.push(&commit, "iter8/x", &Lease::Absent))
        });
        let told = Told::of(refused.await.unwrap().unwrap_err());
        assert_eq!(told.cause.word(), "HookRejected", "{}", told.text);
        assert!(told.text.contains("no push with redacted"), "{hook}: {}", told.text);
        let kept = [token, basic.as_str()].iter().any(|secret| told.text.contains(secret));
        assert!(!kept && told.text.len() < 4000, "{hook}: {}", told.text);
        std::fs::remove_file(file).unwrap();
    }
}

/// What a status and an Event would hold.
async fn through_the_write_back() {
    for provider in [Provider::Gitea, Provider::GitHub] {
        let server = Server::start(Attack::Repeat);
        let repository = RepositorySpec::new(&url(&server), provider, "environment-token");
        let target = WriteTarget { repository, spec: spec(), extras: Extras::default() };
        let credential = Some(Credential::Token(Token::new(TOKEN)));
        let shown = format!("{credential:?}");
        let write_back =
            WriteBack::new(target, credential, &["127.0.0.1".to_owned()], &std::sync::Arc::default()).unwrap();
        let told = write_back.remedied(write_back.preflight().await.unwrap_err());
        assert_eq!(told.cause.word(), "RequestRefused", "{told}");
        assert_eq!(found(&format!("{told} {told:?} {shown}")), Vec::<String>::new());
        assert!(told.message.contains("redacted"), "{told}");
    }
}

// The page.

#[test]
fn every_attack_has_a_test_that_runs() {
    named_tests::check("docs/security.md", 'S', ROWS);
}
