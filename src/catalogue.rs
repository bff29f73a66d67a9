//! The topics: puts together what brokers have with what the configuration names.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde::Serialize;
use sidespan_bridge::{Fault, Pattern, Topic, TopicInfo};
use tokio::time::{Instant, timeout_at};

use crate::error::Error;
use crate::publish::{Outlet, Route, Routes};
use crate::security::caller::Caller;

/// A topic, as callers see it.
#[derive(Debug, Serialize)]
pub struct Described {
    /// What to call it.
    pub name: String,
    /// Where the broker has it.
    pub address: String,
    /// The bridge to that broker.
    pub bridge: String,
    /// The configuration names it.
    pub declared: bool,
    /// The broker has it; nobody knows while the broker is silent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
    /// How many partitions; 1 where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
    /// How many messages are stored, where the broker tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<u64>,
}

/// A bridge that could not be asked.
#[derive(Debug, Serialize)]
pub struct Silent {
    /// Its name.
    pub bridge: String,
    /// Why.
    pub detail: String,
}

/// Gathers all topics that a caller may publish to or read, by name, and the bridges that may have more of
/// them and could not be asked. Each bridge is asked once, all at the same time.
pub async fn gather(
    routes: &Routes,
    caller: &Caller,
    deadline: Instant,
) -> (BTreeMap<String, Described>, Vec<Silent>) {
    let mut outlets: BTreeMap<&str, &Outlet> = BTreeMap::new();
    let declared = routes.declared();
    for outlet in declared.iter().map(Route::outlet).chain(routes.open()) {
        outlets.insert(outlet.name().as_str(), outlet);
    }
    let asked = outlets.values().map(|outlet| ask(outlet, None, deadline));
    let mut known: BTreeMap<(&str, String), TopicInfo> = BTreeMap::new();
    let mut silent = Vec::new();
    for (name, answer) in outlets.keys().copied().zip(join_all(asked).await) {
        match answer {
            Ok(infos) => {
                known.extend(infos.into_iter().map(|info| ((name, info.topic.as_str().to_owned()), info)));
            }
            Err(error) => silent.push(Silent { bridge: name.to_owned(), detail: error.to_string() }),
        }
    }
    let mut topics = BTreeMap::new();
    for route in &declared {
        let bridge = route.outlet().name().as_str();
        let info = known.remove(&(bridge, route.address().as_str().to_owned()));
        let heard = !silent.iter().any(|silent| silent.bridge == bridge);
        topics.insert(route.name().to_owned(), Described::new(route, true, heard, info.as_ref()));
    }
    // What is left has no name of its own: its address is its name, on the open bridge.
    for ((_, address), info) in known {
        if let Ok(route) = routes.find(&address)
            && !topics.contains_key(route.name())
        {
            topics.insert(address, Described::new(&route, false, true, Some(&info)));
        }
    }
    topics.retain(|name, _| caller.may_see(name));
    // What else the open bridge has is for those whose rights go beyond what is declared.
    let is_declared = |name: &str| routes.declared().iter().any(|route| route.name() == name);
    let open =
        routes.open().filter(|_| caller.may_see_beyond(is_declared)).map(|outlet| outlet.name().as_str());
    silent.retain(|silent| {
        open == Some(&*silent.bridge) || topics.values().any(|topic| topic.bridge == silent.bridge)
    });
    (topics, silent)
}

/// Describes one topic.
///
/// # Errors
///
/// `UnknownTopic`, if nobody declared it and the broker doesn't have it; the broker's own fault.
pub async fn describe(routes: &Routes, route: &Route, deadline: Instant) -> Result<Described, Error> {
    let declared = routes.declared().iter().any(|declared| declared.name() == route.name());
    match ask(route.outlet(), Some(route.address()), deadline).await {
        // An address with a wildcard in it would be asked for as a pattern, and others would answer.
        Ok(infos) => match infos.iter().find(|info| info.topic == *route.address()) {
            None if !declared => Err(Error::UnknownTopic(route.name().to_owned())),
            info => Ok(Described::new(route, declared, true, info)),
        },
        Err(_) if declared => Ok(Described::new(route, declared, false, None)),
        Err(error) => Err(error.into()),
    }
}

impl Described {
    fn new(route: &Route, declared: bool, heard: bool, info: Option<&TopicInfo>) -> Self {
        Self {
            name: route.name().to_owned(),
            address: route.address().as_str().to_owned(),
            bridge: route.outlet().name().to_string(),
            declared,
            exists: heard.then_some(info.is_some()),
            partitions: info.map(|info| info.partitions),
            messages: info.and_then(|info| info.messages),
        }
    }
}

async fn ask(
    outlet: &Outlet,
    address: Option<&Topic>,
    deadline: Instant,
) -> Result<Vec<TopicInfo>, sidespan_bridge::Error> {
    let pattern = address.map_or_else(everything, Pattern::exactly);
    let silent =
        || sidespan_bridge::Error::new(Fault::Unavailable).detail("the broker did not answer in time");
    let answer = timeout_at(deadline, outlet.bridge().topics(&pattern, deadline)).await;
    answer.unwrap_or_else(|_| Err(silent()))
}

#[expect(clippy::expect_used, reason = "`>` alone is a pattern")]
fn everything() -> Pattern {
    Pattern::parse(">").expect("the pattern of everything")
}
