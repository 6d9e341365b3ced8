//! Between two looks at the clean-up requests of completed experiments: which is due, and asking the forge alone.
//!
//! Owns what such a look has to know, a few hundred bytes for each experiment, and one credential for each Repository. Nothing of
//! it is written down: a new process begins with a turn for each, spread over the time between two looks. What is
//! [news](Rest::is_ended_by) is the engine's choice, and gets a turn with fresh reads; so does whatever the watches say was
//! changed. Called by [`super::rest`] and [`super::experiments`].

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube_runtime::controller::Action;
use parking_lot::Mutex;

use super::experiments::{part, spread};
use super::{Context, references};
use crate::api::{Experiment, Repository, RepositorySpec};
use crate::engine::{Rest, Reviewed, Seen};
use crate::gitops::{Credential, Lookout};

/// How long one that can be carried out no more is left alone: a Repository or a Metric of it is gone.
const LOST: SignedDuration = SignedDuration::from_hours(4);
/// How long a Repository's credential is used without looking whether its Secret has another one.
const HELD: SignedDuration = SignedDuration::from_hours(24);
/// How long a forge that gave no answer is left alone, by all who are looked after there.
const SILENCE: SignedDuration = SignedDuration::from_mins(1);
/// The longest time between two readings of a Repository whose credential is refused.
const LONGEST: SignedDuration = SignedDuration::from_hours(4);

/// The experiments that are looked after, by uid, and their Repositories.
#[derive(Default)]
pub(super) struct Looks {
    tickets: Mutex<HashMap<String, Ticket>>,
    places: Mutex<HashMap<String, Weak<Place>>>,
}

/// When an experiment is due, and what its look has to know.
struct Ticket {
    /// The version of the object that this is about.
    version: Option<String>,
    /// None: not before something changes.
    due: Option<Timestamp>,
    /// Without it the whole experiment is read.
    rest: Option<(Arc<Rest>, Arc<Place>)>,
}

/// What an experiment that is looked after needs now.
enum Next {
    Wait(Action),
    Look(Arc<Rest>, Arc<Place>),
    Turn,
}

impl Looks {
    /// Notes what the last turn of a completed experiment left.
    pub(super) fn keep(
        &self,
        uid: &str,
        version: Option<String>,
        due: Option<Timestamp>,
        rest: Option<(Rest, Arc<Place>)>,
    ) {
        let rest = rest.map(|(rest, place)| (Arc::new(rest), place));
        self.tickets.lock().insert(uid.to_owned(), Ticket { version, due, rest });
    }

    /// Leaves one alone that cannot be looked after.
    pub(super) fn lose(&self, experiment: &Experiment, now: Timestamp) -> Action {
        self.keep(&experiment.uid().unwrap_or_default(), experiment.resource_version(), Some(now + LOST), None);
        Action::requeue(spread(LOST.unsigned_abs()))
    }

    pub(super) fn forget(&self, uid: &str) {
        self.tickets.lock().remove(uid);
    }

    /// Forgets all others.
    pub(super) fn keep_only(&self, uids: &HashSet<String>) {
        self.tickets.lock().retain(|uid, _| uids.contains(uid));
    }

    /// Looks, if it is time; when to come back, unless it takes a turn.
    pub(super) async fn look(&self, experiment: &Experiment, context: &Context, now: Timestamp) -> Option<Action> {
        let (rest, place) = match self.next(experiment, now) {
            Next::Wait(action) => return Some(action),
            Next::Turn => return None,
            Next::Look(rest, place) => (rest, place),
        };
        let seen = place.ask(&rest, context, now).await;
        if !place.is_current() || seen.is_some_and(|seen| rest.is_ended_by(&seen)) {
            return None;
        }
        if let Some(ticket) = self.tickets.lock().get_mut(&experiment.uid().unwrap_or_default()) {
            ticket.due = Some(now + Rest::EVERY);
        }
        Some(Action::requeue(spread(Rest::EVERY.unsigned_abs())))
    }

    fn next(&self, experiment: &Experiment, now: Timestamp) -> Next {
        let mut tickets = self.tickets.lock();
        let uid = experiment.uid().unwrap_or_default();
        let Some(ticket) = tickets.get(&uid) else {
            // A process that just started knows none of them: they come one after the other.
            let wait = part(Rest::EVERY.unsigned_abs());
            let due = SignedDuration::try_from(wait).ok().map(|wait| now + wait);
            tickets.insert(uid, Ticket { version: experiment.resource_version(), due, rest: None });
            return Next::Wait(Action::requeue(wait));
        };
        if ticket.version != experiment.resource_version() {
            return Next::Turn;
        }
        let Some(due) = ticket.due else { return Next::Wait(Action::await_change()) };
        let left = Duration::try_from(due.duration_since(now)).unwrap_or_default();
        match &ticket.rest {
            _ if !left.is_zero() => Next::Wait(Action::requeue(left)),
            Some((rest, place)) if place.is_current() => Next::Look(Arc::clone(rest), Arc::clone(place)),
            Some(_) | None => Next::Turn,
        }
    }

