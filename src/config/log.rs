//! How the log is written.

use std::fmt;

use super::file::LogFormat;

/// How the log is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// One JSON object a line, or text for people.
    pub format: LogFormat,
    /// What is said.
    pub level: Level,
    /// The share of requests that get a line each, from 0 to 1.
    pub access: f64,
}

/// What is said: a level, and others for parts of the program, such as `info,sidespan::delivery=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level(String);

impl Level {
    /// Reads directives: `LEVEL` for everything, `PART=LEVEL` for a part; the longest part that fits counts.
    ///
    /// # Errors
    ///
    /// There is none, or one is neither.
    pub fn parse(text: &str) -> Result<Self, LevelError> {
        let directives: Vec<&str> = text.split(',').map(str::trim).collect();
        match directives.iter().find(|directive| !is_directive(directive)) {
            None if text.len() <= LONGEST => Ok(Self(directives.join(","))),
            None => Err(LevelError::TooLong),
            Some(odd) => Err(LevelError::NoDirective(odd.chars().take(SHOWN).collect())),
        }
    }

    /// Returns the directives, with commas between them.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Level {
    fn default() -> Self {
        Self("info".into())
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LevelError {
    /// A part of it is no directive.
    #[error(
        "{0:?} is no filter: use off, error, warn, info, debug or trace, or `info,sidespan::delivery=debug`"
    )]
    NoDirective(String),
    /// It goes on and on.
    #[error("these are too many directives: {LONGEST} bytes is the most")]
    TooLong,
}

fn is_directive(text: &str) -> bool {
    let (part, level) = text.split_once('=').unwrap_or(("all", text));
    let of_path = |letter: char| letter.is_ascii_alphanumeric() || "_-:".contains(letter);
    let is_part = !part.is_empty() && part.chars().all(of_path);
    is_part && LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level))
}

const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];
const LONGEST: usize = 1024;
/// How much of what is odd is said again.
const SHOWN: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_a_word_and_words_for_parts() {
        for text in ["info", "OFF", "sidespan=debug", "info, sidespan::delivery=debug,h2=off"] {
            assert_eq!(Level::parse(text).unwrap().as_str(), text.replace(' ', ""), "{text}");
        }
        for text in
            ["", "verbose", "info,", "sidespan::delivery", "=info", "a=b=info", "[span]=info", "sidespan=5"]
        {
            assert!(matches!(Level::parse(text), Err(LevelError::NoDirective(_))), "{text}");
        }
        assert_eq!(Level::parse(&["info"; 500].join(",")), Err(LevelError::TooLong));
    }
}
