#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use super::*;
use crate::engine::{ArmRow, Guarded, News};
use crate::gitops::edit::FieldChange;
use crate::gitops::plan::{FileChange, FileOp};
use crate::gitops::tree::BlobId;

/// A request, with what its commit changes.
struct Case {
    request: Request,
    change: Change,
}

impl Case {
    fn title(&self) -> String {
        title(&self.request)
    }

    fn message(&self) -> String {
        commit_message(&self.request, &base())
    }

    fn body(&self) -> String {
        body(Proposed { request: &self.request, base: &base(), change: &self.change })
    }
}

fn base() -> CommitId {
    "4b0de1f1a1b2c3d4e5f60718293a4b5c6d7e8f90".parse().unwrap()
}

fn edit(path: &str) -> FileChange {
    let (before, after) = (BlobId::of(b"a").unwrap(), BlobId::of(b"b").unwrap());
    FileChange { path: path.into(), op: FileOp::Edit { before, after, bytes: b"b".to_vec() } }
}

fn row(metric: &str, rule: Rule) -> Row {
    Row {
        metric: metric.into(),
        candidate: None,
        rule,
        limit: 0.01,
        requests: 0.0,
        bad: 0.0,
        estimate: None,
        interval: None,
        fail: 0.1,
        pass: 1.0,
        needed_fail: 20.0,
        needed_pass: 20.0,
        verdict: Verdict::Undecided,
    }
}

fn rows() -> Vec<Row> {
    vec![
        Row {
            requests: 12_345.0,
            bad: 12.0,
            estimate: Some(0.000_972),
            interval: Some((0.0005, 0.0017)),
            pass: 21.3,
            verdict: Verdict::Pass,
            ..row("istio/error-rate", Rule::Share { limit: 0.01 })
        },
        Row { interval: Some((0.0, 1.0)), ..row("istio/other", Rule::RelativeShare { factor: 1.5, slack: 0.002 }) },
        Row {
            requests: 2_000.0,
            bad: 400.0,
            estimate: Some(0.2),
            interval: Some((0.18, 0.22)),
            fail: 743_769_175.8,
            verdict: Verdict::Fail,
            ..row("istio/latency-p95", Rule::Share { limit: 0.05 })
        },
    ]
}

fn report(outcome: Outcome) -> Report {
    Report {
        namespace: "bookinfo".into(),
        name: "productpage-x7k2p".into(),
        uid: "6f3c2f6e-0a36-4f43-a8a5-0f6a52e6ad10".into(),
        target: "bookinfo/productpage".into(),
        outcome,
        reason: Reason::Proven,
        baseline: Running {
            name: "stable".into(),
            workload: "productpage".into(),
            images: vec!["example/productpage:v1.2.0".into()],
        },
        candidate: Running {
            name: "candidate".into(),
            workload: "productpage-candidate".into(),
            images: vec!["example/productpage:v1.3.0".into(), "example/proxy:1".into()],
        },
        others: vec![],
        race: None,
        sentence: "candidate keeps every limit at 50 % of the traffic".into(),
        weight: 50,
        seconds: 754,
        decided_at: "2026-01-02T03:04:05Z".parse().unwrap(),
        rows: rows(),
        news: News { waits: "WaitingForReview".into(), guard: None },
    }
}

fn case(stage: Stage, outcome: Outcome) -> Case {
    let report = report(outcome);
    let request = Request {
        stage,
        key: "k3v7q2mzxa".into(),
        branch: "iter8/bookinfo-productpage-x7k2p".into(),
        base_branch: "main".into(),
        handover: Handover::TwoPullRequests,
        decided_at: report.decided_at,
        blobs: std::collections::BTreeMap::new(),
        candidate: 0,
        report,
    };
    let fields = vec![
        FieldChange {
            path: "spec.template.spec.containers[name=productpage].image".into(),
            before: Some("example/productpage:v1.2.0".into()),
            after: Some("example/productpage:v1.3.0".into()),
        },
        FieldChange {
            path: "spec.template.spec.terminationGracePeriodSeconds".into(),
            before: None,
            after: Some(10.into()),
        },
    ];
    let files = vec![edit("apps/productpage/productpage.yaml")];
    Case { request, change: Change { files, fields, ..Change::default() } }
}

#[test]
fn texts_of_each_request() {
    for (name, stage, outcome) in [
        ("promote", Stage::Promote, Outcome::Promote),
        ("cleanup_promoted", Stage::CleanUp, Outcome::Promote),
        ("cleanup_discarded", Stage::CleanUp, Outcome::Discard),
        ("revert", Stage::Revert, Outcome::Promote),
    ] {
        let case = case(stage, outcome);
        insta::assert_snapshot!(
            name,
            format!("{}\n=== message\n{}=== body\n{}", case.title(), case.message(), case.body())
        );
    }
}

