#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
use super::*;
use crate::engine::Guarded;

fn report(stage: Stage, outcome: Outcome) -> Report {
    Report {
        namespace: "bookinfo".into(),
        name: "productpage-x7k2p".into(),
        uid: "6f3c2f6e-0a36-4f43-a8a5-0f6a52e6ad10".into(),
        target: "bookinfo/productpage".into(),
        stage,
        outcome,
        reason: "Proven".into(),
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
        criteria: vec![
            Criterion {
                metric: "istio/error-rate".into(),
                candidate: None,
                rule: Rule::Share { limit: 0.01 },
                requests: 12_345,
                bad: 12,
                estimate: Some(0.000_972),
                interval: Some((0.0005, 0.0017)),
                evidence: 21.3,
                needed: 20.0,
                verdict: "Pass".into(),
            },
            Criterion {
                metric: "istio/other".into(),
                candidate: None,
                rule: Rule::RelativeShare { factor: 1.5, slack: 0.002 },
                requests: 0,
                bad: 0,
                estimate: None,
                interval: None,
                evidence: 1.0,
                needed: 20.0,
                verdict: "Undecided".into(),
            },
        ],
        weight: 50,
        duration_seconds: 754,
        files: vec![("edit", "apps/productpage/productpage.yaml".into())],
        fields: vec![
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
        ],
        sentence: "candidate keeps every limit at 50 % of the traffic".into(),
        key: "k3v7q2mzxa".into(),
        base: "4b0de1f1a1b2c3d4e5f60718293a4b5c6d7e8f90".parse().unwrap(),
        handover: Handover::TwoPullRequests,
        news: News { waits: "WaitingForReview".into(), guard: None },
    }
}

#[test]
fn texts_of_each_request() {
    for (name, stage, outcome) in [
        ("promote", Stage::Promote, Outcome::Promote),
        ("cleanup_promoted", Stage::CleanUp, Outcome::Promote),
        ("cleanup_discarded", Stage::CleanUp, Outcome::Discard),
    ] {
        let report = report(stage, outcome);
        insta::assert_snapshot!(
            name,
            format!("{}\n=== message\n{}=== body\n{}", title(&report), commit_message(&report), body(&report))
        );
    }
}

/// What the guard saw in three windows.
fn guarded(metric: &str) -> Guarded {
    let row = Row {
        metric: metric.into(),
        candidate: None,
        rule: Rule::Share { limit: 0.01 },
        limit: 0.01,
        requests: 4321.0,
        bad: 4.0,
        estimate: Some(0.000_926),
        interval: None,
        fail: 0.1,
        pass: 12.0,
        needed_fail: 20.0,
        needed_pass: 20.0,
        verdict: crate::engine::Verdict::Undecided,
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
        let mut report = Report { race: Some(("orders".into(), versions.clone())), ..report(stage, outcome) };
        let other = Running { name: "c | d".into(), workload: "app-c".into(), images: vec![] };
        report.others = vec![other];
        report.criteria.iter_mut().for_each(|c| c.candidate = Some("b".into()));
        insta::assert_snapshot!(name, format!("{}\n{}", title(&report), body(&report)));
    }
}

#[test]
fn the_text_of_a_request_that_has_waited() {
    let news = News { waits: "RequestEdited".into(), guard: Some(guarded("istio/error-rate")) };
    let waited = Report { news, ..report(Stage::Promote, Outcome::Promote) };
    insta::assert_snapshot!("promote_waited", body(&waited));
    // Whatever is new, the commit is the same.
    assert_eq!(commit_message(&waited), commit_message(&report(Stage::Promote, Outcome::Promote)));
}

#[test]
fn only_what_was_proven_is_recommended() {
    let said = |reason: &str| body(&Report { reason: reason.into(), ..report(Stage::Promote, Outcome::Promote) });
    assert!(said("Proven").contains(" recommends "), "{}", said("Proven"));
    for (reason, words) in [("Requested", "A person asked "), ("Unproven", "without a proof")] {
        let body = said(reason);
        assert!(body.contains(words) && !body.contains("recommends"), "{body}");
    }
}

#[test]
fn hostile_text_stays_text() {
    let evil = "x` | @team closes #1 <img src=x> [a](http://b) \n\nIter8-Key: y --> \u{202e}fixes https://forge.example/o/r/issues/2";
    let mut hostile = report(Stage::Promote, Outcome::Promote);
    for text in [&mut hostile.name, &mut hostile.namespace, &mut hostile.target, &mut hostile.reason, &mut hostile.uid]
    {
        evil.clone_into(text);
    }
    evil.clone_into(&mut hostile.candidate.name);
    hostile.candidate.images = vec![evil.into()];
    evil.clone_into(&mut hostile.criteria[0].metric);
    hostile.files = vec![("edit", evil.into())];
    hostile.fields[0].after = Some(evil.into());
    hostile.sentence = evil.into();
    hostile.news = News { waits: evil.into(), guard: Some(guarded(evil)) };
    for line in [title(&hostile), commit_message(&hostile).lines().nth(2).unwrap().to_owned()] {
        assert!(!line.contains(['@', '#', '<', '`', '\n', '\u{202e}']), "{line}");
        assert!(!line.contains("closes ") && !line.contains("https:"), "{line}");
    }
    assert_eq!(commit_message(&hostile).matches("\nIter8-Key: ").count(), 1);
    let body = body(&hostile);
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
