//! Where the parts of one experiment are: names in the cluster and selectors in the metrics source.

use jiff::Timestamp;
use kube::core::GroupVersionKind;

use super::fields::FieldPath;
use super::lock::Claimant;
use super::metric::MetricQuery;
use super::query::{SelectorError, Versions};

/// Addresses of one experiment's parts. Built by `controller::resolve`.
#[derive(Clone, Debug, PartialEq)]
pub struct Binding {
    /// Namespace of the experiment, its routes and its workloads.
    pub namespace: String,
    /// Name of the experiment.
    pub name: String,
    /// UID of the experiment.
    pub uid: String,
    /// When the experiment was created.
    pub created: Timestamp,
    /// What at most one experiment at a time may touch.
    pub target: String,
    /// The weights.
    pub routes: RouteBinding,
    /// The version that serves users today.
    pub baseline: VersionBinding,
    /// The versions on trial.
    pub candidates: Vec<VersionBinding>,
    /// What is read in each interval for each candidate; criteria refer to their answer by its position: all metrics of the
    /// first candidate, then all of the next one.
    pub metrics: Vec<MetricQuery>,
}

/// One version, as far as its workload and its placeholders go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionBinding {
    /// Its name in the experiment.
    pub name: String,
    /// Name of its Deployment.
    pub workload: String,
    /// Its own placeholders: name without `$`, value.
    pub variables: Vec<(String, String)>,
}

/// The weights of an experiment, and where each version's requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteBinding {
    /// Where the weights are kept.
    pub weights: WeightsAt,
    /// Where the baseline's requests go.
    pub baseline: Destination,
    /// Where the candidates' requests go, in the plan's order.
    pub candidates: Vec<Destination>,
}

/// Where weights are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WeightsAt {
    /// In http routes of a VirtualService, at the versions' destinations.
    VirtualService {
        /// Name of the VirtualService.
        name: String,
        /// Names of its http routes; none means every route that leads to all destinations.
        routes: Vec<String>,
        /// Whether it has to be a delegate: without hosts and gateways.
        delegate: bool,
    },
    /// In one field for each version, wherever it is. The destinations only fill in placeholders then.
    Fields {
        /// The baseline's.
        baseline: WeightField,
        /// The candidates', in the plan's order.
        candidates: Vec<WeightField>,
    },
}

/// A field of an object in the experiment's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightField {
    /// Group, version and kind of the object.
    pub kind: GroupVersionKind,
    /// Name of the object.
    pub name: String,
    /// Where the weight is in it.
    pub path: FieldPath,
}

/// A destination of an http route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The host; `None` matches every host.
    pub host: Option<String>,
    /// The subset of the DestinationRule; `None` is a destination without a subset.
    pub subset: Option<String>,
}

impl Binding {
    /// The experiment as far as its target goes.
    pub(super) fn claimant(&self) -> Claimant {
        Claimant {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            created: self.created,
            target: self.target.clone(),
        }
    }

    /// Whether every selector is a plain one whose placeholders all versions have; else the metric's index, and why.
    pub fn check(&self) -> Result<(), (usize, SelectorError)> {
        let all = Versions::of(self);
        self.metrics.iter().enumerate().try_for_each(|(index, query)| {
            let each = |pair: &Versions| query.check(&pair.baseline).and_then(|()| query.check(&pair.candidate));
            all.iter().try_for_each(each).map_err(|error| (index, error))
        })
    }
}
