//! The live world's reads and writes against a real kube-apiserver: weights, the target's Lease, the finalizer.
//!
//! Needs the parts that `hack/parts/build` makes; only etcd and kube-apiserver are started.

use crate::support::stack;
use crate::support::stack::Site;
use crate::support::stack::parts::{self, Kube};
use jiff::{SignedDuration, Timestamp};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt};
use reiter8::api::Experiment;
use reiter8::controller::resolve::{Referred, resolve};
use reiter8::engine::{
    Analysis, Effect, Identity, Lock, Observation, OnUndecided, Plan, Questions, Ramp, Routes, Split, Unavailable,
    Version,
};
use reiter8::live::{
    Binding, Claimant, Contender, Destination, FINALIZER, Live, Prometheus, RouteBinding, Standing, VersionBinding,
    WeightField, WeightsAt,
};
use reiter8::turn::World;
use serde_json::{Value, json};

const NAMESPACE: &str = "default";

/// An API server that knows our kinds and Istio's; it ends with the test.
struct Cluster {
    site: Site,
    kube: Kube,
    client: Client,
    _dir: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> anyhow::Result<Self> {
        reiter8::http::install_provider();
        let dir = tempfile::tempdir()?;
        let site = Site { dir: dir.path().join("stack"), bin: stack::binaries(), node: std::env::current_exe()? };
        std::fs::create_dir_all(&site.dir)?;
        let started = Self::kube(&site).await;
        if started.is_err() {
            let _ = stack::down(&site.dir);
        }
        let (kube, client) = started?;
        Ok(Self { client, kube, site, _dir: dir })
    }

    async fn kube(site: &Site) -> anyhow::Result<(Kube, Client)> {
        let kube = parts::kube(site)?;
        let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
        let istio = site.bin.join("istio-crds.yaml");
        let apply = |kube: &Kube, file: &str| parts::kubectl(site, kube, &["apply", "--server-side", "-f", file], None);
        apply(&kube, crds)?;
        apply(&kube, &istio.display().to_string())?;
        let wait = ["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"];
        parts::kubectl(site, &kube, &wait, None)?;
        let file = kube::config::Kubeconfig::read_from(&kube.kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default()).await?;
        Ok((kube, Client::try_from(config)?))
    }

    fn kubectl(&self, args: &[&str], input: Option<&str>) {
        parts::kubectl(&self.site, &self.kube, args, input).unwrap();
    }

    fn routes(&self) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: "networking.istio.io".into(),
            version: "v1".into(),
            api_version: "networking.istio.io/v1".into(),
            kind: "VirtualService".into(),
            plural: "virtualservices".into(),
        };
        Api::namespaced_with(self.client.clone(), NAMESPACE, &resource)
    }

    fn experiments(&self) -> Api<Experiment> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// The world of an experiment on the target `default/app`.
    fn live(&self, name: &str, uid: &str, contenders: Vec<Contender>) -> Live {
        self.live_at(name, uid, contenders, in_routes("app", &["first", "second"], false))
    }

    /// The same with its weights elsewhere.
    fn live_at(&self, name: &str, uid: &str, contenders: Vec<Contender>, weights: WeightsAt) -> Live {
        self.live_of(name, uid, contenders, weights, &["next"])
    }

    /// The same with candidates of these names.
    fn live_of(
        &self,
        name: &str,
        uid: &str,
        contenders: Vec<Contender>,
        weights: WeightsAt,
        candidates: &[&str],
    ) -> Live {
        let to = |subset: &str| Destination { host: Some("app".into()), subset: Some(subset.into()) };
        let version = |workload: &str| VersionBinding { workload: workload.into(), ..VersionBinding::default() };
        let each = || candidates.iter().copied();
        let binding = Binding {
            namespace: NAMESPACE.into(),
            name: name.into(),
            uid: uid.into(),
            created: Timestamp::from_second(100).unwrap(),
            target: "default/app".into(),
            routes: RouteBinding { weights, baseline: to("stable"), candidates: each().map(to).collect() },
            baseline: version("app"),
            candidates: each().map(|name| version(&format!("app-{name}"))).collect(),
            metrics: vec![],
        };
        let prometheus = Prometheus::new("http://127.0.0.1:9").unwrap();
        Live::new(self.client.clone(), prometheus, NAMESPACE, binding, None, contenders)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = stack::down(&self.site.dir);
    }
}

