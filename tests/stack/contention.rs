//! Many experiments that finish together on one base branch of a real Gitea: all land, and nothing is written twice.
//!
//! Starts Gitea alone, with the code of `hack/stack`, and stops it. The experiments take turns as a controller lets them, on
//! clones that they share, while a person merges what can be merged. Where nothing can be, time is skipped, for the waits of
//! the engine are made for people.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::gitops::{self, APP, fixture};
use crate::support::layouts;
use crate::support::layouts::Tree;
use crate::support::life::Life;
use crate::support::life::proxy::Proxy;
use crate::support::stack::gitea::{Gitea, Server};
use jiff::{SignedDuration, Timestamp};
use reiter8::engine::{Handover, Outcome, Wake};
use reiter8::gitops::repository::Clones;
use tokio::sync::{Notify, Semaphore, watch};

/// Experiments whose files nobody else changes.
const OWN: usize = 44;
/// Experiments that share one kustomization, in neighbouring lines.
const SHARED: usize = 6;
/// Turns at the same time, as many as a controller lets be taken.
const AT_ONCE: usize = 16;
/// After so long nobody waits any more, on however busy a machine.
const PATIENCE: Duration = Duration::from_mins(15);
/// The person's pause between two tries.
const LOOK: Duration = Duration::from_millis(100);
/// After so long in which nothing could be merged, a person looks why.
const BELIEF: Duration = Duration::from_secs(3);
/// What is skipped then.
const PAUSE: Duration = Duration::from_secs(10);

/// An experiment's files before it, with it and after its promotion, and its own manifest.
struct Case {
    before: Tree,
    started: Tree,
    promoted: Tree,
    manifest: String,
}

/// One with a directory of its own.
fn own(i: usize) -> Case {
    let service = format!("service-{i:02}");
    let renamed = |state: &str| -> Tree {
        let text = |content: Vec<u8>| String::from_utf8(content).unwrap().replace("productpage", &service).into_bytes();
        fixture(state)
            .into_iter()
            .map(|(path, content)| (path.replace("productpage", &service), text(content)))
            .collect()
    };
    let path = format!("{}/experiment.yaml", APP.replace("productpage", &service));
    let started = renamed("started");
    let manifest = String::from_utf8(started[&path].clone()).unwrap();
    Case { before: renamed("before"), started, promoted: renamed("promoted"), manifest }
}

/// The directory of those that share it.
const SHOP: &str = "apps/shop";

/// One in the shared directory, without the kustomization.
fn shared(name: &str) -> Case {
    let at = |file: &str| format!("{SHOP}/{file}");
    let workload = |name: &str, image: &str, version: &str, stars: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {name}\nspec:\n  selector:\n    matchLabels: {{app: {name}, version: {version}}}\n  template:\n    metadata:\n      labels: {{app: {name}, version: {version}}}\n    spec:\n      containers:\n      - name: app\n        image: {image}\n        env:\n        - name: STARS\n          value: '{stars}'\n"
        )
        .into_bytes()
    };
    let manifest = format!(
        "apiVersion: iter8.tools/v2alpha2
kind: Experiment
metadata: {{name: {name}-x7k2p, namespace: shop}}
spec:
  target: shop/{name}
  strategy: {{testingPattern: Canary}}
  versionInfo:
    baseline: {{name: stable, workload: {{name: {name}}}, destination: {{subset: stable}}}}
    candidates:
    - {{name: candidate, workload: {{name: {name}-candidate}}, destination: {{subset: candidate}}}}
  traffic: {{virtualService: {name}, routes: [{name}], host: {name}}}
  criteria:
    objectives:
    - {{metric: istio/error-rate, upperLimit: 1%}}
  gitops:
    repository: platform/environment
    path: {SHOP}
    layout: Kustomize
    promote: {{from: {name}-candidate.yaml, to: {name}.yaml}}
"
    );
    let image = format!("ghcr.io/acme/{name}");
    let baseline = |stars: &str| (at(&format!("{name}.yaml")), workload(name, &image, "stable", stars));
    let candidate = format!("{name}-candidate");
    Case {
        before: [baseline("off")].into(),
        started: [
            baseline("off"),
            (at(&format!("{candidate}.yaml")), workload(&candidate, &candidate, "candidate", "on")),
            (at(&format!("{name}-experiment.yaml")), manifest.clone().into_bytes()),
        ]
        .into(),
        promoted: [baseline("on")].into(),
        manifest,
    }
}

