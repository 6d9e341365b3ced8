//! The experiment that the engine's tests are about: the defaults, without a write-back.

use jiff::SignedDuration;
use reiter8::engine::{Analysis, Criterion, Identity, OnUndecided, Plan, Ramp, Version};

pub fn plan(criteria: Vec<Criterion>) -> Plan {
    let seconds = SignedDuration::from_secs;
    let version = |name: &str, workload: &str| Version { name: name.into(), workload: workload.into() };
    Plan {
        identity: Identity { namespace: "ns".into(), name: "trial".into(), uid: "u1".into(), target: "ns/app".into() },
        deleting: None,
        refused: None,
        baseline: version("stable", "app"),
        candidates: vec![version("next", "app-next")],
        ramp: Ramp::Gated { budget: 50.0 },
        cap: 50,
        capacity: None,
        race: None,
        iterations: None,
        wishes: vec![],
        criteria,
        analysis: Analysis {
            false_rollback: 0.05,
            false_promotion: 0.05,
            interval: seconds(10),
            lag: seconds(20),
            warm_up: seconds(30),
            soak: seconds(60),
            deadline: seconds(3600),
            hard_deadline: seconds(7200),
            on_undecided: OnUndecided::Hold,
        },
        gitops: None,
    }
}
