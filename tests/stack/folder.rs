//! A folder that is no stack's is never emptied by starting or stopping one there.

use std::fs;

use crate::support::stack;
use crate::support::stack::Site;

#[test]
fn other_things_survive_up_and_down() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("precious.txt");
    fs::write(&other, "keep").unwrap();
    let nowhere = folder.path().join("nowhere");
    let site = Site { dir: folder.path().into(), bin: nowhere.clone(), node: nowhere };
    let error = stack::up(&site, &|_| {}).unwrap_err().to_string();
    assert!(error.contains("holds other things"), "{error}");
    assert_eq!(stack::down(folder.path()).unwrap(), 0);
    assert_eq!(fs::read_to_string(other).unwrap(), "keep");
}

#[test]
fn a_failed_start_leaves_a_folder_that_can_be_started_and_removed_again() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("new");
    let nowhere = parent.path().join("nowhere");
    let site = Site { dir: dir.clone(), bin: nowhere.clone(), node: nowhere };
    for _ in 0..2 {
        let error = stack::up(&site, &|_| {}).unwrap_err().to_string();
        assert!(!error.contains("holds other things"), "{error}");
    }
    stack::down(&dir).unwrap();
    assert!(!dir.exists());
}