/// The kustomization of the shared directory.
fn kustomization(names: &[String], experiments: bool, tag: &str) -> (String, Vec<u8>) {
    let mut text = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n".to_owned();
    let lines = |line: &dyn Fn(&String) -> String| names.iter().map(line).collect::<String>();
    text += &lines(&|n| format!("- {n}.yaml\n"));
    if experiments {
        text += &lines(&|n| format!("- {n}-candidate.yaml\n- {n}-experiment.yaml\n"));
    }
    text += "images:\n";
    text += &lines(&|n| format!("- {{name: ghcr.io/acme/{n}, newTag: {tag}}}\n"));
    if experiments {
        text += &lines(&|n| format!("- {{name: {n}-candidate, newName: ghcr.io/acme/{n}, newTag: v1.3.0}}\n"));
    }
    (format!("{SHOP}/kustomization.yaml"), text.into_bytes())
}

/// A new repository whose `main` has these files, by one push.
async fn environment(server: &Server, name: &str, files: &Tree) -> Gitea {
    let forge = Gitea::new(&server.url, &server.bot, name);
    forge.create().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let bare = git2::Repository::init_bare(dir.path()).unwrap();
    gitops::commit(&bare, "main", "The environment with its experiments", files);
    let header = format!("http.extraHeader=Authorization: token {}", server.bot);
    let push = Command::new("git")
        .arg("-C")
        .arg(dir.path())
        .args(["-c", &header, "push", "-q", "-f", &forge.clone_url(), "refs/heads/main"])
        .output()
        .unwrap();
    assert!(push.status.success(), "{}", String::from_utf8_lossy(&push.stderr));
    forge
}

/// The wall's time, of which a part can be skipped.
struct Clock {
    began: Instant,
    at: Timestamp,
    skipped: watch::Sender<Duration>,
}

impl Clock {
    fn now(&self) -> Timestamp {
        self.at + SignedDuration::try_from(self.began.elapsed() + *self.skipped.borrow()).unwrap()
    }

    /// A time in which nothing would happen.
    fn skip(&self, time: Duration) {
        self.skipped.send_modify(|skipped| *skipped += time);
    }

    async fn reaches(&self, time: Timestamp) {
        let mut skipped = self.skipped.subscribe();
        loop {
            let left = Duration::try_from(time.duration_since(self.now())).unwrap_or_default();
            if left.is_zero() {
                return;
            }
            let _ = tokio::time::timeout(left, skipped.changed()).await;
        }
    }
}

/// What experiments that take turns have in common.
struct Together {
    clock: Clock,
    turns: Semaphore,
    over: AtomicBool,
    taken: AtomicUsize,
    failed: Mutex<BTreeMap<&'static str, usize>>,
}

impl Together {
    fn new() -> Self {
        let clock = Clock {
            began: Instant::now(),
            at: "2026-01-02T03:04:05Z".parse().unwrap(),
            skipped: watch::channel(Duration::ZERO).0,
        };
        Self {
            clock,
            turns: Semaphore::new(AT_ONCE),
            over: AtomicBool::new(false),
            taken: AtomicUsize::new(0),
            failed: Mutex::default(),
        }
    }

    /// Lets one experiment take its turns until all is over, as the controller would.
    async fn live(&self, life: &Life, called: &Notify) {
        let mut failures = 0_u32;
        while !self.over.load(Ordering::Relaxed) {
            let permit = self.turns.acquire().await.unwrap();
            let turned = life.turn_at(self.clock.now()).await;
            drop(permit);
            self.taken.fetch_add(1, Ordering::Relaxed);
            let called = called.notified();
            match turned {
                Ok(wake) => {
                    failures = 0;
                    match wake {
                        Wake::At(time) => {
                            tokio::select! { () = self.clock.reaches(time) => {}, () = called => {} }
                        }
                        Wake::OnChange => called.await,
                    }
                }
                Err(u) => {
                    *self.failed.lock().unwrap().entry(u.cause.word()).or_default() += 1;
                    failures += 1;
                    let pause = Duration::from_millis(250) * 2_u32.pow(failures.min(8) - 1);
                    // As random as the order in which they come here.
                    let part = u32::try_from(self.taken.load(Ordering::Relaxed) % 16).unwrap();
                    tokio::time::sleep(pause / 2 + pause / 32 * part).await;
                }
            }
        }
    }

    /// Lets all of them take their turns while somebody looks on.
    async fn live_all(&self, lives: &[Life], calls: &[Notify], person: impl Future<Output = ()>) {
        let turns = futures::future::join_all(lives.iter().zip(calls).map(|(life, called)| self.live(life, called)));
        let until_over = async {
            person.await;
            self.over.store(true, Ordering::Relaxed);
            calls.iter().for_each(Notify::notify_one);
        };
        futures::future::join(until_over, turns).await;
    }

    fn print(&self, took: &[(String, Duration)], repository: &str) {
        let mut kinds: BTreeMap<String, (usize, Duration)> = BTreeMap::new();
        for (call, took) in took {
            let sum = kinds.entry(kind(call, repository)).or_default();
            *sum = (sum.0 + 1, sum.1 + *took);
        }
        let (turns, failed) = (self.taken.load(Ordering::Relaxed), self.failed.lock().unwrap());
        println!("  {turns} turns, {} calls; turns that failed: {failed:?}", took.len());
        for (kind, (count, took)) in kinds {
            println!("  {count:6} x {:5.0} ms {kind}", took.as_secs_f64() * 1000.0 / count as f64);
        }
    }
}