    /// The Repository that a turn has read, and its credential if there is one. It is forgotten with the last experiment that
    /// is looked after in it.
    pub(super) fn place(&self, repository: &Repository, credential: Option<Credential>, now: Timestamp) -> Arc<Place> {
        let mut places = self.places.lock();
        let (namespace, name) = (repository.namespace().unwrap_or_default(), repository.name_any());
        let version = repository.resource_version();
        let there = places.get(&key(&namespace, &name)).and_then(Weak::upgrade);
        let place = there.filter(|place| place.is_current() && place.version == version).unwrap_or_else(|| {
            places.retain(|_, place| place.strong_count() > 0);
            let stale = AtomicBool::new(false);
            let place = Arc::new(Place { namespace, name, version, stale, held: Mutex::default() });
            places.insert(key(&place.namespace, &place.name), Arc::downgrade(&place));
            place
        });
        if let Some(credential) = credential {
            place.hold(repository.spec.clone(), credential, now);
        }
        place
    }

    /// A Repository is not what it was: whoever is looked after in it gets a turn at its next look.
    pub(super) fn changed(&self, repository: &impl ResourceExt) {
        let key = key(&repository.namespace().unwrap_or_default(), &repository.name_any());
        let mut places = self.places.lock();
        let place = places.get(&key).and_then(Weak::upgrade);
        if let Some(place) = place.filter(|place| place.version != repository.resource_version()) {
            place.stale.store(true, Ordering::Release);
            places.remove(&key);
        }
    }
}

fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// A Repository as it was read, with its credential.
pub(super) struct Place {
    namespace: String,
    name: String,
    version: Option<String>,
    /// It was changed since.
    stale: AtomicBool,
    held: Mutex<Held>,
}

/// The credential, and when it may be read again.
#[derive(Default)]
struct Held {
    access: Option<Arc<(RepositorySpec, Credential)>>,
    /// When it was read.
    since: Timestamp,
    /// Readings in a row after which the forge still refused.
    vain: u32,
    not_before: Timestamp,
    /// Until when the forge is left alone: one that hangs holds up one look, not all.
    silent_until: Timestamp,
}

impl Place {
    fn is_current(&self) -> bool {
        !self.stale.load(Ordering::Acquire)
    }

    fn hold(&self, spec: RepositorySpec, credential: Credential, now: Timestamp) {
        let mut held = self.held.lock();
        held.access = Some(Arc::new((spec, credential)));
        held.since = now;
    }

    /// What the forge says; none while there is no credential to ask it with.
    async fn ask(&self, rest: &Rest, context: &Context, now: Timestamp) -> Option<Seen<Reviewed>> {
        let access = match self.access(now) {
            _ if now < self.held.lock().silent_until => return None,
            Some(access) => access,
            None if self.may_read(now) => self.read(context, now).await?,
            None => return None,
        };
        let (spec, credential) = &*access;
        let lookout = Lookout::new(spec, Some(credential.clone()), &context.http_hosts, &context.forges);
        let seen = match lookout {
            Ok(lookout) => lookout.glance(rest).await,
            Err(u) => Err(u),
        };
        self.learn(&access, &seen, now);
        Some(seen)
    }

    fn access(&self, now: Timestamp) -> Option<Arc<(RepositorySpec, Credential)>> {
        let mut held = self.held.lock();
        if now >= held.since + HELD {
            held.access = None;
        }
        held.access.clone()
    }

    /// Whether the Repository and its Secret may be read now. One at a time does, and after every time in vain only half as
    /// often.
    fn may_read(&self, now: Timestamp) -> bool {
        let mut held = self.held.lock();
        let due = now >= held.not_before;
        if due {
            let wait = Rest::EVERY * 2_i32.saturating_pow(held.vain.min(8));
            held.not_before = now + wait.min(LONGEST);
            held.vain = held.vain.saturating_add(1);
        }
        due
    }

    async fn read(&self, context: &Context, now: Timestamp) -> Option<Arc<(RepositorySpec, Credential)>> {
        let repository = match references::named(&context.client, &self.namespace, &self.name).await {
            Ok(Some(repository)) if repository.resource_version() == self.version => repository,
            Ok(_) => {
                self.stale.store(true, Ordering::Release);
                return None;
            }
            Err(error) => return self.unread(&error),
        };
        match references::credential(&context.client, &repository).await {
            Ok(credential) => self.hold(repository.spec, credential, now),
            Err(error) => return self.unread(&error),
        }
        self.access(now)
    }

    fn unread<T>(&self, error: &crate::engine::Unavailable) -> Option<T> {
        let (namespace, name) = (&self.namespace, &self.name);
        tracing::debug!(namespace, name, reason = error.cause.word(), "{error}");
        None
    }

    /// A credential that is not taken is not used again: its Secret may have another one. A forge that is away, or that asks for
    /// a pause, says nothing about it.
    fn learn(&self, used: &Arc<(RepositorySpec, Credential)>, seen: &Seen<Reviewed>, now: Timestamp) {
        let mut held = self.held.lock();
        let Err(u) = seen else {
            (held.vain, held.not_before) = (0, Timestamp::UNIX_EPOCH);
            return;
        };
        held.silent_until = now + SILENCE;
        let (namespace, name) = (&self.namespace, &self.name);
        tracing::debug!(namespace, name, reason = u.cause.word(), "a look at a clean-up request was in vain: {u}");
        if !u.cause.is_silent_about_credentials() {
            drop(held.access.take_if(|access| Arc::ptr_eq(access, used)));
        }
    }
}

#[cfg(test)]
mod tests;
