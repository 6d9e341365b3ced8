//! Foreign text in requests, as a real Gitea renders it: it can neither mention anybody, nor refer to an issue, link,
//! bring an image, nor break a table.
//!
//! Each text is read from Gitea's own page, where it knows its repository, users and issues; the control is the text
//! itself, which does all of that. Starts Gitea alone, with the code of `hack/stack`, and stops it.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::stack::gitea::{Gitea, Server};
use regex::Regex;
use reiter8::engine::{
    ArmRow, Guarded, Handover, News, Outcome, Reason, Report, Request, Row, Rule, Running, Stage, Verdict,
};
use reiter8::gitops::edit::FieldChange;
use reiter8::gitops::plan::{Change, FileChange, FileOp};
use reiter8::gitops::render::{Proposed, commit_message, marked, title};
use reiter8::gitops::tree::{BlobId, CommitId};
use serde_json::json;

/// What people could write into a name, a version, a metric, a path or a value.
const HOSTILE: [&str; 14] = [
    "@reviewer",
    "#1",
    "fixes #1",
    "closes bot/texts#1, resolves !1",
    "![](http://images.example/x.png)",
    "[here](http://links.example) https://links.example/bot/texts/issues/1",
    "a | b | @reviewer | #1",
    "`@reviewer` ``#1`` ```x``` `",
    "``` @reviewer fixes #1",
    "<img src=x onerror=alert(1)> <a href=http://links.example>x</a>",
    "first\n\n# Heading\n\n- @reviewer\n| a | b |\n|---|---|\n| #1 | x |\n",
    "--> @reviewer fixes #1 <!--",
    "\u{202e}fixes #1\u{202c} \u{200b}@reviewer",
    "\\` @reviewer \\| #1 $`x`$ $$y$$ :tada: [^1] ***",
];

/// Tags that our own texts are made of.
const OURS: [&str; 12] = ["p", "code", "strong", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "br"];

/// A request in which everything that is not ours is this text, and what it changes.
fn proposed(text: &str) -> (Request, Change) {
    let foreign = || text.to_owned();
    let running = || Running { name: foreign(), workload: foreign(), images: vec![foreign(), foreign()] };
    let row = |candidate: Option<String>| Row {
        metric: foreign(),
        candidate,
        rule: Rule::Share { limit: 0.01 },
        limit: 0.01,
        requests: 12_345.0,
        bad: 12.0,
        estimate: Some(0.001),
        interval: Some((0.0005, 0.0017)),
        fail: 0.1,
        pass: 21.3,
        needed_fail: 20.0,
        needed_pass: 20.0,
        verdict: Verdict::Pass,
    };
    let out = ArmRow {
        name: foreign(),
        values: 4321.0,
        mean: Some(1.5),
        against: 2.0,
        needed: 20.0,
        racing: false,
        left: Some(foreign()),
    };
    let arm = ArmRow { racing: true, left: None, ..out.clone() };
    let at = "2026-01-02T03:04:05Z".parse().unwrap();
    let guarded = Guarded { since: at, windows: 3, rows: vec![row(None)] };
    let report = Report {
        namespace: foreign(),
        name: foreign(),
        uid: foreign(),
        target: foreign(),
        outcome: Outcome::Promote,
        reason: Reason::Proven,
        baseline: running(),
        candidate: running(),
        others: vec![running()],
        race: Some((foreign(), vec![arm, out])),
        rows: std::iter::repeat_with(|| row(Some(foreign()))).take(3).collect(),
        weight: 50,
        seconds: 754,
        decided_at: at,
        sentence: foreign(),
        news: News { waits: foreign(), guard: Some(guarded) },
    };
    let request = Request {
        stage: Stage::Promote,
        key: foreign(),
        branch: foreign(),
        base_branch: foreign(),
        handover: Handover::TwoPullRequests,
        decided_at: at,
        blobs: BTreeMap::new(),
        candidate: 0,
        report,
    };
    let field = || FieldChange { path: foreign(), before: Some(foreign().into()), after: Some(json!({text: [text]})) };
    let (before, after) = (BlobId::of(b"a").unwrap(), BlobId::of(b"b").unwrap());
    let files = vec![
        FileChange { path: foreign(), op: FileOp::Edit { before: before.clone(), after, bytes: b"b".to_vec() } },
        FileChange { path: foreign(), op: FileOp::Remove { before } },
    ];
    (request, Change { files, fields: vec![field(), field()], ..Change::default() })
}

fn base() -> CommitId {
    "4b0de1f1a1b2c3d4e5f60718293a4b5c6d7e8f90".parse().unwrap()
}

/// The whole text of a request, with its hidden mark.
fn body((request, change): &(Request, Change)) -> String {
    let body = reiter8::gitops::render::body(Proposed { request, base: &base(), change });
    marked(&body, &request.report.news.mark(), request.decided_at)
}

