//! Folders for repositories that live as long as a test.

use tempfile::TempDir;

/// A folder in memory, where there is such a thing: thousands of small repositories would keep a disk busy for minutes.
pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
