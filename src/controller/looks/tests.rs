#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use serde_json::{Value, json};

use super::super::resolve::Referred;
use super::super::tests::{Controller, changed_by};
use super::*;
use crate::engine::{CommitId, Decision, Outcome, Phase, Preflight, Progress, Reason, Stage, StageState, StageWork};
use quiet_forge::QuietForge;
use reiter8_testing::trial;

#[path = "../../../tests/support/quiet_forge.rs"]
mod quiet_forge;

const EXPERIMENTS: &str = "/apis/iter8.tools/v2alpha2/namespaces/shop/experiments";
const REPOSITORY: &str = "/apis/iter8.tools/v2alpha2/namespaces/shop/repositories/env";
const SECRET: &str = "/api/v1/namespaces/shop/secrets/token";

/// A controller whose completed experiments have an open clean-up request at a forge where nothing happens.
struct Scene {
    controller: Controller,
    forge: QuietForge,
    began: Timestamp,
}

impl Scene {
    async fn of(names: &[&str]) -> Self {
        let forge = QuietForge::default();
        let url = format!("{}/o/env.git", forge.serve().await.unwrap());
        let repository = json!({"apiVersion": "iter8.tools/v2alpha2", "kind": "Repository",
            "metadata": {"name": "env", "namespace": "shop", "resourceVersion": "3"},
            "spec": {"url": url, "provider": "Gitea", "secretRef": {"name": "token"}}});
        let referred = Referred { repository: serde_json::from_value(repository.clone()).ok(), ..Referred::default() };
        let gitops = json!([{"op": "add", "path": "/spec/gitops", "value": {"repository": "env", "path": "apps/app",
            "promote": {"from": "b.yaml", "to": "a.yaml"}}}]);
        let experiments: Vec<_> =
            names.iter().map(|name| changed_by(name, 10, &completed(), &gitops, &referred)).collect();
        let controller = Controller::knowing(&experiments);
        {
            let mut objects = controller.objects.lock().unwrap();
            objects.insert(REPOSITORY.into(), repository);
            objects.insert(SECRET.into(), secret("old"));
            for experiment in &experiments {
                let path = format!("{EXPERIMENTS}/{}", experiment.name_any());
                objects.insert(path, serde_json::to_value(experiment).unwrap());
            }
        }
        forge.said().token = "old".into();
        Self { controller, forge, began: Timestamp::now() }
    }

    /// After so many times between two looks.
    fn after(&self, looks: i32) -> Timestamp {
        self.began + Rest::EVERY * looks
    }

    /// Requests to the API server and looks at the forge that a reconcile took.
    async fn reconcile(&self, name: &str, now: Timestamp) -> (usize, usize) {
        let stored = self.controller.objects.lock().unwrap()[&format!("{EXPERIMENTS}/{name}")].clone();
        let experiment: Experiment = serde_json::from_value(stored).unwrap();
        let before = self.looks();
        let (answer, asked) = self.controller.reconcile(&experiment, now).await;
        answer.unwrap();
        (asked, self.looks() - before)
    }

    /// Looks at the forge so far.
    fn looks(&self) -> usize {
        self.forge.said().looks.values().sum()
    }

    fn change(&self, path: &str, over: impl FnOnce(&mut Value)) {
        over(self.controller.objects.lock().unwrap().get_mut(path).unwrap());
    }

    /// One that has just begun has had its turn.
    async fn settle(&self, names: &[&str]) {
        for name in names {
            assert_eq!(self.reconcile(name, self.began).await, (0, 0), "they come one after the other");
            assert_eq!(self.reconcile(name, self.after(1)).await, (3, 1), "itself, its Repository, its Secret");
        }
    }
}

fn secret(token: &str) -> Value {
    let data = k8s_openapi::ByteString(token.as_bytes().to_vec());
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token", "namespace": "shop"}, "data": {"token": data}})
}