/// Rows of each table of such a request, the head among them, and its cells.
const TABLES: [(usize, usize); 5] = [(4, 4), (4, 7), (3, 5), (2, 5), (3, 3)];

/// The names of the tags in a page, with their order.
fn tags(html: &str) -> Vec<String> {
    let tag = Regex::new(r"<([a-zA-Z][a-zA-Z0-9]*)").unwrap();
    tag.captures_iter(html).map(|found| found[1].to_lowercase()).collect()
}

/// What is wrong with a rendered body.
fn wrong(html: &str) -> Vec<String> {
    let all = tags(html);
    let strange: BTreeSet<&String> = all.iter().filter(|tag| !OURS.contains(&tag.as_str())).collect();
    let mut wrong: Vec<String> = strange.into_iter().map(|tag| format!("<{tag}> is none of ours")).collect();
    let tables: Vec<(usize, BTreeSet<usize>)> = html.split("<table").skip(1).map(table).collect();
    let wanted: Vec<_> = TABLES.iter().map(|(rows, cells)| (*rows, BTreeSet::from([*cells]))).collect();
    if tables != wanted {
        wrong.push(format!("the tables have {tables:?} rows and cells"));
    }
    if html.contains("iter8: experiment=") || html.contains("iter8-text:") {
        wrong.push("the hidden line is visible".to_owned());
    }
    wrong
}

/// How many rows a table has, and how many cells its rows have.
fn table(html: &str) -> (usize, BTreeSet<usize>) {
    let rows: Vec<&str> = html.split("</table>").next().unwrap().split("<tr").skip(1).collect();
    let cells = |row: &&str| tags(row).iter().filter(|tag| ["td", "th"].contains(&tag.as_str())).count();
    (rows.len(), rows.iter().map(cells).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_text_has_no_power_over_a_page() {
    let server = Server::start("texts").unwrap();
    let forge = Gitea::new(&server.url, &server.bot, "texts");
    forge.create().await.unwrap();
    assert_eq!(forge.issue("Nobody may close this", "").await.unwrap(), 1);
    let (mut problems, mut power) = (vec![], BTreeSet::new());
    for text in HOSTILE {
        let proposed = proposed(text);
        let number = forge.issue(&title(&proposed.0), &body(&proposed)).await.unwrap();
        let (title, html) = forge.page(number).await.unwrap();
        problems.extend(wrong(&html).into_iter().map(|what| format!("{text:?}: {what}\n{html}")));
        let linked: Vec<_> = tags(&title).into_iter().filter(|tag| ["a", "img"].contains(&tag.as_str())).collect();
        if !linked.is_empty() {
            problems.push(format!("{text:?}: {linked:?} in the title:\n{title}"));
        }
    }
    let known = forge.timeline(1).await.unwrap();
    assert_eq!(known, Vec::<String>::new(), "somebody spoke of the issue");
    for text in HOSTILE {
        // The control: as it stands, outside of a request.
        let number = forge.issue("Control", text).await.unwrap();
        let html = forge.page(number).await.unwrap().1;
        power.extend(tags(&html));
        let marks = [("mention", ">@reviewer</a>"), ("ref-issue", "ref-issue")];
        power.extend(marks.iter().filter(|(_, mark)| html.contains(mark)).map(|(name, _)| (*name).to_owned()));
    }
    println!("  {} texts; as they stand they make {power:?}", HOSTILE.len());
    assert!(
        ["a", "img", "h1", "table", "mention", "ref-issue"].iter().all(|tag| power.contains(*tag)),
        "this Gitea has no power to take away"
    );
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));

    // A request with all of it, merged: the issue is as it was, and knows of nobody who spoke of it.
    let all = HOSTILE.join(" ");
    let file = [("file.yaml", Some("a: 1\n"))];
    let before = forge.timeline(1).await.unwrap();
    let proposed = proposed(&all);
    let message = commit_message(&proposed.0, &base());
    let texts = (title(&proposed.0), body(&proposed));
    let number = forge.propose_as("all", &message, (&texts.0, &texts.1), &file).await.unwrap();
    let reviewer = Gitea::new(&server.url, &server.reviewer, "texts");
    reviewer.merge(number).await.unwrap();
    assert_eq!(forge.timeline(1).await.unwrap(), before);
    // The control: the same with one word that is not fenced.
    let number = forge.propose_as("control", "Control", ("Control", "fixes #1"), &[("file.yaml", None)]).await.unwrap();
    reviewer.merge(number).await.unwrap();
    let known = forge.timeline(1).await.unwrap();
    assert!(
        !before.contains(&"close".to_owned()) && known.contains(&"close".to_owned()),
        "nothing closes an issue here: {known:?}"
    );
}
