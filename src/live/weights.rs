//! The weights of one experiment, wherever they are kept. Chooses the table; the tables do the work.

use kube::Client;

use super::binding::{RouteBinding, WeightsAt};
use super::fields::FieldTable;
use super::routes::{RouteTable, Wanted};
use crate::engine::{Routes, Seen, Unavailable};

/// The weights of one experiment.
pub(super) enum Weights {
    /// In http routes of a VirtualService.
    Routes(RouteTable),
    /// In a field for each version.
    Fields(FieldTable),
}

impl Weights {
    pub(super) fn new(client: Client, namespace: &str, binding: &RouteBinding) -> Self {
        let RouteBinding { weights, baseline, candidate } = binding.clone();
        match weights {
            WeightsAt::VirtualService { name, routes, delegate } => {
                Self::Routes(RouteTable::new(client, namespace, Wanted { name, routes, delegate, baseline, candidate }))
            }
            WeightsAt::Fields { baseline, candidate } => {
                Self::Fields(FieldTable::new(client, namespace, baseline, candidate))
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

    /// Gives the candidate its weight and the baseline the rest.
    pub(super) async fn write(&self, candidate: u8) -> Result<(), Unavailable> {
        match self {
            Self::Routes(table) => table.write(candidate).await,
            Self::Fields(table) => table.write(candidate).await,
        }
    }

    /// The hosts of the baseline and the candidate as the routes write them; fields tell none.
    pub(super) async fn hosts(&self) -> Seen<Option<(String, String)>> {
        match self {
            Self::Routes(table) => table.hosts().await.map(Some),
            Self::Fields(_) => Ok(None),
        }
    }
}