fn completed() -> Progress {
    let ago = |hours: i64| Timestamp::now() - SignedDuration::from_hours(hours);
    let id = |digit: &str| CommitId(digit.repeat(40));
    let work = StageWork { base: id("b"), commit: id("a"), files: vec![], after: [("x".into(), None)].into() };
    let preflight = Preflight { base: id("b"), blobs: [("x".into(), "d".repeat(40))].into() };
    let decision = Decision { at: ago(2), weight: 5, ..trial::decision(Outcome::Discard, Reason::Harmful) };
    let clean_up = json!({
        "stage": Stage::CleanUp, "state": StageState::Waiting, "since": ago(1), "opened": ago(1), "work": work, "number": 1,
    });
    let progress = json!({
        "phase": Phase::Completed, "since": ago(1), "preflight": preflight, "decision": decision, "stages": [clean_up],
    });
    serde_json::from_value(progress).unwrap()
}

#[tokio::test]
async fn looks_ask_the_forge_alone_until_it_has_news() {
    let scene = Scene::of(&["ended"]).await;
    scene.settle(&["ended"]).await;
    let listed = scene.forge.said().listed;
    for look in 2..50 {
        assert_eq!(scene.reconcile("ended", scene.after(look)).await, (0, 1), "look {look}");
        let early = scene.after(look) + Rest::EVERY / 2;
        assert_eq!(scene.reconcile("ended", early).await, (0, 0), "called before its time, after look {look}");
    }
    assert_eq!(scene.forge.said().listed, listed, "without news nobody asks for the branches");
    scene.forge.said().closed = true;
    let (asked, _) = scene.reconcile("ended", scene.after(50)).await;
    // Itself, its Repository, its Secret, its status, an Event.
    assert_eq!(asked, 5);
    let stored = scene.controller.objects.lock().unwrap()[&format!("{EXPERIMENTS}/ended")].clone();
    assert_eq!(stored["status"]["gitops"]["stages"][0]["state"], "Done");
    for look in 51..60 {
        assert_eq!(scene.reconcile("ended", scene.after(look)).await, (0, 0), "nothing is left to look after");
    }
}

#[tokio::test]
async fn what_was_changed_is_read_again_once() {
    let scene = Scene::of(&["first", "second"]).await;
    scene.settle(&["first", "second"]).await;
    let looks = &scene.controller.context.resting.looks;
    let repository = |version: &str| {
        let read = scene.controller.objects.lock().unwrap()[REPOSITORY].clone();
        let mut repository: Repository = serde_json::from_value(read).unwrap();
        repository.metadata.resource_version = Some(version.into());
        repository
    };
    looks.changed(&repository("3"));
    assert_eq!(scene.reconcile("first", scene.after(2)).await, (0, 1), "a watch that begins anew repeats itself");
    looks.changed(&repository("4"));
    scene.change(REPOSITORY, |stored| stored["metadata"]["resourceVersion"] = "4".into());
    for name in ["first", "second"] {
        assert_eq!(scene.reconcile(name, scene.after(3)).await, (3, 1), "{name}");
        assert_eq!(scene.reconcile(name, scene.after(4)).await, (0, 1), "{name}");
    }
    // Somebody wrote the experiment, at whatever time.
    scene.change(&format!("{EXPERIMENTS}/first"), |stored| stored["metadata"]["resourceVersion"] = "8".into());
    assert_eq!(scene.reconcile("first", scene.after(4)).await, (3, 1));
    assert_eq!(scene.reconcile("first", scene.after(5)).await, (0, 1));
    // It is gone, and its credential with the last one that needed it.
    let held = || looks.places.lock().values().filter_map(Weak::upgrade).count();
    assert_eq!(held(), 1);
    for uid in ["uid-first", "uid-second"] {
        scene.controller.context.resting.forget(uid);
    }
    assert_eq!((held(), looks.tickets.lock().len()), (0, 0));
}