/// What kind of call a request at the proxy was.
fn kind(call: &str, repository: &str) -> String {
    let call = call
        .replace(&format!("/api/v1/repos/bot/{repository}"), "api")
        .replace(&format!("/bot/{repository}.git"), "git");
    let words = call.split('/').map(|word| {
        if word.parse::<u64>().is_ok() {
            "N"
        } else if word.starts_with("iter8%2F") {
            "BRANCH"
        } else {
            word
        }
    });
    words.collect::<Vec<_>>().join("/")
}

/// The experiments of a repository, and its files with them and after their promotions.
struct World {
    cases: Vec<Case>,
    before: Tree,
    started: Tree,
    promoted: Tree,
}

impl World {
    fn new() -> Self {
        let names: Vec<String> = (0..SHARED).map(|i| format!("part-{i}")).collect();
        let cases: Vec<Case> = (0..OWN).map(own).chain(names.iter().map(|name| shared(name))).collect();
        let all = |(path, kustomization): (String, Vec<u8>), states: &[fn(&Case) -> &Tree]| {
            let mut tree = Tree::from([(path, kustomization)]);
            for state in states {
                tree.extend(cases.iter().flat_map(|case| state(case).clone()));
            }
            tree
        };
        let before = all(kustomization(&names, false, "v1.2.0"), &[|c| &c.before]);
        let started = all(kustomization(&names, true, "v1.2.0"), &[|c| &c.before, |c| &c.started]);
        let promoted = all(kustomization(&names, false, "v1.3.0"), &[|c| &c.before, |c| &c.promoted]);
        Self { cases, before, started, promoted }
    }

    /// All verdicts fall now; the i-th experiment is on the clones of that number, modulo how many there are.
    async fn decided(&self, place: (&str, &str), outcome: Outcome, handover: Handover, clones: &[Clones]) -> Vec<Life> {
        let lives = self.cases.iter().zip(clones.iter().cycle()).map(async |(case, clones)| {
            let life = Life::about(place, layouts::parse(&case.manifest), outcome, handover).unwrap();
            life.sharing(clones).rehearsed().await.unwrap()
        });
        futures::future::join_all(lives).await
    }
}

/// The files on `main`, as git has them.
fn left(forge: &Gitea) -> Tree {
    let dir = tempfile::tempdir().unwrap();
    let bare = git2::build::RepoBuilder::new().bare(true).clone(&forge.clone_url(), dir.path()).unwrap();
    gitops::files(&bare, "main")
}

/// Open requests by number, and whether Gitea says that they can be merged.
async fn open(forge: &Gitea) -> BTreeMap<u64, bool> {
    let open = forge.open().await.unwrap();
    open.iter().map(|pull| (pull["number"].as_u64().unwrap(), pull["mergeable"] == true)).collect()
}

/// Which requests git itself cannot merge: Gitea says the same of those that it has not looked at yet.
fn in_conflict(forge: &Gitea, numbers: impl Iterator<Item = u64>) -> Vec<u64> {
    let dir = tempfile::tempdir().unwrap();
    let bare = git2::build::RepoBuilder::new().bare(true).clone(&forge.clone_url(), dir.path()).unwrap();
    let commit = |name: &str| bare.find_reference(name).unwrap().peel_to_commit().unwrap();
    let conflicts = |number: &u64| {
        let head = format!("refs/pull/{number}/head");
        bare.find_remote("origin").unwrap().fetch(&[format!("+{head}:{head}")], None, None).unwrap();
        bare.merge_commits(&commit("refs/heads/main"), &commit(&head), None).unwrap().has_conflicts()
    };
    numbers.filter(conflicts).collect()
}

