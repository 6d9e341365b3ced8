//! Several candidates of one service, as CI commits them.

use super::trial::{APP, APPLICATION, BASELINE, CANDIDATE, NAME, Stack, Trial};

/// Milliseconds that the baseline takes for an answer: some candidates can be clearly faster, others clearly slower.
pub const LATENCY: u32 = 60;

/// One of several candidates.
#[derive(Clone, Debug)]
pub struct Rival {
    pub name: &'static str,
    /// Milliseconds that it takes for an answer.
    pub latency: u32,
    /// Share of the requests that it answers with an error.
    pub errors: &'static str,
    /// A further variable of its container.
    pub env: Option<(&'static str, &'static str)>,
}

impl Rival {
    /// A candidate that answers every request.
    pub fn new(name: &'static str, latency: u32) -> Self {
        Self { name, latency, errors: "0", env: None }
    }

    /// Its file.
    pub fn file(&self) -> String {
        format!("{APP}/productpage-{}.yaml", self.name)
    }

    /// What the baseline's manifest differs by once this one was promoted.
    pub fn promoted(&self) -> [(String, String); 3] {
        [
            ("productpage:v1".into(), format!("productpage:{}", self.name)),
            ("value: v1".into(), format!("value: {}", self.name)),
            (milliseconds(LATENCY), milliseconds(self.latency)),
        ]
    }
}

/// The variable of a manifest.
fn milliseconds(latency: u32) -> String {
    format!("LATENCY_MS, value: \"{latency}\"")
}

impl<'a> Trial<'a> {
    /// A service whose routes lead to candidates of these names as well, all at weight 0.
    pub async fn racing(stack: &'a Stack, namespace: &str, rivals: &[Rival]) -> anyhow::Result<Self> {
        let trial = Self::empty(stack, namespace).await?;
        let baseline = trial.manifest(BASELINE, "0").replace(&milliseconds(20), &milliseconds(LATENCY));
        let mut routing = trial.routing();
        let subset = "  - {name: candidate, labels: {version: candidate}}\n".to_owned();
        let host = format!("productpage.{namespace}.mesh.local");
        let destination = format!("    - destination: {{host: {host}, subset: candidate}}\n      weight: 0\n");
        for one in [subset, destination] {
            anyhow::ensure!(routing.contains(&one), "the routing has no {one}");
            let all: String = rivals.iter().map(|rival| one.replace("candidate", rival.name)).collect();
            routing = routing.replace(&one, &all);
        }
        trial.serve(baseline, routing, APPLICATION).await
    }

    /// What CI does: one commit with all candidates and the experiment, whose ramp is in steps of a weight and its seconds.
    pub async fn race(&self, rivals: &[Rival], steps: &[(u32, u32)]) -> anyhow::Result<()> {
        let mut files: Vec<_> = rivals.iter().map(|rival| (rival.file(), Some(self.rival(rival)))).collect();
        files.push((format!("{APP}/experiment.yaml"), Some(self.contest(rivals, steps))));
        self.commit("Try the next product pages", &files).await
    }

    fn rival(&self, rival: &Rival) -> String {
        let variable = format!("        - {{name: VERSION, value: {}}}\n", rival.name);
        let more = rival.env.map(|(name, value)| format!("        - {{name: {name}, value: \"{value}\"}}\n"));
        self.manifest(CANDIDATE, rival.errors)
            .replace("productpage-candidate", &format!("productpage-{}", rival.name))
            .replace("version: candidate", &format!("version: {}", rival.name))
            .replace("productpage:v2", &format!("productpage:{}", rival.name))
            .replace("        - {name: VERSION, value: v2}\n", &(variable + &more.unwrap_or_default()))
            .replace(&milliseconds(20), &milliseconds(rival.latency))
    }

    /// The experiment's manifest: a limit for everybody's errors, and a race for the lowest latency.
    fn contest(&self, rivals: &[Rival], steps: &[(u32, u32)]) -> String {
        let ns = &self.namespace;
        let candidates: String = rivals
            .iter()
            .map(|Rival { name, .. }| {
                format!(
                    "    - {{name: {name}, workload: {{name: productpage-{name}}}, destination: {{subset: {name}}}}}\n"
                )
            })
            .collect();
        let each: Vec<String> = rivals.iter().map(|r| format!("{0}: productpage-{0}.yaml", r.name)).collect();
        let steps: Vec<String> =
            steps.iter().map(|(weight, hold)| format!("{{weight: {weight}, hold: {hold}s}}")).collect();
        format!(
            "apiVersion: iter8.tools/v2alpha2
kind: Experiment
metadata:
  name: {NAME}
  namespace: {ns}
  annotations: {{argocd.argoproj.io/sync-wave: \"10\"}}
spec:
  target: {ns}/productpage
  strategy:
    testingPattern: A/B/N
    weights: {{maxCandidateWeight: 50}}
    ramp: {{steps: [{steps}]}}
  versionInfo:
    baseline: {{name: stable, workload: {{name: productpage}}, destination: {{subset: stable}}}}
    candidates:
{candidates}  traffic: {{virtualService: bookinfo, routes: [productpage], host: productpage.{ns}.mesh.local}}
  criteria:
    rewards:
    - {{metric: istio/mean-latency, preferredDirection: Low}}
    objectives:
    - {{metric: istio/error-rate, upperLimit: 1%}}
  analysis: {{interval: 2s, lag: 3s, warmUp: 5s, soak: 15s, deadline: 10m}}
  gitops:
    repository: platform/{ns}
    path: {APP}
    promote: {{from: productpage-{first}.yaml, fromEach: {{{each}}}, to: productpage.yaml}}
",
            steps = steps.join(", "),
            each = each.join(", "),
            first = rivals.first().map_or("", |r| r.name),
        )
    }
}
