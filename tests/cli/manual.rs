//! The manual and the completions know every command.

use crate::{ended, shell, sidespan};

/// Returns the names of the commands, as the program's own help lists them.
async fn commands() -> Vec<String> {
    let help = sidespan(&["--help"]).await;
    ended(&help, 0);
    let list = help.stdout.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let name =
        |line: &str| line.strip_prefix("  ").and_then(|line| line.split(' ').next()).unwrap().to_owned();
    let names: Vec<String> = list.lines().filter(|line| !line.starts_with("   ")).map(name).collect();
    assert!(names.len() > 10 && names.iter().any(|name| name == "drain"), "{names:?}");
    names.into_iter().filter(|name| name != "help").collect()
}

#[tokio::test]
async fn there_is_a_page_for_every_command() {
    let said = shell("mkdir man && $SIDESPAN man --dir man && ls man && $SIDESPAN man").await;
    ended(&said, 0);
    let said = said.stdout;
    for command in commands().await {
        assert!(said.contains(&format!("sidespan-{command}.1\n")), "no page for {command}:\n{said}");
        assert!(
            said.contains(&format!("sidespan\\-{}", command.replace('-', "\\-"))),
            "{command} is not named"
        );
    }
    let missing = sidespan(&["man", "--dir", "/nowhere/at/all"]).await;
    ended(&missing, 1);
    assert!(missing.stderr.contains("the manual cannot be written to /nowhere/at/all"), "{}", missing.stderr);
}

#[tokio::test]
async fn completions_know_every_command() {
    let commands = commands().await;
    for shell in ["bash", "zsh", "fish"] {
        let script = sidespan(&["completion", shell]).await;
        ended(&script, 0);
        for command in &commands {
            assert!(script.stdout.contains(command.as_str()), "{shell} does not know {command}");
        }
    }
}