fn in_routes(name: &str, routes: &[&str], delegate: bool) -> WeightsAt {
    WeightsAt::VirtualService { name: name.into(), routes: routes.iter().map(ToString::to_string).collect(), delegate }
}

/// A plan, of which the live world needs nothing.
fn plan() -> Plan {
    let version = |name: &str| Version { name: name.into(), workload: name.into() };
    let zero = SignedDuration::ZERO;
    Plan {
        identity: Identity {
            namespace: NAMESPACE.into(),
            name: "x".into(),
            uid: "x".into(),
            target: "default/app".into(),
        },
        deleting: None,
        refused: None,
        baseline: version("app"),
        candidates: vec![version("app-next")],
        ramp: Ramp::Steps(vec![]),
        cap: 50,
        capacity: None,
        race: None,
        iterations: None,
        wishes: vec![],
        criteria: vec![],
        analysis: Analysis {
            false_rollback: 0.05,
            false_promotion: 0.05,
            interval: SignedDuration::from_secs(1),
            lag: zero,
            warm_up: zero,
            soak: zero,
            deadline: zero,
            hard_deadline: zero,
            on_undecided: OnUndecided::Hold,
        },
        gitops: None,
    }
}

async fn seen(live: &Live) -> Observation {
    live.observe(&plan(), &Questions::default()).await
}

async fn routes(live: &Live) -> Result<Routes, Unavailable> {
    seen(live).await.routes.unwrap()
}

async fn weights(live: &Live) -> Result<(u8, u8), Unavailable> {
    seen(live).await.routes.unwrap().map(|found| (found.baseline, found.candidates.of(0)))
}

async fn lock(live: &Live) -> Lock {
    seen(live).await.lock.unwrap().unwrap()
}

/// Two routes to both versions, between routes of others, with fields of others.
fn virtual_service() -> DynamicObject {
    let to = |subset: &str, port: u16| json!({"host": "app.default.svc.cluster.local", "subset": subset, "port": {"number": port}});
    serde_json::from_value(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "app"},
        "spec": {"hosts": ["app"], "http": [
            {"name": "foreign", "route": [{"destination": to("stable", 1), "weight": 30}, {"destination": to("next", 1), "weight": 70}]},
            {"name": "first", "retries": {"attempts": 0}, "timeout": "3s",
             "route": [{"destination": to("next", 80), "headers": {"request": {"set": {"x": "1"}}}, "weight": 0},
                       {"destination": to("stable", 80), "weight": 100}]},
            {"name": "second", "route": [{"destination": {"host": "app", "subset": "stable"}}, {"destination": {"host": "app.default", "subset": "next"}}]},
        ]}
    }))
    .unwrap()
}

#[tokio::test]
async fn on_a_real_api_server() {
    let cluster = Cluster::start().await.unwrap();
    weights_are_written_together_and_nothing_else(&cluster).await;
    who_is_late_sees_a_conflict(&cluster).await;
    whoever_wrote_the_weights_after_us_is_named(&cluster).await;
    a_third_destination_is_named(&cluster).await;
    a_rollback_does_not_wait_for_a_route_that_is_gone(&cluster).await;
    several_candidates_have_a_weight_each(&cluster).await;
    a_delegate_is_one(&cluster).await;
    the_sample_of_a_delegate_works(&cluster).await;
    weights_may_be_in_any_field(&cluster).await;
    destinations_lead_to_their_own_workloads(&cluster).await;
    Box::pin(one_experiment_holds_the_target(&cluster)).await;
    only_our_finalizer_goes(&cluster).await;
}

