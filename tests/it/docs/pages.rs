//! The pages lead somewhere: every link within the project is to a file and a heading that exist, and the README leads
//! to every page.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().unwrap()
}

/// The pages that people read.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = fs::read_dir(root().join("docs")).unwrap().map(|e| e.unwrap().path()).collect();
    pages.retain(|page| page.extension().is_some_and(|e| e == "md"));
    pages.extend(["README.md", "samples/README.md", "charts/reiter8/README.md"].map(|page| root().join(page)));
    pages
}

/// The links of a page within the project: file and heading.
fn links(page: &Path) -> Vec<(PathBuf, Option<String>)> {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let text = fs::read_to_string(page).unwrap();
    let targets = link.captures_iter(&text).map(|c| c[1].to_owned()).filter(|t| !t.contains("://"));
    targets
        .map(|target| {
            let (file, heading) = target.split_once('#').map_or((&*target, None), |(f, h)| (f, Some(h.to_owned())));
            let file = if file.is_empty() { page.to_owned() } else { page.parent().unwrap().join(file) };
            (file.canonicalize().unwrap_or_else(|e| panic!("{}: {target}: {e}", page.display())), heading)
        })
        .collect()
}

/// The names by which a page's headings are linked.
fn headings(page: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(page).unwrap();
    let titles = text.lines().filter_map(|line| line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' '));
    let kept = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    titles.map(|t| t.to_lowercase().chars().filter(|c| kept(*c)).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn every_link_leads_to_a_page_and_a_heading() {
    let mut followed = 0;
    for page in pages() {
        for (target, heading) in links(&page) {
            if let Some(heading) = heading {
                let there = headings(&target);
                assert!(there.contains(&heading), "{}: {} has no #{heading}", page.display(), target.display());
            }
            followed += 1;
        }
    }
    assert!(followed > 20, "only {followed} links were found");
}

#[test]
fn the_readme_leads_to_every_page() {
    let linked: BTreeSet<PathBuf> = links(&root().join("README.md")).into_iter().map(|(file, _)| file).collect();
    let missing: Vec<_> =
        pages().into_iter().filter(|p| *p != root().join("README.md") && !linked.contains(p)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