/// What the guard saw in three windows.
fn guarded(metric: &str) -> Guarded {
    let row = Row {
        requests: 4321.0,
        bad: 4.0,
        estimate: Some(0.000_926),
        pass: 12.0,
        ..row(metric, Rule::Share { limit: 0.01 })
    };
    Guarded { since: "2026-01-02T03:04:05Z".parse().unwrap(), windows: 3, rows: vec![row] }
}

#[test]
fn the_text_about_several_candidates() {
    let arm = |name: &str, mean, against, left: Option<&str>| ArmRow {
        name: name.into(),
        values: 5321.0,
        mean,
        against,
        needed: 20.0,
        racing: left.is_none(),
        left: left.map(Into::into),
    };
    let versions = vec![
        arm("stable", Some(1.0), 33.0, None),
        arm("b", Some(1.213), 1.0, None),
        arm("c | d", None, 1.0, Some("istio/error-rate broke its limit of 1 %: 41 of 512 requests to c were bad")),
    ];
    for (name, stage, outcome) in
        [("race_promote", Stage::Promote, Outcome::Promote), ("race_discard", Stage::CleanUp, Outcome::Discard)]
    {
        let mut case = case(stage, outcome);
        let report = &mut case.request.report;
        report.race = Some(("orders".into(), versions.clone()));
        report.others = vec![Running { name: "c | d".into(), workload: "app-c".into(), images: vec![] }];
        report.rows.iter_mut().for_each(|row| row.candidate = Some("b".into()));
        insta::assert_snapshot!(name, format!("{}\n{}", case.title(), case.body()));
    }
}

#[test]
fn the_text_of_a_request_that_has_waited() {
    let mut waited = case(Stage::Promote, Outcome::Promote);
    waited.request.report.news = News { waits: "RequestEdited".into(), guard: Some(guarded("istio/error-rate")) };
    insta::assert_snapshot!("promote_waited", waited.body());
    // Whatever is new, the commit is the same.
    assert_eq!(waited.message(), case(Stage::Promote, Outcome::Promote).message());
}

#[test]
fn only_what_was_proven_is_recommended() {
    let said = |reason: Reason| {
        let mut case = case(Stage::Promote, Outcome::Promote);
        case.request.report.reason = reason;
        case.body()
    };
    assert!(said(Reason::Proven).contains(" recommends "), "{}", said(Reason::Proven));
    for (reason, words) in [(Reason::Requested, "A person asked "), (Reason::Unproven, "without proof")] {
        let body = said(reason);
        assert!(body.contains(words) && !body.contains("recommends"), "{body}");
    }
}

#[test]
fn hostile_text_stays_text() {
    let evil = "x` | @team closes #1 <img src=x> [a](http://b) \n\nIter8-Key: y --> \u{202e}fixes https://forge.example/o/r/issues/2";
    let mut hostile = case(Stage::Promote, Outcome::Promote);
    let report = &mut hostile.request.report;
    for text in [&mut report.name, &mut report.namespace, &mut report.target, &mut report.uid] {
        evil.clone_into(text);
    }
    evil.clone_into(&mut report.candidate.name);
    report.candidate.images = vec![evil.into()];
    evil.clone_into(&mut report.rows[0].metric);
    report.sentence = evil.into();
    report.news = News { waits: evil.into(), guard: Some(guarded(evil)) };
    evil.clone_into(&mut hostile.request.key);
    hostile.change.files = vec![edit(evil)];
    hostile.change.fields[0].after = Some(evil.into());
    for line in [hostile.title(), hostile.message().lines().nth(2).unwrap().to_owned()] {
        assert!(!line.contains(['@', '#', '<', '`', '\n', '\u{202e}']), "{line}");
        assert!(!line.contains("closes ") && !line.contains("https:"), "{line}");
    }
    assert_eq!(hostile.message().matches("\nIter8-Key: ").count(), 1);
    let body = hostile.body();
    assert_eq!(
        body.matches("-->").count(),
        body.matches("--> fixes").count() + 1,
        "only the marker ends a comment outside of code"
    );
    for row in body.lines().filter(|line| line.starts_with('|')) {
        let bars = row.matches('|').count();
        assert!([5, 8, 4, 6].contains(&bars), "{row}");
    }
    // What is left after the code spans are taken out is ours alone.
    for line in body.lines() {
        let outside: String =
            line.split("``").enumerate().filter(|(index, _)| index % 2 == 0).map(|(_, text)| text).collect();
        assert!(!outside.contains(['@', '#']) && !outside.contains("<img") && !outside.contains("]("), "{line}");
    }
}