async fn weights_are_written_together_and_nothing_else(cluster: &Cluster) {
    let (routes, live) = (cluster.routes(), cluster.live("me", "u1", vec![]));
    let absent = weights(&live).await.unwrap_err();
    assert_eq!(absent.cause.word(), "RouteNotFound", "{absent}");
    assert!(live.perform(&Effect::Route(Split::HOME)).await.is_err());
    routes.create(&PostParams::default(), &virtual_service()).await.unwrap();
    // One route has its weights, the other one none: neither at home nor anywhere else.
    assert_eq!(weights(&live).await.unwrap(), (255, 255));
    live.perform(&Effect::Route(Split::one(25))).await.unwrap();
    assert_eq!(weights(&live).await.unwrap(), (75, 25));
    let mut expected = virtual_service().data;
    for (path, weight) in [("1/route/0", 25), ("1/route/1", 75), ("2/route/0", 75), ("2/route/1", 25)] {
        expected.pointer_mut(&format!("/spec/http/{path}")).unwrap()["weight"] = json!(weight);
    }
    let written = routes.get("app").await.unwrap();
    assert_eq!(written.data["spec"], expected["spec"]);
    assert!(written.managed_fields().iter().any(|f| f.manager.as_deref() == Some("reiter8")));
    // Again is harmless, and not even a write.
    live.perform(&Effect::Route(Split::one(25))).await.unwrap();
    assert_eq!(routes.get("app").await.unwrap().resource_version(), written.resource_version());
}

async fn who_is_late_sees_a_conflict(cluster: &Cluster) {
    let live = cluster.live("me", "u1", vec![]);
    let writes: Vec<Effect> = (1..=12).map(|weight| Effect::Route(Split::one(weight))).collect();
    let results = futures::future::join_all(writes.iter().map(|write| live.perform(write))).await;
    let lost: Vec<&Unavailable> = results.iter().filter_map(|r| r.as_ref().err()).collect();
    assert!(!lost.is_empty() && lost.len() < results.len(), "{} of {} lost", lost.len(), results.len());
    assert!(lost.iter().all(|u| u.cause.word() == "Conflict"), "{lost:?}");
    let (baseline, candidate) = weights(&live).await.unwrap();
    assert_eq!(baseline, 100 - candidate);
    // What sets a failed test apart from an object that is refused for good, although both are answered alike.
    let patch = async |operation: Value| {
        let patch: json_patch::Patch = serde_json::from_value(json!([operation])).unwrap();
        let patched = cluster.routes().patch("app", &PatchParams::default(), &Patch::Json::<()>(patch)).await;
        let Err(kube::Error::Api(status)) = patched else { panic!("{patched:?}") };
        (status.code, status.details.is_some_and(|d| !d.causes.is_empty()))
    };
    assert_eq!(patch(json!({"op": "test", "path": "/metadata/resourceVersion", "value": "1"})).await, (422, false));
    let wrong = json!({"op": "add", "path": "/spec/http/1/route/0/weight", "value": "many"});
    assert_eq!(patch(wrong).await, (422, true));
}

/// Writes as somebody else does.
async fn edit(api: &Api<DynamicObject>, name: &str, manager: &str, operations: Value) {
    let patch: json_patch::Patch = serde_json::from_value(operations).unwrap();
    let params = PatchParams { field_manager: Some(manager.into()), ..PatchParams::default() };
    api.patch(name, &params, &Patch::Json::<()>(patch)).await.unwrap();
}

