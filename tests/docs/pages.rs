//! Runs the pages: one after the other what is on a page, and pages side by side.

use std::fmt::Write as _;

use tokio::task::{JoinSet, LocalSet};

use crate::blocks::{Mark, with_commands};
use crate::ports::Ports;
use crate::read;
use crate::sandbox::Sandbox;

/// How many pages are read at a time.
const AT_A_TIME: usize = 4;

#[tokio::test]
async fn the_commands_of_all_pages_do_what_the_pages_say() {
    LocalSet::new().run_until(play()).await;
}

async fn play() {
    let wanted = std::env::var("SIDESPAN_DOCS").unwrap_or_default();
    let mut pages =
        with_commands().into_iter().filter(|(page, _)| page.ends_with(&wanted) || wanted.is_empty());
    let mut running = JoinSet::new();
    let (mut failed, mut count) = (String::new(), 0);
    loop {
        while running.len() < AT_A_TIME
            && let Some((page, blocks)) = pages.next()
        {
            count += 1;
            running.spawn_local(async move {
                let mut sandbox = Sandbox::new(Ports::of(&read(&page)).await);
                for block in blocks {
                    sandbox.play(&block).await;
                }
            });
        }
        match running.join_next().await {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                let reason = error.into_panic();
                let reason = reason.downcast_ref::<String>().map_or("it panicked", String::as_str);
                let _ = writeln!(failed, "{reason}\n");
            }
            None => break,
        }
    }
    assert!(count > 0, "there is no page {wanted:?} with something to run");
    assert!(failed.is_empty(), "{failed}");
}

/// What is shown as said would else be of nothing.
#[test]
fn outputs_stand_behind_what_says_them() {
    for (_, blocks) in with_commands() {
        let mut speaks = false;
        for block in blocks {
            match block.mark {
                Mark::Run { .. } | Mark::Start(_) => speaks = true,
                Mark::Output { of: None, .. } => assert!(speaks, "{}: nothing says this", block.place),
                Mark::Output { of: Some(_), .. } | Mark::Picture | Mark::Script | Mark::Manifest => {}
                Mark::Config(_) | Mark::File(_) | Mark::Part => {}
            }
        }
    }
}