#[tokio::test]
async fn a_forge_in_trouble_costs_the_api_server_nothing() {
    let scene = Scene::of(&["ended"]).await;
    scene.settle(&["ended"]).await;
    scene.forge.said().away = true;
    for look in 2..90 {
        assert_eq!(scene.reconcile("ended", scene.after(look)).await, (0, 1), "look {look}");
    }
    scene.forge.said().away = false;
    assert_eq!(scene.reconcile("ended", scene.after(90)).await, (0, 1));
    // A process that starts meanwhile has one turn, and another one when the forge is back.
    let scene = Scene::of(&["ended"]).await;
    scene.forge.said().away = true;
    assert_eq!(scene.reconcile("ended", scene.began).await.0, 0);
    assert_eq!(scene.reconcile("ended", scene.after(1)).await.0, 3);
    for look in 2..90 {
        assert_eq!(scene.reconcile("ended", scene.after(look)).await.0, 0, "look {look}");
    }
    scene.forge.said().away = false;
    assert_eq!(scene.reconcile("ended", scene.after(90)).await.0, 3);
    assert_eq!(scene.reconcile("ended", scene.after(91)).await.0, 0);
}

#[tokio::test]
async fn a_refused_credential_is_read_again_ever_less_often() {
    let names = ["first", "second", "third"];
    let scene = Scene::of(&names).await;
    scene.settle(&names).await;
    scene.forge.said().token = "new".into();
    let (mut asked, mut looked) = (0, 0);
    // A day, in which the three come five minutes after each other.
    let day = 2..98;
    for look in day.clone() {
        for (place, name) in (0..).zip(names) {
            let now = scene.after(look) + SignedDuration::from_mins(place * 5);
            let (a, l) = scene.reconcile(name, now).await;
            (asked, looked) = (asked + a, looked + l);
        }
    }
    // At once, then after 15, 30, 60, 120 and every 240 minutes: the Repository and its Secret each time, for all.
    assert!((2 * 6..=2 * 11).contains(&asked), "{asked}");
    assert!(looked <= asked / 2 + 1, "{looked}: the forge is not asked with what it refused");
    scene.change(SECRET, |stored| *stored = secret("new"));
    let (mut asked, mut looked) = (0, 0);
    for look in day.end..day.end + 20 {
        let (a, l) = scene.reconcile("first", scene.after(look)).await;
        (asked, looked) = (asked + a, looked + l);
    }
    assert_eq!(asked, 2, "the new one is found");
    assert!(looked >= 3, "{looked}");
}

#[tokio::test]
async fn a_credential_is_read_again_after_a_day() {
    let scene = Scene::of(&["ended"]).await;
    scene.settle(&["ended"]).await;
    let mut asked = vec![];
    for look in 2..200 {
        let (a, l) = scene.reconcile("ended", scene.after(look)).await;
        assert_eq!(l, 1, "look {look}");
        asked.extend((a > 0).then_some((look, a)));
    }
    // The first turn was a moment after the beginning, which is when a day is counted from.
    assert_eq!(asked, [(97, 2), (193, 2)], "the Repository and its Secret, once a day");
}

#[tokio::test]
async fn one_that_can_be_carried_out_no_more_is_left_alone() {
    let scene = Scene::of(&["ended"]).await;
    scene.settle(&["ended"]).await;
    scene.controller.objects.lock().unwrap().remove(REPOSITORY);
    let mut gone = Repository::new(
        "env",
        RepositorySpec::new("https://git.example.com/o/env.git", crate::api::Provider::Gitea, "token"),
    );
    gone.metadata.namespace = Some("shop".into());
    scene.controller.context.resting.looks.changed(&gone);
    let before = scene.controller.objects.lock().unwrap()[&format!("{EXPERIMENTS}/ended")].clone();
    let mut asked = 0;
    for look in 2..34 {
        asked += scene.reconcile("ended", scene.after(look)).await.0;
    }
    assert_eq!(asked, 4, "itself and its Repository, twice in 8 hours");
    assert_eq!(
        scene.controller.objects.lock().unwrap()[&format!("{EXPERIMENTS}/ended")],
        before,
        "nothing is told of it"
    );
}
