//! The judge benchmark: how often each rule decides wrongly, how soon it decides, and at whose cost.
//!
//! Owns a simulated world with traffic, the peers' rules in it, and what comes of both. The product's own engine decides
//! for Reiter8; nothing here takes part in an experiment, and the engine does not know it. Called by
//! `reiter8 bench`.
//!
//! * [`grid`] says which cells there are: a rule in a [`scenario`].
//! * [`run`] runs them on all cores: [`ours`] and [`theirs`] in the same [`traffic`].
//! * [`forecast`] does the same with a user's own experiment, for `reiter8 plan`.
//! * [`guard`] runs what comes after a verdict.
//! * [`race`] lets several candidates compete, and says how often the best one is lost.
//! * [`bars`] holds the results against what is promised; [`report`] and [`plot`] show them.

pub mod bars;
mod chance;
mod end;
mod evidence;
pub mod forecast;
pub mod grid;
pub mod guard;
pub mod ours;
pub mod peers;
pub mod plot;
pub mod promql;
pub mod race;
pub mod report;
pub mod run;
pub mod scenario;
pub mod statistics;
pub mod theirs;
pub mod traffic;
