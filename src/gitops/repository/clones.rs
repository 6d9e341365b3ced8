//! Clones that outlive a turn: one for each branch of a repository and credential, used by one turn at a time.
//!
//! Owns the sessions between their uses and bounds what they take of the disk. It makes no choices, and what it keeps is never
//! trusted to be new: whoever uses a session looks at the remote first ([`Session::refresh`]). One that could not be used is not
//! kept, so that no failure of the disk outlives its turn; a server that refuses, or a plan that does not fit, is not its fault,
//! and a clone costs the server most when it is busy. Called by [`super::super::writeback`]; a process has one value of this.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Mutex as Turns;

use super::super::blocking;
use super::super::transport::{Failure, Limits, install};
use super::super::tree::CommitId;
use super::{Link, Remote, RepositoryError, Session};

/// How long an unused clone is kept: reviews are looked at every few minutes at most.
const IDLE: Duration = Duration::from_mins(15);
/// Most clones on the disk; more repositories than this in one quarter of an hour clone again.
const MOST: usize = 16;
/// Packs and commits after which a clone is made anew, for it only grows.
const MOST_GROWN: u32 = 100;

/// Whose clone it is: a rotated token or a renamed branch is another one.
type Key = (Remote, String);
/// A session between its uses; there is none before the first and after a failed one.
type Slot = Arc<Turns<Option<Session>>>;

/// How work on a clone fails.
pub trait Ending: From<RepositoryError> {
    /// Whether the clone itself may be the reason: the next work begins with a new one.
    fn is_of_the_clone(&self) -> bool;
}

impl Ending for RepositoryError {
    fn is_of_the_clone(&self) -> bool {
        matches!(self, Self::Store { .. })
    }
}

/// The clones of a process; a copy of this value shares them.
#[derive(Clone, Default)]
pub struct Clones {
    kept: Arc<Mutex<HashMap<Key, (Slot, Instant)>>>,
    limits: Limits,
}

impl Clones {
    /// Runs blocking work on the branch's session, after those who asked for it before. It may be as old as [`IDLE`].
    pub async fn with<T, E>(
        &self,
        remote: &Remote,
        branch: &str,
        work: impl FnOnce(&mut Session) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: Ending + Send + 'static,
    {
        let (slot, limits) = (self.slot(remote, branch), self.limits);
        // Those before may be waiting for a slow server, each as long as one operation may take.
        let turn = tokio::time::timeout(limits.wall_clock, slot.lock_owned()).await;
        let mut turn = turn.map_err(|_| RepositoryError::from(Failure::TimedOut))?;
        let (remote, branch) = (remote.clone(), branch.to_owned());
        blocking(move || {
            let kept = turn.take();
            let mut session = kept.map_or_else(|| Session::empty(&remote, &branch, limits), Ok)?;
            let done = work(&mut session);
            let sound = !done.as_ref().is_err_and(Ending::is_of_the_clone);
            *turn = Some(session).filter(|session| sound && session.grown < MOST_GROWN);
            done
        })
        .await
    }

    /// The commits of branches at the remote now, `None` where there is no such branch. It needs no clone, and waits for none.
    pub async fn heads<const N: usize>(
        &self,
        remote: &Remote,
        branches: [String; N],
    ) -> Result<[Option<CommitId>; N], RepositoryError> {
        let (remote, limits) = (remote.clone(), self.limits);
        blocking(move || {
            install();
            Link::new(&remote, limits)?.heads(branches.each_ref().map(String::as_str))
        })
        .await
    }

    fn slot(&self, remote: &Remote, branch: &str) -> Slot {
        let (mut kept, now) = (self.kept.lock(), Instant::now());
        let key = (remote.clone(), branch.to_owned());
        let slot = kept.remove(&key).map_or_else(Slot::default, |(slot, _)| slot);
        tidy(&mut kept, now);
        kept.insert(key, (Arc::clone(&slot), now));
        slot
    }
}

/// Forgets what was not used for long, and the oldest if there are too many. One that is in use ends with its use.
fn tidy(kept: &mut HashMap<Key, (Slot, Instant)>, now: Instant) {
    kept.retain(|_, (_, used)| now.duration_since(*used) < IDLE);
    let oldest = kept.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| key.clone());
    if let Some(oldest) = oldest.filter(|_| kept.len() >= MOST) {
        kept.remove(&oldest);
    }
}
