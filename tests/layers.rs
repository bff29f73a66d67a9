//! Keeps the layers of the server: a module uses only what stands below it.
//!
//! It reads the sources, because the compiler has no opinion on this. What it cannot see (a path
//! through a re-export, a macro) is left to the reviewer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Low to high. Modules on one line may use each other.
const LAYERS: &[&[&str]] = &[
    &["error", "proto"],
    &["config"],
    &["cloudevents", "headers", "schema", "security", "telemetry"],
    &["publish", "delivery", "request"],
    &[
        "catalogue",
        "pull",
        "streams",
        "drain",
        "health",
        "paging",
        "prepare",
        "reload",
        "scrape",
        "subscriptions",
    ],
    &["listen", "replicas", "rest", "grpc", "admin"],
    &["bridges", "app", "cli"],
];

/// What a module must not name, and why.
const BANS: &[(&[&str], &[&str], &str)] = &[
    (
        &["publish", "delivery", "pull", "request", "streams", "subscriptions"],
        &["axum::", "tonic::", "hyper::server", "hyper_util::server"],
        "a use case does not know through which door it was called",
    ),
    (
        &["rest", "grpc", "admin", "publish", "delivery", "pull", "request", "streams"],
        &["sidespan_bridge_", "rdkafka", "async_nats", "lapin"],
        "only `bridges` knows which brokers there are",
    ),
];

#[test]
fn a_module_uses_only_the_layers_below_it() {
    let mut broken = Vec::new();
    for source in sources() {
        let Some(module) = source.module() else { continue };
        let Some(own) = layer(&module) else {
            panic!(
                "{}: the module `{module}` stands in no layer; say in LAYERS (tests/layers.rs) which modules it may use",
                source.path.display()
            );
        };
        for (line, used) in source.uses() {
            match layer(&used) {
                Some(layer) if layer <= own => {}
                Some(_) => broken.push(format!(
                    "{}:{line}: `{module}` uses `{used}`, which stands above it",
                    source.path.display()
                )),
                // An item of `lib.rs`: that stands above all modules.
                None => broken.push(format!(
                    "{}:{line}: `{module}` uses `crate::{used}`, which is no module of a layer",
                    source.path.display()
                )),
            }
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn doors_and_use_cases_name_only_what_they_may() {
    let mut broken = Vec::new();
    for source in sources() {
        let Some(module) = source.module() else { continue };
        for (modules, words, why) in BANS {
            if !modules.contains(&module.as_str()) {
                continue;
            }
            for (line, code) in source.code() {
                for word in words.iter().filter(|word| code.contains(**word)) {
                    broken
                        .push(format!("{}:{line}: `{module}` names `{word}`: {why}", source.path.display()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn a_use_of_a_module_is_found_in_all_its_forms() {
    let source = Source {
        path: "delivery/pump.rs".into(),
        text: "use crate::config::Config;\n\
               use crate::{error, rest::{Door, problem}};\n\
               // use crate::app;\n\
               fn f() { crate::admin::drain(); let s = \"crate::cli\"; }\n\
               pub(crate) struct X;\n\
               use crate::{\n    telemetry::names, // crate::app\n    security,\n};\n"
            .into(),
    };
    let used: Vec<(usize, String)> = source.uses();
    let used: Vec<(usize, &str)> = used.iter().map(|(line, used)| (*line, used.as_str())).collect();
    assert_eq!(
        used,
        [(1, "config"), (2, "error"), (2, "rest"), (4, "admin"), (6, "telemetry"), (6, "security")]
    );
    assert_eq!(source.module().as_deref(), Some("delivery"));
}

/// A file of `src`.
struct Source {
    /// Below `src`.
    path: PathBuf,
    text: String,
}

impl Source {
    /// Returns the top-level module that the file belongs to; none for the two roots.
    fn module(&self) -> Option<String> {
        let first = self.path.iter().next().unwrap().to_str().unwrap();
        let module = first.strip_suffix(".rs").unwrap_or(first);
        (!["lib", "main"].contains(&module)).then(|| module.to_owned())
    }

    /// Returns the lines without comments and text literals, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, String)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, without_literals(line)))
    }

    /// Returns each module that the file reaches through `crate::`, with the line.
    fn uses(&self) -> Vec<(usize, String)> {
        let code: String = self.code().map(|(_, line)| line + "\n").collect();
        let mut uses = Vec::new();
        for (at, _) in code.match_indices("crate::") {
            // `$crate::` and `my_crate::` are others.
            if code[..at].ends_with(|before: char| before.is_alphanumeric() || "_$".contains(before)) {
                continue;
            }
            let line = code[..at].matches('\n').count() + 1;
            let path = &code[at + "crate::".len()..];
            uses.extend(heads(path).into_iter().map(|head| (line, head)));
        }
        uses
    }
}

/// Returns the first name of a path, or of each path in `{a::b, c}`.
fn heads(path: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start().chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
    };
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let mut depth = 0;
    let mut heads = vec![name(group)];
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(name(&group[at + 1..])),
            _ => {}
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

/// Good enough for this code base: literals and comments that stay on one line.
fn without_literals(line: &str) -> String {
    let mut code = String::new();
    let mut quoted = false;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if quoted => {
                letters.next();
            }
            '\'' if !quoted && letters.peek() == Some(&'"') => {
                letters.next();
            }
            '"' => quoted = !quoted,
            '/' if !quoted && letters.peek() == Some(&'/') => break,
            _ if !quoted => code.push(letter),
            _ => {}
        }
    }
    code
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut folders = BTreeSet::from([root.clone()]);
    while let Some(folder) = folders.pop_first() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.insert(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                sources.push(Source { path: path.strip_prefix(&root).unwrap().to_owned(), text });
            }
        }
    }
    assert!(!sources.is_empty(), "there are sources under {}", root.display());
    sources
}
