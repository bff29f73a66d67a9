//! The other replicas of the service.

use std::net::{IpAddr, SocketAddr};

use super::Errors;
use super::server::socket;
use crate::config::file::ReplicasFile;
use crate::config::{File, Replicas};

/// Reads where the other replicas are, and where they find this one.
pub(super) fn resolve(file: &File, replicas: &ReplicasFile, errors: &mut Errors) -> Option<Replicas> {
    let before = errors.0.len();
    let advertise = match replicas.advertise.as_deref() {
        Some(text) => errors.keep("replicas.advertise", socket(text).and_then(reachable)),
        None => None,
    };
    // What is wrong with `listen` is told of there.
    let is_vague = file.listen.as_deref().is_some_and(|text| {
        text.starts_with("unix:") || socket(text).is_ok_and(|address| address.ip().is_unspecified())
    });
    if replicas.advertise.is_none() && is_vague {
        let reason = "the key is missing: `listen` names no address that other replicas could call, so say which \
                      one they should, such as 10.0.0.5:7400";
        errors.add("replicas.advertise", reason);
    }
    if replicas.peers.is_empty() || replicas.peers.len() > MOST_PEERS {
        let reason =
            format!("must name 1 to {MOST_PEERS} places where replicas are found, such as sidespan:7400");
        errors.add("replicas.peers", reason);
    }
    for peer in &replicas.peers {
        errors.keep("replicas.peers", place(peer));
    }
    if replicas.secrets.is_empty() {
        let reason = "must have one at least; `openssl rand -base64 32` makes one";
        errors.add("replicas.secrets", reason);
    }
    (errors.0.len() == before).then(|| Replicas {
        peers: replicas.peers.clone(),
        advertise,
        secrets: replicas.secrets.clone(),
    })
}

fn reachable(address: SocketAddr) -> Result<SocketAddr, String> {
    let is_one = match address.ip() {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
    };
    if is_one && address.port() != 0 {
        return Ok(address);
    }
    Err(format!("{address} cannot be called: name the address and port of this replica alone"))
}

/// Checks `host:port`.
fn place(text: &str) -> Result<(), String> {
    let advice = || {
        format!("{text:?} is no place: write a host and the port that it listens on, such as sidespan:7400")
    };
    let (host, port) = text.rsplit_once(':').ok_or_else(advice)?;
    let is_host = text.parse::<SocketAddr>().is_ok()
        || !host.is_empty()
            && host.len() <= 253
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    if is_host && port.parse::<u16>().is_ok_and(|port| port != 0) { Ok(()) } else { Err(advice()) }
}

/// Each may be a name of many.
const MOST_PEERS: usize = 64;