async fn whoever_wrote_the_weights_after_us_is_named(cluster: &Cluster) {
    let live = cluster.live("me", "u1", vec![]);
    let writer = async || routes(&live).await.unwrap().writer;
    live.perform(&Effect::Route(Split::one(30))).await.unwrap();
    assert_eq!(writer().await, None);
    let label = json!([{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]);
    edit(&cluster.routes(), "app", "kubectl-label", label).await;
    assert_eq!(writer().await, None, "a label is no weight");
    let weight = |value: u8| json!([{"op": "add", "path": "/spec/http/1/route/0/weight", "value": value}]);
    edit(&cluster.routes(), "app", "kubectl-edit", weight(77)).await;
    assert_eq!(writer().await.as_deref(), Some("kubectl-edit"));
    live.perform(&Effect::Route(Split::one(30))).await.unwrap();
    assert_eq!(writer().await, None);
    // Server-side apply, as GitOps tools do it, of what Git says.
    let params = PatchParams::apply("argocd-controller").force();
    cluster.routes().patch("app", &params, &Patch::Apply(&virtual_service())).await.unwrap();
    assert_eq!(writer().await.as_deref(), Some("argocd-controller"));
    live.perform(&Effect::Route(Split::one(30))).await.unwrap();
    assert_eq!((writer().await, weights(&live).await), (None, Ok((70, 30))));
}

async fn a_third_destination_is_named(cluster: &Cluster) {
    let live = cluster.live("me", "u1", vec![]);
    let third = json!({"destination": {"host": "app", "subset": "old"}, "weight": 20});
    let add = json!([{"op": "add", "path": "/spec/http/1/route/-", "value": third}]);
    edit(&cluster.routes(), "app", "kubectl-edit", add).await;
    let others = routes(&live).await.unwrap_err();
    assert!(others.cause.word() == "RouteHasOthers" && others.message.contains("20 %"), "{others}");
    // The way home is open all the same.
    live.perform(&Effect::Route(Split::HOME)).await.unwrap();
    let idle = json!([{"op": "add", "path": "/spec/http/1/route/2/weight", "value": 0}]);
    edit(&cluster.routes(), "app", "kubectl-edit", idle).await;
    assert_eq!(weights(&live).await, Ok((100, 0)));
    let remove = json!([{"op": "remove", "path": "/spec/http/1/route/2"}]);
    edit(&cluster.routes(), "app", "kubectl-edit", remove).await;
}

async fn a_rollback_does_not_wait_for_a_route_that_is_gone(cluster: &Cluster) {
    let (routes, live) = (cluster.routes(), cluster.live("me", "u1", vec![]));
    let remove: json_patch::Patch = serde_json::from_value(json!([{"op": "remove", "path": "/spec/http/2"}])).unwrap();
    routes.patch("app", &PatchParams::default(), &Patch::Json::<()>(remove)).await.unwrap();
    let missing = weights(&live).await.unwrap_err();
    assert!(missing.cause.word() == "RouteIncomplete" && missing.message.contains("`second`"), "{missing}");
    live.perform(&Effect::Route(Split::HOME)).await.unwrap();
    let left = routes.get("app").await.unwrap().data;
    assert_eq!(left.pointer("/spec/http/1/route/0/weight"), Some(&json!(0)));
    assert_eq!(left.pointer("/spec/http/1/route/1/weight"), Some(&json!(100)));
}

async fn several_candidates_have_a_weight_each(cluster: &Cluster) {
    let api = cluster.routes();
    let live = cluster.live_of("me", "u1", vec![], in_routes("several", &["one", "two"], false), &["a", "b"]);
    let to = |host: &str, subset: &str, weight: u8| json!({"destination": {"host": host, "subset": subset}, "weight": weight});
    let mut stable = to("app.default", "stable", 100);
    stable["headers"] = json!({"request": {"set": {"x": "1"}}});
    let mut service = virtual_service();
    service.metadata.name = Some("several".into());
    service.data["spec"]["http"] = json!([
        {"name": "one", "timeout": "3s", "route": [to("app", "b", 0), stable, to("app", "a", 0)]},
        {"name": "two", "route": [stable, to("app", "a", 0), to("app", "b", 0)]},
    ]);
    api.create(&PostParams::default(), &service).await.unwrap();
    let created = routes(&live).await.unwrap();
    assert_eq!((created.baseline, created.candidates), (100, Split::HOME));
    let wanted: Split = [25, 30].into_iter().collect();
    live.perform(&Effect::Route(wanted)).await.unwrap();
    assert_eq!(routes(&live).await.unwrap(), Routes::split(wanted));
    for (path, weight) in
        [("0/route/0", 30), ("0/route/1", 45), ("0/route/2", 25), ("1/route/0", 45), ("1/route/1", 25)]
    {
        service.data.pointer_mut(&format!("/spec/http/{path}")).unwrap()["weight"] = json!(weight);
    }
    service.data.pointer_mut("/spec/http/1/route/2").unwrap()["weight"] = json!(30);
    let written = api.get("several").await.unwrap();
    assert_eq!(written.data["spec"], service.data["spec"], "nothing else was touched");
    live.perform(&Effect::Route(wanted)).await.unwrap();
    assert_eq!(api.get("several").await.unwrap().resource_version(), written.resource_version());

    // A foreign edit between candidates: the baseline's weight is as it was.
    let move_ten = [0, 1].map(|route| {
        let path = |index: usize| format!("/spec/http/{route}/route/{index}/weight");
        let (a, b) = if route == 0 { (2, 0) } else { (1, 2) };
        [json!({"op": "add", "path": path(a), "value": 15}), json!({"op": "add", "path": path(b), "value": 40})]
    });
    edit(&api, "several", "kubectl-edit", json!(move_ten.concat())).await;
    let edited = routes(&live).await.unwrap();
    assert_eq!((edited.baseline, edited.candidates), (45, [15, 40].into_iter().collect()));
    assert_eq!(edited.writer.as_deref(), Some("kubectl-edit"));
    live.perform(&Effect::Route(wanted)).await.unwrap();
    assert_eq!(routes(&live).await.unwrap(), Routes::split(wanted));

    // One destination is gone: it is named, and what the other candidate has can still be brought home.
    edit(&api, "several", "kubectl-edit", json!([{"op": "remove", "path": "/spec/http/1/route/2"}])).await;
    let missing = routes(&live).await.unwrap_err();
    let words = ["route `two`", "subset `b`", r#""subset":"a""#];
    assert!(
        missing.cause.word() == "RouteIncomplete" && words.iter().all(|w| missing.message.contains(w)),
        "{missing}"
    );
    live.perform(&Effect::Route(Split::HOME)).await.unwrap();
    let left = api.get("several").await.unwrap().data;
    let weights = |route: usize| -> Vec<Value> {
        let all = left["spec"]["http"][route]["route"].as_array().unwrap();
        all.iter().map(|to| to["weight"].clone()).collect()
    };
    assert_eq!((weights(0), weights(1)), (vec![json!(0), json!(100), json!(0)], vec![json!(100), json!(0)]));
}

async fn a_delegate_is_one(cluster: &Cluster) {
    let api = cluster.routes();
    let live = |name: &str| cluster.live_at("me", "u1", vec![], in_routes(name, &[], true));
    let refused = async |name: &str| routes(&live(name)).await.unwrap_err().cause.word();
    assert_eq!(refused("app").await, "NotADelegate");
    assert_eq!(refused("app-routes").await, "DelegateMissing");
    let mut delegate = virtual_service();
    delegate.metadata.name = Some("app-routes".into());
    delegate.data["spec"].as_object_mut().unwrap().remove("hosts");
    api.create(&PostParams::default(), &delegate).await.unwrap();
    live("app-routes").perform(&Effect::Route(Split::one(40))).await.unwrap();
    // No name was asked for: all three routes that lead to both.
    assert_eq!(weights(&live("app-routes")).await, Ok((60, 40)));
    let written = api.get("app-routes").await.unwrap();
    for path in ["0/route/1", "1/route/0", "2/route/1"] {
        assert_eq!(written.data.pointer(&format!("/spec/http/{path}/weight")), Some(&json!(40)), "{path}");
    }
    edit(&api, "app-routes", "kubectl-edit", json!([{"op": "add", "path": "/spec/gateways", "value": ["mesh"]}])).await;
    assert_eq!(refused("app-routes").await, "NotADelegate");
}

/// The sample of a delegate, as it is in the repository.
async fn the_sample_of_a_delegate_works(cluster: &Cluster) {
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/samples");
    cluster.kubectl(&["create", "namespace", "bookinfo"], None);
    for file in ["delegate/routing.yaml", "bookinfo/productpage.yaml", "bookinfo/productpage-candidate.yaml"] {
        cluster.kubectl(&["apply", "-f", &format!("{samples}/{file}")], None);
    }
    let text = std::fs::read_to_string(format!("{samples}/delegate/experiment.yaml")).unwrap();
    let resolved = resolve(&serde_saphyr::from_str(&text).unwrap(), &Referred::default()).unwrap();
    let prometheus = Prometheus::new("http://127.0.0.1:9").unwrap();
    let live = Live::new(cluster.client.clone(), prometheus, NAMESPACE, resolved.binding, None, vec![]);
    let asked = Questions { subsets: true, ..Questions::default() };
    let seen = live.observe(&resolved.plan, &asked).await;
    assert_eq!(seen.subsets, Some(Ok(())));
    let Some(Ok(Routes { baseline: 100, candidates: Split::HOME, .. })) = seen.routes else {
        panic!("{:?}", seen.routes)
    };
    live.perform(&Effect::Route(Split::one(30))).await.unwrap();
    assert_eq!(weights(&live).await, Ok((70, 30)));
}

/// A kind that nobody knows: weights as numbers, and as texts.
const SPLITS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: splits.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Split, plural: splits, singular: split}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, x-kubernetes-preserve-unknown-fields: true}}}}
";

