//! The weights of one experiment, wherever they are kept. Chooses the table; the tables do the work.

use kube::Client;

use super::binding::{RouteBinding, WeightsAt};
use super::fields::FieldTable;
use super::routes::{RouteTable, Wanted};
use crate::engine::{Routes, Seen, Split, Unavailable};

/// The weights of one experiment.
pub(super) enum Weights {
    /// In http routes of a VirtualService.
    Routes(RouteTable),
    /// In a field for each version.
    Fields(FieldTable),
}

impl Weights {
    pub(super) fn new(client: Client, namespace: &str, binding: &RouteBinding) -> Self {
        let RouteBinding { weights, baseline, candidates } = binding.clone();
        match weights {
            WeightsAt::VirtualService { name, routes, delegate } => {
                let wanted = Wanted { name, routes, delegate, baseline, candidates };
                Self::Routes(RouteTable::new(client, namespace, wanted))
            }
            WeightsAt::Fields { baseline, candidates } => {
                Self::Fields(FieldTable::new(client, namespace, baseline, candidates))
            }
        }
    }

    /// The weights, and who wrote them after us.
    pub(super) async fn read(&self) -> Seen<Routes> {
        match self {
            Self::Routes(table) => table.read().await,
            Self::Fields(table) => table.read().await,
        }
    }

    /// Gives the candidates their weights and the baseline the rest.
    pub(super) async fn write(&self, wanted: Split) -> Result<(), Unavailable> {
        match self {
            Self::Routes(table) => table.write(wanted).await,
            Self::Fields(table) => table.write(wanted).await,
        }
    }

    /// The hosts of the baseline and then of each candidate as the routes write them; fields tell none.
    pub(super) async fn hosts(&self) -> Seen<Option<Vec<String>>> {
        match self {
            Self::Routes(table) => table.hosts().await.map(Some),
            Self::Fields(_) => Ok(None),
        }
    }
}
