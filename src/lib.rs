//! Reiter8.
