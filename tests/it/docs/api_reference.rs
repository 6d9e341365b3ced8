//! `docs/api.md` is what the definitions say. `UPDATE_GOLDEN=1 cargo test --test it api_reference` writes it anew.

use std::path::Path;

use reiter8::cli::crds;

#[test]
fn the_reference_is_up_to_date() {
    let (file, text) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md"), crds::reference());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == text, "docs/api.md is out of date: run `cargo run -- crds --format markdown > docs/api.md`");
    for kind in ["Experiment", "Metric", "Repository"] {
        assert!(text.contains(&format!("### {kind} `spec`")), "{kind} has no table");
    }
    let unexplained: Vec<&str> = text.lines().filter(|l| l.starts_with("| `spec.") && l.ends_with("|  |")).collect();
    assert!(unexplained.is_empty(), "{unexplained:#?}");
}