async fn weights_may_be_in_any_field(cluster: &Cluster) {
    let field = |kind: &str, name: &str, path: &str| WeightField {
        kind: GroupVersionKind::gvk("example.com", "v1", kind),
        name: name.into(),
        path: path.parse().unwrap(),
    };
    let live = |baseline, candidate| {
        cluster.live_at("me", "u1", vec![], WeightsAt::Fields { baseline, candidates: vec![candidate] })
    };
    let (one, other) = (field("Split", "one", ".spec.to[0].share"), field("Split", "one", ".spec.to[1].share"));
    let together = live(one.clone(), other);
    let unknown = routes(&together).await.unwrap_err();
    assert!(unknown.cause.word() == "RouteNotFound" && unknown.message.contains("no kind `Split`"), "{unknown}");
    cluster.kubectl(&["apply", "-f", "-"], Some(SPLITS));
    cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd/splits.example.com"], None);
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Split"));
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), NAMESPACE, &resource);
    let create = async |name: &str, spec: Value| {
        let object = DynamicObject::new(name, &resource).data(json!({"spec": spec}));
        let params = PostParams { field_manager: Some("tests".into()), ..PostParams::default() };
        api.create(&params, &object).await.unwrap();
    };
    create("one", json!({"to": [{"share": 100, "name": "a"}, {"name": "b"}], "other": true})).await;
    create("two", json!({"share": "0"})).await;
    assert_eq!(
        routes(&together).await.unwrap(),
        Routes { writer: Some("tests".into()), ..Routes::split(Split::one(0)) }
    );
    together.perform(&Effect::Route(Split::one(25))).await.unwrap();
    assert_eq!(routes(&together).await.unwrap(), Routes::split(Split::one(25)));
    let spec = async |name: &str| api.get(name).await.unwrap().data["spec"].clone();
    assert_eq!(
        spec("one").await,
        json!({"to": [{"share": 75, "name": "a"}, {"share": 25, "name": "b"}], "other": true})
    );
    edit(&api, "one", "kubectl-edit", json!([{"op": "add", "path": "/spec/to/1/share", "value": 50}])).await;
    let edited = routes(&together).await.unwrap();
    assert_eq!((edited.candidates.of(0), edited.writer.as_deref()), (50, Some("kubectl-edit")));
    // Iter8's own use of it: two weights of a VirtualService.
    let route = |index: u8| WeightField {
        kind: GroupVersionKind::gvk("networking.istio.io", "v1beta1", "VirtualService"),
        name: "app".into(),
        path: format!(".spec.http[1].route[{index}].weight").parse().unwrap(),
    };
    let istio = live(route(1), route(0));
    istio.perform(&Effect::Route(Split::one(45))).await.unwrap();
    assert_eq!(routes(&istio).await.unwrap(), Routes::split(Split::one(45)));
    edit(
        &cluster.routes(),
        "app",
        "kubectl-edit",
        json!([{"op": "add", "path": "/spec/http/1/timeout", "value": "4s"}]),
    )
    .await;
    assert_eq!(routes(&istio).await.unwrap().writer.as_deref(), Some("kubectl-edit"), "the routes are one list");
    istio.perform(&Effect::Route(Split::HOME)).await.unwrap();
    // Two objects, one of which keeps its weight as a text.
    let apart = live(one.clone(), field("Split", "two", ".spec.share"));
    for candidate in [100, 60, 0] {
        apart.perform(&Effect::Route(Split::one(candidate))).await.unwrap();
        assert_eq!(routes(&apart).await.unwrap(), Routes::split(Split::one(candidate)));
    }
    assert_eq!(spec("two").await, json!({"share": "0"}));
    // One is gone: the other one can still be brought home.
    apart.perform(&Effect::Route(Split::one(60))).await.unwrap();
    let half = live(one, field("Split", "three", ".spec.share"));
    assert_eq!(routes(&half).await.unwrap_err().cause.word(), "RouteIncomplete");
    half.perform(&Effect::Route(Split::HOME)).await.unwrap();
    assert_eq!(spec("one").await["to"][0]["share"], 100);
    let everywhere = field("Split", "one", ".spec.nowhere.share");
    assert_eq!(routes(&live(everywhere.clone(), everywhere)).await.unwrap_err().cause.word(), "RouteNotFound");
    let mut node = field("Node", "n", ".spec.share");
    node.kind = GroupVersionKind::gvk("", "v1", "Node");
    assert_eq!(routes(&live(node.clone(), node)).await.unwrap_err().cause.word(), "NotSupported");
}

