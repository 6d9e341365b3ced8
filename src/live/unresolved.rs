//! The world of an experiment that cannot be carried out and has no traffic: nothing but the target that it may hold.
//!
//! An experiment takes its target and is edited before it begins: the target is given back. Everything else that the engine
//! could ask of such an experiment has no answer, and no effect touches anything. Called by the controller.

use kube::Client;

use super::lock::{Claimant, TargetLock};
use crate::engine::{Effect, Notice, Observation, Plan, Questions, Unavailable};
use crate::turn::World;

/// The world of one experiment that cannot be carried out.
pub(crate) struct Unresolved {
    lock: TargetLock,
    claimant: Claimant,
    /// Whether it may have claimed its target.
    held: bool,
}

impl Unresolved {
    /// `namespace` is where the targets' Leases are.
    pub(crate) fn new(client: Client, namespace: &str, claimant: Claimant, held: bool) -> Self {
        Self { lock: TargetLock::new(client, namespace, &claimant.target), claimant, held }
    }
}

impl World for Unresolved {
    async fn observe(&self, _: &Plan, questions: &Questions) -> Observation {
        let asked = self.held && !questions.quiet;
        let lock = if asked { Some(self.lock.read(&self.claimant, &[]).await) } else { None };
        Observation { lock, ..Observation::default() }
    }

    async fn perform(&self, effect: &Effect) -> Result<Vec<Notice>, Unavailable> {
        if *effect == Effect::Release {
            self.lock.release(&self.claimant).await?;
        }
        Ok(vec![])
    }
}
