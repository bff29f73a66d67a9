//! `reply`: a command answers requests.

use sidespan_test_support::{Ended, Launch, Sidecar, eventually};

use crate::{PATIENCE, SIDESPAN, ended, shell, sidespan};

#[tokio::test]
async fn what_a_command_prints_is_the_reply() {
    let (_sidecar, url) = pulling().await;
    let seen = answering(
        &url,
        "--exec 'if [ $SIDESPAN_HEADER_FAIL ]; then echo no such item >&2; exit 3; fi; \
         printf \"%s wants \" \"$SIDESPAN_TOPIC\"; cat'",
        "$SIDESPAN request asked seven --server $URL; echo \" $?\"; \
         $SIDESPAN request asked seven -H fail=1 --server $URL; echo \"$?\"",
    )
    .await;
    ended(&seen, 0);
    assert_eq!(seen.stdout, "asked wants seven 0\nno such item\n1\n", "{}", seen.stderr);
    assert!(seen.stderr.contains("the reply says 500"), "{}", seen.stderr);
    let settled = sidespan(&["subscriptions", "get", "asked", "-o", "json", "--server", &url]).await;
    let status: serde_json::Value = serde_json::from_str(&settled.stdout).unwrap();
    assert_eq!((&status["held"], &status["delivered"]), (&0.into(), &2.into()), "{status}");
}

#[tokio::test]
async fn a_command_that_takes_too_long_or_prints_too_much_is_told_to_who_asked() {
    let (_sidecar, url) = pulling().await;
    let seen = answering(
        &url,
        "--timeout 1s --max-reply 5 --exec 'read -r how; case $how in much) echo 123456;; *) sleep 60 | cat;; esac'",
        "for how in much long; do $SIDESPAN request asked $how --server $URL; echo; done",
    )
    .await;
    ended(&seen, 0);
    assert!(seen.stdout.contains("more than 5 bytes\nthe command did not end in 1s"), "{}", seen.stdout);
    assert!(seen.stderr.contains("502") && seen.stderr.contains("504"), "{}", seen.stderr);
}

/// Both run at a time, or none would see the other; an interrupt lets them end.
#[tokio::test]
async fn commands_run_beside_each_other_and_end_after_an_interrupt() {
    let (_sidecar, url) = pulling().await;
    let seen = answering(
        &url,
        "--max-in-flight 2 --exec 'read -r own other; touch $own; until [ -e $other ]; do sleep 0.05; done; \
         until [ -e stopping ]; do sleep 0.05; done; echo met $other'",
        "$SIDESPAN request asked 'a b' --server $URL > one & one=$!; \
         $SIDESPAN request asked 'b a' --server $URL > two & two=$!; \
         until [ -e a ] && [ -e b ]; do sleep 0.05; done; kill -INT $replying; \
         until grep -q finishing said; do sleep 0.05; done; touch stopping; wait $one $two; cat one two",
    )
    .await;
    ended(&seen, 0);
    assert_eq!(seen.stdout, "met b\nmet a\n", "{}", seen.stderr);
}

#[tokio::test]
async fn what_awaits_no_reply_is_acknowledged_or_given_back() {
    let (_sidecar, url) = pulling().await;
    let seen = answering(
        &url,
        "--exec 'cat >> got; [ $SIDESPAN_ATTEMPT = 2 ]'",
        "$SIDESPAN publish asked x --server $URL; until [ \"$(cat got)\" = xx ]; do sleep 0.05; done",
    )
    .await;
    ended(&seen, 0);
    let status = sidespan(&["subscriptions", "get", "asked", "-o", "json", "--server", &url]).await;
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!((&status["held"], &status["delivered"]), (&0.into(), &1.into()), "{status}");
}

#[tokio::test]
async fn a_subscription_that_is_not_there_ends_it() {
    let (_sidecar, url) = pulling().await;
    let done = sidespan(&["reply", "--subscription", "other", "--exec", "cat", "--server", &url]).await;
    ended(&done, 1);
    assert!(done.stderr.contains("there is no subscription named"), "{}", done.stderr);
    let refused = sidespan(&["reply", "--subscription", "asked", "--exec", "cat", "--timeout", "10m"]).await;
    ended(&refused, 2);
}

/// Starts a server with a subscription to fetch from, which runs.
async fn pulling() -> (Sidecar, String) {
    let sidecar = Launch::new(SIDESPAN).arguments(&["--pull", "asked"]).start().await;
    sidecar.until_ready().await;
    let url = sidecar.url("");
    eventually(PATIENCE, "somebody listens", async || {
        sidespan(&["subscriptions", "get", "asked", "--server", &url]).await.stdout.contains("running")
    })
    .await;
    (sidecar, url)
}

/// Runs `script` while a command replies, which is interrupted then and must end well.
async fn answering(url: &str, arguments: &str, script: &str) -> Ended {
    shell(&format!(
        "URL={url}; $SIDESPAN reply --subscription asked --server $URL {arguments} 2>said & replying=$!\n\
         {{ {script}\n }}\n\
         kill -INT $replying; wait $replying && cat said >&2"
    ))
    .await
}