async fn destinations_lead_to_their_own_workloads(cluster: &Cluster) {
    let apply = |object: Value| {
        cluster.kubectl(&["apply", "-f", "-"], Some(&object.to_string()));
    };
    let live = cluster.live_at("me", "u1", vec![], in_routes("app", &["first"], false));
    let asked = Questions { subsets: true, ..Questions::default() };
    let check = async || live.observe(&plan(), &asked).await.subsets.unwrap();
    let reason = async || check().await.unwrap_err().cause.word();
    assert_eq!(reason().await, "WorkloadNotFound");
    for (name, version) in [("app", "stable"), ("app-next", "next")] {
        let labels = json!({"app": "app", "version": version});
        apply(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
                "spec": {"containers": [{"name": "app", "image": "a:1"}]}}}}));
    }
    assert_eq!(reason().await, "ServiceNotFound");
    apply(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "app"},
        "spec": {"selector": {"app": "app"}, "ports": [{"port": 80}]}}));
    assert_eq!(reason().await, "SubsetNotFound");
    let rule = |next: Value| {
        json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "app"},
        "spec": {"host": "app", "subsets": [{"name": "stable", "labels": {"version": "stable"}}, {"name": "next", "labels": next}]}})
    };
    for (labels, words) in [(json!({"version": "nxt"}), "version=nxt"), (json!({"app": "app"}), "as well as")] {
        apply(rule(labels));
        let mismatch = check().await.unwrap_err();
        assert!(mismatch.cause.word() == "SubsetMismatch" && mismatch.message.contains(words), "{mismatch}");
    }
    apply(rule(json!({"version": "next"})));
    assert_eq!(check().await, Ok(()));
    let workloads = seen(&live).await.workloads.unwrap().unwrap();
    assert_ne!(workloads.baseline.content, workloads.candidates[0].content);
}