/// A person who merges what can be merged, until everything has landed; how many that were.
async fn merge_all(forge: &Gitea, reviewer: &Gitea, together: &Together, lives: &[Life], calls: &[Notify]) -> usize {
    let (began, mut merged, mut last, mut told) = (Instant::now(), 0, Instant::now(), 0);
    loop {
        let requests = open(forge).await;
        if requests.is_empty() && lives.iter().all(Life::rests) {
            return merged;
        }
        for (number, _) in requests.iter().filter(|(_, mergeable)| **mergeable) {
            // After the first merge Gitea finds out about all others anew.
            if !reviewer.try_merge(*number).await.unwrap() {
                break;
            }
            (merged, last) = (merged + 1, Instant::now());
        }
        if merged >= told + 10 {
            told = merged;
            println!("  {merged} merged after {:.0} s", began.elapsed().as_secs_f64());
        }
        if last.elapsed() > BELIEF {
            let stuck = in_conflict(forge, requests.keys().copied());
            for (life, called) in lives.iter().zip(calls) {
                // What nobody looks at any more is asked for anew.
                if life.rests() && life.number().is_some_and(|n| stuck.contains(&n)) {
                    life.retry();
                    called.notify_one();
                }
            }
            together.clock.skip(PAUSE);
            last = Instant::now();
        }
        assert!(began.elapsed() < PATIENCE, "{:?}", lives.iter().map(Life::place).collect::<Vec<_>>());
        tokio::time::sleep(LOOK).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_experiments_that_finish_together_all_land() {
    let (server, world) = (Server::start("contention").unwrap(), World::new());
    let forge = environment(&server, "environment", &world.started).await;
    let reviewer = Gitea::new(&server.url, &server.reviewer, &forge.repository);
    let proxy = Proxy::counting(&server.url).await.unwrap();
    let (url, began) = (proxy.before(&forge.clone_url()), Instant::now());
    let promoted = (Outcome::Promote, Handover::TwoPullRequests);
    let lives = world.decided((&url, &server.bot), promoted.0, promoted.1, &[Clones::default()]).await;
    println!("\n  {} rehearsals in {:.1} s", lives.len(), began.elapsed().as_secs_f64());

    let (together, rehearsed) = (Together::new(), proxy.took().len());
    let calls: Vec<Notify> = lives.iter().map(|_| Notify::new()).collect();
    let person = async {
        let began = Instant::now();
        while lives.iter().any(|life| life.number().is_none()) {
            assert!(began.elapsed() < PATIENCE, "{:?}", lives.iter().map(Life::place).collect::<Vec<_>>());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("  verdict to {} open requests: {:.1} s", lives.len(), began.elapsed().as_secs_f64());
        together.print(&proxy.took()[rehearsed..], &forge.repository);
        let merged = merge_all(&forge, &reviewer, &together, &lives, &calls).await;
        assert_eq!(merged, 2 * lives.len());
    };
    together.live_all(&lives, &calls, person).await;
    println!("  all landed after {:.1} s", together.clock.began.elapsed().as_secs_f64());
    together.print(&proxy.took()[rehearsed..], &forge.repository);

    let renewals: Vec<usize> =
        lives.iter().map(|life| life.progress().stages.iter().filter(|s| s.closed()).count()).collect();
    let (requests, renewed) = (forge.pulls().await.unwrap().len(), renewals.iter().sum::<usize>());
    println!("  {requests} requests, {renewed} renewals: {renewals:?}; {} clones", proxy.clones());
    layouts::assert_same(&left(&forge), &world.promoted, "main");
    assert!(lives.iter().all(Life::completed));
    // Whose files nobody else changes is never in conflict, however long the forge takes to say so.
    assert_eq!(renewals[..OWN], [0; OWN]);
    assert!(renewed > 0, "neighbouring lines were never in conflict");
    assert_eq!(requests, 2 * lives.len() + renewed);
    assert_eq!(open(&forge).await, BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_commits_to_one_branch_are_neither_lost_nor_doubled() {
    let (server, world) = (Server::start("commits").unwrap(), World::new());
    let forge = environment(&server, "environment", &world.started).await;
    let started = forge.commits().unwrap();
    let proxy = Proxy::counting(&server.url).await.unwrap();
    // Two processes, which know nothing of each other.
    let clones = [Clones::default(), Clones::default()];
    let discarded = (Outcome::Discard, Handover::CommitToBase);
    let url = proxy.before(&forge.clone_url());
    let lives = world.decided((&url, &server.bot), discarded.0, discarded.1, &clones).await;
    let (together, rehearsed) = (Together::new(), proxy.took().len());
    let calls: Vec<Notify> = lives.iter().map(|_| Notify::new()).collect();
    let person = async {
        let began = Instant::now();
        while !lives.iter().all(Life::rests) {
            assert!(began.elapsed() < PATIENCE, "{:?}", lives.iter().map(Life::place).collect::<Vec<_>>());
            together.clock.skip(LOOK);
            tokio::time::sleep(LOOK).await;
        }
    };
    together.live_all(&lives, &calls, person).await;
    println!("\n  verdict to {} commits: {:.1} s", lives.len(), together.clock.began.elapsed().as_secs_f64());
    together.print(&proxy.took()[rehearsed..], &forge.repository);
    println!("  {} clones", proxy.clones());
    layouts::assert_same(&left(&forge), &world.before, "main");
    assert_eq!(forge.commits().unwrap() - started, lives.len());
    assert_eq!(forge.branches().await.unwrap(), ["main"]);
    assert_eq!(forge.pulls().await.unwrap(), Vec::<serde_json::Value>::new());
}
