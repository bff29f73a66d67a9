//! `Admin`: subscriptions that are changed at run time.

use std::time::Duration;

use sidespan::proto::precondition::Of;
use sidespan::proto::seek_subscription_request::To;
use sidespan::proto::{
    DeleteSubscriptionRequest, Edge, GetLagRequest, Origin, PatchSubscriptionRequest,
    PauseSubscriptionRequest, Precondition, PutSubscriptionRequest, ResumeSubscriptionRequest,
    SeekSubscriptionRequest, SubscriptionState,
};
use sidespan_test_support::eventually;
use tonic::Code;

use super::details;
use crate::server::Server;

const PATIENCE: Duration = Duration::from_secs(10);

fn put(spec: &str, precondition: Option<Of>) -> PutSubscriptionRequest {
    let precondition = precondition.map(|of| Precondition { of: Some(of) });
    PutSubscriptionRequest { name: "made".into(), spec_json: spec.into(), precondition }
}

#[tokio::test]
async fn a_subscription_is_made_changed_paused_moved_and_ended() {
    let server = Server::with("registry: { bridge: local }\n").await;
    let mut admin = server.administer().await;
    let spec = r#"{"topic": "declared", "start": "begin", "pull": {}}"#;
    let mut made = None;
    eventually(PATIENCE, "it is made", async || {
        made = admin.put_subscription(put(spec, None)).await.ok();
        made.is_some()
    })
    .await;
    let made = made.unwrap().into_inner();
    let subscription = made.subscription.unwrap();
    assert!(made.created);
    assert_eq!((subscription.origin(), subscription.spec_json.is_empty()), (Origin::Registry, false));

    let status = admin.put_subscription(put(spec, Some(Of::Absent(true)))).await.unwrap_err();
    details(&status, Code::FailedPrecondition, "PRECONDITION_FAILED");
    let patch = PatchSubscriptionRequest {
        name: "made".into(),
        patch_json: r#"{"pull": {"lease": "10s"}}"#.into(),
        precondition: Some(Precondition { of: subscription.revision.map(Of::Revision) }),
    };
    let patched = admin.patch_subscription(patch.clone()).await.unwrap().into_inner().subscription.unwrap();
    assert!(patched.spec_json.contains("10s") && patched.revision > subscription.revision);
    let status = admin.patch_subscription(patch).await.unwrap_err();
    details(&status, Code::FailedPrecondition, "PRECONDITION_FAILED");

    let name = || "made".to_owned();
    server.publish("declared", "x").await;
    let mut left = None;
    eventually(PATIENCE, "its lag is counted", async || {
        left = admin.get_lag(GetLagRequest { name: name() }).await.ok();
        left.as_ref().is_some_and(|left| left.get_ref().messages == 1)
    })
    .await;
    let seek = SeekSubscriptionRequest { name: name(), to: Some(To::Edge(Edge::End.into())) };
    admin.seek_subscription(seek).await.unwrap();
    eventually(PATIENCE, "nothing is left", async || {
        let left = admin.get_lag(GetLagRequest { name: name() }).await;
        left.is_ok_and(|left| left.get_ref().messages == 0)
    })
    .await;
    let pause = PauseSubscriptionRequest { name: name(), precondition: None };
    assert!(admin.pause_subscription(pause).await.unwrap().into_inner().subscription.unwrap().is_paused);
    let resume = ResumeSubscriptionRequest { name: name(), precondition: None };
    let resumed = admin.resume_subscription(resume).await.unwrap().into_inner().subscription.unwrap();
    assert!(!resumed.is_paused && resumed.state() != SubscriptionState::Unspecified);
    let delete = DeleteSubscriptionRequest { name: name(), precondition: None };
    admin.delete_subscription(delete.clone()).await.unwrap();
    details(&admin.delete_subscription(delete).await.unwrap_err(), Code::NotFound, "UNKNOWN_SUBSCRIPTION");
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let server = Server::start().await;
    let mut admin = server.administer().await;
    let status = admin.put_subscription(put("{}", None)).await.unwrap_err();
    details(&status, Code::Unimplemented, "NO_REGISTRY");
    let status = admin.put_subscription(put("[]", None)).await.unwrap_err();
    let told = details(&status, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(told.bad_request().unwrap().field_violations[0].field, "spec_json");
    let seek = SeekSubscriptionRequest { name: "made".into(), to: None };
    details(&admin.seek_subscription(seek).await.unwrap_err(), Code::InvalidArgument, "INVALID_REQUEST");
}
