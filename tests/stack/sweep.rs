//! The write-back on a real Gitea that is hard to reach: requests are cut, lost, delayed and repeated, and every life ends
//! as the undisturbed one did. The sweep over every call is `promotion/crash_sweep.rs`; this is a sample of it on a real
//! forge.
//!
//! Starts Gitea alone, with the code of `hack/stack`, and stops it. One line for each life.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::support::gitops::{APP, fixture, spec};
use crate::support::life::Life;
use crate::support::life::proxy::{Fault, Nth, Proxy, writes};
use crate::support::stack::gitea::{Gitea, Server};
use futures::StreamExt as _;
use reiter8::engine::{Handover, Outcome, StageState};

/// Lives with one fault each, of every outcome.
const CUTS: usize = 6;
/// Lives that are played side by side: while one waits for Gitea, others have work.
const AT_ONCE: usize = 3;
/// So many of them are about writes.
const WRITES: usize = 4;
/// Turns that a life may take: an undisturbed one takes a tenth.
const TURNS: usize = 200;

/// What is left of a life.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    files: BTreeMap<String, String>,
    branches: usize,
    /// Commits of the base branch itself: each merge is one.
    commits: usize,
    /// Requests that are open or merged, and those of them that were merged.
    requests: (usize, usize),
}

/// What a life did, and what is left of it.
struct Ended {
    left: Left,
    calls: Vec<String>,
    struck: Vec<(Fault, String)>,
    turns: usize,
}

/// A new repository with the experiment in it.
async fn environment(server: &Server, name: &str) -> Gitea {
    let forge = Gitea::new(&server.url, &server.bot, name);
    forge.create().await.unwrap();
    let files: BTreeMap<String, Vec<u8>> = fixture("before").into_iter().chain(fixture("started")).collect();
    let files: Vec<(&str, String)> =
        files.iter().map(|(path, content)| (path.as_str(), String::from_utf8(content.clone()).unwrap())).collect();
    let files: Vec<_> = files.iter().map(|(path, content)| (*path, Some(content.as_str()))).collect();
    forge.commit("Start the experiment", &files).await.unwrap();
    forge
}

/// Plays a life in which this request goes wrong.
async fn live(server: &Server, name: &str, outcome: Outcome, fault: Option<(Nth, Fault)>) -> Ended {
    let forge = environment(server, name).await;
    let reviewer = Gitea::new(&server.url, &server.reviewer, name);
    let started = forge.commits().unwrap();
    let proxy = Proxy::start(&server.url, fault.into_iter().collect()).await.unwrap();
    let life =
        Life::decided((&forge.clone_url(), &server.bot), spec(), outcome, Handover::TwoPullRequests).await.unwrap();
    let life = life.moved(&proxy.before(&forge.clone_url()));
    let mut turns = 0;
    loop {
        turns += 1;
        assert!(turns < TURNS, "{name}: {}", life.place());
        // What failed is tried again by the next turn. Once it waits for people, the reviewer merges what is open.
        if !matches!(life.turn().await, Ok(true)) {
            continue;
        }
        let open: Vec<u64> = forge.open().await.unwrap().iter().filter_map(|p| p["number"].as_u64()).collect();
        for number in &open {
            // A busy Gitea may not know yet whether it can be merged: the next round tries again.
            let _ = reviewer.merge(*number).await;
        }
        // The branch of the last one goes with the look that sees its merge.
        let done = life.progress().stages.iter().all(|s| s.state() == StageState::Done);
        if life.rests() && open.is_empty() && done {
            break;
        }
    }
    let struck = proxy.settled().await;
    let pulls = forge.pulls().await.unwrap();
    let merged = pulls.iter().filter(|p| p["merged"] == true).count();
    // An opening that met another one under way leaves one that is closed.
    let made = pulls.iter().filter(|p| p["merged"] == true || p["state"] == "open").count();
    let mut files = BTreeMap::new();
    for path in forge.files().await.unwrap().into_iter().filter(|path| path.starts_with(APP)) {
        files.insert(path.clone(), forge.file(&path).await.unwrap());
    }
    let left = Left {
        files,
        branches: forge.branches().await.unwrap().len(),
        commits: forge.commits().unwrap() - started,
        requests: (made, merged),
    };
    let place = |call: &str| call.replace(name, "REPOSITORY");
    let calls = proxy.requests().iter().map(|call| place(call)).collect();
    let struck = struck.iter().map(|(fault, call)| (*fault, place(call))).collect();
    Ended { left, calls, struck, turns }
}

/// A reproducible sequence of numbers (splitmix64).
struct Seeded {
    state: u64,
    offset: usize,
}

impl Seeded {
    fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ z >> 31) % bound as u64).unwrap()
    }

    /// Each fault in its turn, from another one on for every seed.
    fn fault(&self, cut: usize) -> Fault {
        Fault::ALL[(cut + self.offset) % Fault::ALL.len()]
    }
}

/// The request that a cut is about: first the writes, which are few, one after the other; then any of the others.
fn nth(calls: &[String], cut: usize, random: &mut Seeded) -> Nth {
    let (writes, reads): (Vec<&String>, Vec<&String>) = calls.iter().partition(|call| writes(call));
    if cut < WRITES { (true, cut % writes.len()) } else { (false, random.below(reads.len())) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forge_that_is_hard_to_reach_changes_no_end() {
    let server = Server::start("sweep").unwrap();
    let seed = std::env::var("REITER8_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20);
    let (mut random, began, server) = (Seeded { state: seed, offset: 0 }, Instant::now(), &server);
    let (mut wrong, mut struck) = (vec![], 0);
    for (outcome, branches, requests) in [(Outcome::Promote, 1, 2), (Outcome::Discard, 1, 1)] {
        let word = outcome.as_str().to_lowercase();
        let calm = live(server, &format!("{word}-calm"), outcome, None).await;
        println!("  {word}: {} requests in {} turns", calm.calls.len(), calm.turns);
        let made = (calm.left.branches, calm.left.commits, calm.left.requests);
        assert_eq!(made, (branches, requests, (requests, requests)));
        random.offset += random.below(Fault::ALL.len());
        let faults: Vec<(Nth, Fault)> =
            (0..CUTS).map(|cut| (nth(&calm.calls, cut, &mut random), random.fault(cut))).collect();
        let lives = faults
            .iter()
            .enumerate()
            .map(async |(cut, fault)| live(server, &format!("{word}-{cut}"), outcome, Some(*fault)).await);
        let lives: Vec<Ended> = futures::stream::iter(lives).buffered(AT_ONCE).collect().await;
        for ended in lives {
            println!("  {word}: {:?}: {} turns", ended.struck, ended.turns);
            struck += ended.struck.len();
            if ended.left != calm.left {
                wrong.push(format!("{word}, seed {seed}: {:?} left {:?}", ended.struck, ended.left));
            }
        }
    }
    println!("  seed {seed}: {} lives in {:.1} s", 2 * CUTS + 2, began.elapsed().as_secs_f64());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // How often a life asks depends on Gitea's pace; one that asked less often than the first met no fault.
    assert!(struck >= 2 * CUTS - 2, "only {struck} faults came to pass");
}
