//! The blocks of a page, and what their marks say of them.

use std::path::{Path, PathBuf};

use crate::{pages, read};

/// A fenced block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// The page and the line, for whoever looks for it.
    pub(crate) place: String,
    pub(crate) text: String,
    pub(crate) mark: Mark,
}

/// What is done with a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Runs to its end, with this exit code.
    Run { exit: i32 },
    /// Starts by this name, and goes on.
    Start(String),
    /// Is said by what was started by this name, or by the block before.
    Output { of: Option<String>, json: bool },
    /// Is saved, and is a configuration.
    Config(String),
    /// Is a part of one.
    Part,
    /// Is saved.
    File(String),
    /// Is a script that is only read.
    Script,
    /// Is YAML that is only read.
    Manifest,
    /// Is looked at.
    Picture,
}

impl Mark {
    /// Reads what stands behind the three backticks.
    pub(crate) fn read(info: &str) -> Option<Self> {
        let mut words = info.split_whitespace();
        let (language, mark) = (words.next()?, words.next()?);
        let (key, value) = mark.split_once('=').map_or((mark, None), |(key, value)| (key, Some(value)));
        let exit = words.next().map(|word| word.strip_prefix("exit=").and_then(|code| code.parse().ok()));
        if words.next().is_some() || (exit.is_some() && key != "run") {
            return None;
        }
        Some(match (language, key, value) {
            ("bash", "run", None) => Self::Run { exit: exit.unwrap_or(Some(0))? },
            ("bash", "start", Some(name)) => Self::Start(name.into()),
            ("bash", "cluster" | "source", None) => Self::Script,
            ("text" | "json", "output", of) => {
                Self::Output { of: of.map(str::to_owned), json: language == "json" }
            }
            ("yaml", "config", Some(file)) => Self::Config(file.into()),
            ("yaml", "part", None) => Self::Part,
            ("yaml", "cluster", None) => Self::Manifest,
            (_, "file", Some(file)) => Self::File(file.into()),
            ("text", "picture", None) => Self::Picture,
            _ => return None,
        })
    }
}

/// Returns the blocks of a page in order; those without a mark by their places.
pub(crate) fn of(page: &Path) -> (Vec<Block>, Vec<String>) {
    let (mut blocks, mut unmarked) = (Vec::new(), Vec::new());
    let text = read(page);
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else { continue };
        let place = format!("{}:{number}", page.display());
        let inside = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```");
        let text: String = inside.flat_map(|line| [line, "\n"]).collect();
        match Mark::read(info) {
            Some(mark) => blocks.push(Block { place, text, mark }),
            None => unmarked.push(format!("{place}: ```{info}")),
        }
    }
    (blocks, unmarked)
}

#[test]
fn every_block_says_what_it_is() {
    let unmarked: Vec<String> = pages().iter().flat_map(|page| of(page).1).collect();
    let advice = "say behind the language what is done with it, as tests/docs/main.rs tells";
    assert!(unmarked.is_empty(), "these blocks have no mark; {advice}:\n{}", unmarked.join("\n"));
}

#[test]
fn marks_are_read_as_they_are_meant() {
    let of = |name: &str| Some(name.to_owned());
    assert_eq!(Mark::read("bash run"), Some(Mark::Run { exit: 0 }));
    assert_eq!(Mark::read("bash run exit=78"), Some(Mark::Run { exit: 78 }));
    assert_eq!(Mark::read("json output=server"), Some(Mark::Output { of: of("server"), json: true }));
    for info in ["", "bash", "sh run", "bash ran", "bash run exit=one", "yaml part exit=1", "text output a b"]
    {
        assert_eq!(Mark::read(info), None, "{info:?}");
    }
}

#[test]
fn what_is_only_read_can_be_read() {
    for block in pages().iter().flat_map(|page| of(page).0) {
        match block.mark {
            Mark::Script => {
                let checked = std::process::Command::new("bash").args(["-n", "-c", &block.text]).output();
                let checked = checked.expect("bash");
                assert!(checked.status.success(), "{}: {checked:?}", block.place);
                for program in block.text.split_whitespace().filter(|word| word.starts_with("tests/")) {
                    assert!(crate::root().join(program).exists(), "{}: there is no {program}", block.place);
                }
            }
            Mark::Manifest => {
                for document in yaml_serde::Deserializer::from_str(&block.text) {
                    let read = <yaml_serde::Value as serde::Deserialize>::deserialize(document);
                    assert!(read.is_ok(), "{}: {read:?}", block.place);
                }
            }
            Mark::Run { .. }
            | Mark::Start(_)
            | Mark::Output { .. }
            | Mark::Config(_)
            | Mark::Part
            | Mark::File(_)
            | Mark::Picture => {}
        }
    }
}

/// Returns the pages that have something to run.
pub(crate) fn with_commands() -> Vec<(PathBuf, Vec<Block>)> {
    let all = pages().into_iter().map(|page| (of(&page).0, page));
    all.filter(|(blocks, _)| {
        blocks.iter().any(|block| !matches!(block.mark, Mark::Picture | Mark::Script | Mark::Manifest))
    })
    .map(|(blocks, page)| (page, blocks))
    .collect()
}