fn contender(experiment: &Experiment, standing: Standing) -> Contender {
    Contender {
        claimant: Claimant {
            namespace: NAMESPACE.into(),
            name: experiment.name_any(),
            uid: experiment.uid().unwrap(),
            created: Timestamp::from_second(200).unwrap(),
            target: "default/app".into(),
        },
        standing,
    }
}

async fn experiment(cluster: &Cluster, name: &str, finalizers: Value) -> Experiment {
    let version = |name: &str| json!({"name": name, "workload": {"name": name}, "destination": {"subset": name}});
    let experiment = serde_json::from_value(json!({
        "apiVersion": "iter8.tools/v2alpha2", "kind": "Experiment", "metadata": {"name": name, "finalizers": finalizers},
        "spec": {
            "target": "default/app",
            "strategy": {"testingPattern": "Canary"},
            "versionInfo": {"baseline": version("stable"), "candidates": [version("next")]},
            "traffic": {"virtualService": "app"},
            "criteria": {"objectives": [{"metric": "istio/error-rate", "upperLimit": "1%"}]},
        },
    }));
    cluster.experiments().create(&PostParams::default(), &experiment.unwrap()).await.unwrap()
}

async fn one_experiment_holds_the_target(cluster: &Cluster) {
    let other = experiment(cluster, "other", json!([])).await;
    let (known, done) = (vec![contender(&other, Standing::InLine)], vec![contender(&other, Standing::Done)]);
    let uid = other.uid().unwrap();
    let me = |contenders: &[Contender]| cluster.live("me", "u1", contenders.to_vec());
    let holder = cluster.live("other", &uid, vec![]);
    assert_eq!(lock(&me(&known)).await, Lock::Free);
    holder.perform(&Effect::Claim).await.unwrap();
    holder.perform(&Effect::Claim).await.unwrap();
    assert_eq!(lock(&holder).await, Lock::Mine);
    let taken = Lock::Taken("default/other".into());
    assert_eq!(lock(&me(&known)).await, taken);
    // A list that does not know the holder yet makes nobody the next.
    assert_eq!(lock(&me(&[])).await, taken);
    assert_eq!(me(&[]).perform(&Effect::Claim).await.unwrap_err().cause.word(), "Conflict");
    // Who does not hold it releases nothing.
    me(&known).perform(&Effect::Release).await.unwrap();
    assert_eq!(lock(&holder).await, Lock::Mine);
    // A holder that is done gives way; both claim, one wins.
    assert_eq!(lock(&me(&done)).await, Lock::Free);
    let (me_too, third) = (me(&done), cluster.live("third", "u3", done.clone()));
    let (first, second) = futures::join!(me_too.perform(&Effect::Claim), third.perform(&Effect::Claim));
    let lost: Vec<_> = [first, second].into_iter().filter_map(Result::err).map(|u| u.cause.word()).collect();
    assert_eq!(lost, ["Conflict"]);
    // Whoever won does not exist: the Lease of an experiment that is gone is free.
    assert_eq!(lock(&holder).await, Lock::Free);
    holder.perform(&Effect::Claim).await.unwrap();
    holder.perform(&Effect::Release).await.unwrap();
    holder.perform(&Effect::Release).await.unwrap();
    assert_eq!(lock(&me(&done)).await, Lock::Free);
}

async fn only_our_finalizer_goes(cluster: &Cluster) {
    let held = experiment(cluster, "held", json!(["example.com/first", FINALIZER, "example.com/last"])).await;
    let uid = held.uid().unwrap();
    let finalizers = || async { cluster.experiments().get("held").await.unwrap().finalizers().to_vec() };
    // An experiment of the same name that came later is another one.
    cluster.live("held", "another", vec![]).perform(&Effect::Forget).await.unwrap();
    assert_eq!(finalizers().await.len(), 3);
    let live = cluster.live("held", &uid, vec![]);
    live.perform(&Effect::Forget).await.unwrap();
    live.perform(&Effect::Forget).await.unwrap();
    assert_eq!(finalizers().await, ["example.com/first", "example.com/last"]);
    cluster.live("nobody", "u9", vec![]).perform(&Effect::Forget).await.unwrap();
}
