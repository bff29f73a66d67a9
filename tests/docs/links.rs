//! Whether links lead somewhere: to files that are there, and to headings that are in them.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::{pages, read, root};

/// Pages beside docs/ that have links.
const MORE: [&str; 4] =
    ["benches/README.md", "examples/README.md", "examples/orders/README.md", "openapi/problems.md"];

#[test]
fn every_relative_link_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages().into_iter().chain(MORE.iter().map(PathBuf::from)) {
        let text = without_code(&read(&page));
        for target in links(&text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let to = if path.is_empty() { page.clone() } else { resolved(&page, path) };
            let there = root().join(&to).exists();
            let found = anchor.is_empty() || (there && anchors(&to).contains(&anchor.to_owned()));
            if !there || !found {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "these links lead nowhere:\n{}", broken.join("\n"));
}

/// A page that nothing leads to is read by nobody.
#[test]
fn every_page_is_reached_from_the_readme() {
    let mut reached = vec![PathBuf::from("README.md")];
    let mut next = 0;
    while let Some(page) = reached.get(next).cloned() {
        next += 1;
        for target in links(&without_code(&read(&page))) {
            let to = resolved(&page, target.split('#').next().unwrap_or_default());
            if pages().contains(&to) && !reached.contains(&to) {
                reached.push(to);
            }
        }
    }
    let lost: Vec<_> = pages().into_iter().filter(|page| !reached.contains(page)).collect();
    assert!(lost.is_empty(), "no link leads to {lost:?}");
}

fn links(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target)).collect()
}

fn resolved(page: &Path, path: &str) -> PathBuf {
    let mut to = page.parent().unwrap_or(Path::new("")).to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir => drop(to.pop()),
            Component::Normal(name) => to.push(name),
            Component::CurDir | Component::Prefix(_) | Component::RootDir => {}
        }
    }
    to
}

/// Returns what can stand behind `#`, as GitHub makes it of headings.
fn anchors(page: &Path) -> Vec<String> {
    if page.extension().is_none_or(|ending| ending != "md") {
        return Vec::new();
    }
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let text = without_blocks(&read(page));
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchors = headings.map(|line| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let count = seen.entry(anchor.clone()).or_default();
        *count += 1;
        if *count == 1 { anchor } else { format!("{anchor}-{}", *count - 1) }
    });
    anchors.collect()
}

fn without_blocks(text: &str) -> String {
    let mut inside = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    });
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// Leaves out what only looks like a link.
fn without_code(text: &str) -> String {
    let text = without_blocks(text);
    let pieces: Vec<&str> = text.split('`').collect();
    // A name of code may be what a link shows: its brackets stay.
    pieces.iter().step_by(2).copied().collect()
}
