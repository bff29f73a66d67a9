//! From an HTTP request to a WebSocket (RFC 6455, section 4.2).

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::error::Error;

/// A request that asks for a WebSocket, and may have it.
pub(in crate::rest) struct Upgrade {
    /// What proves to the client that its request was understood.
    accept: String,
    /// The subprotocols that the client speaks, the one it likes best first.
    offered: Vec<String>,
    upgrade: OnUpgrade,
}

impl Upgrade {
    /// Tells whether a request asks for a WebSocket rather than for what else is at its path.
    pub(in crate::rest) fn is_asked(headers: &HeaderMap) -> bool {
        words(headers, &UPGRADE).any(|word| word.eq_ignore_ascii_case("websocket"))
    }

    /// Reads the handshake.
    ///
    /// # Errors
    ///
    /// `UpgradeRequired`: it is none.
    pub(in crate::rest) fn read(request: &mut Request) -> Result<Self, Error> {
        let refuse = |why: &str| Err(Error::UpgradeRequired(why.to_owned()));
        let headers = request.headers();
        if request.version() > Version::HTTP_11 {
            return refuse("a WebSocket is opened by HTTP/1.1 here");
        }
        let connection = words(headers, &CONNECTION).any(|word| word.eq_ignore_ascii_case("upgrade"));
        if request.method() != Method::GET || !connection || !Self::is_asked(headers) {
            return refuse(
                "this is a WebSocket: open it with `Upgrade: websocket` and `Connection: Upgrade`, as clients of \
                 WebSocket do by themselves",
            );
        }
        if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return refuse("of WebSocket version 13 is spoken: say so in Sec-WebSocket-Version");
        }
        let Some(key) = headers.get(SEC_WEBSOCKET_KEY) else {
            return refuse("the header Sec-WebSocket-Key is missing");
        };
        let accept = derive_accept_key(key.as_bytes());
        let offered = words(headers, &SEC_WEBSOCKET_PROTOCOL).map(str::to_owned).collect();
        match request.extensions_mut().remove::<OnUpgrade>() {
            Some(upgrade) => Ok(Self { accept, offered, upgrade }),
            None => refuse("this connection cannot become a WebSocket"),
        }
    }

    /// Picks what to speak: what the client likes best of what is known, or the first of that where it asks
    /// for nothing.
    ///
    /// # Errors
    ///
    /// `Invalid`: nothing of what it asks for is known.
    pub(in crate::rest) fn speak<T: Copy>(&self, known: &[(&'static str, T)]) -> Result<Spoken<T>, Error> {
        // A page can send a token only here.
        let mut asked = self.offered.iter().filter(|name| !name.starts_with(TOKEN)).peekable();
        if asked.peek().is_none() {
            let spoken = known.first().map(|(_, spoken)| Spoken { name: None, spoken: *spoken });
            return spoken.ok_or(Error::Internal);
        }
        let mut fits = asked.filter_map(|name| known.iter().find(|(known, _)| known == name));
        fits.next().map(|(name, spoken)| Spoken { name: Some(name), spoken: *spoken }).ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            Error::Invalid(format!("of subprotocols (Sec-WebSocket-Protocol) there are {}", names.join(", ")))
        })
    }

    /// Says yes. The connection is a WebSocket's once that is written.
    pub(in crate::rest) fn accept<T>(self, spoken: &Spoken<T>) -> (Response, Opening) {
        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        // Base64.
        if let Ok(accept) = HeaderValue::try_from(self.accept) {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        if let Some(name) = spoken.name {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
        }
        (response, Opening(self.upgrade))
    }
}

/// A subprotocol.
pub(in crate::rest) struct Spoken<T> {
    /// Its name, if the client has asked for one.
    name: Option<&'static str>,
    /// What it is.
    pub(in crate::rest) spoken: T,
}

/// A connection that is about to be a WebSocket.
pub(in crate::rest) struct Opening(OnUpgrade);

impl Opening {
    /// Waits for the connection; `None` if its client is gone.
    pub(super) async fn connection(self) -> Option<TokioIo<Upgraded>> {
        self.0.await.ok().map(TokioIo::new)
    }
}

/// Returns the parts of headers that are lists.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

/// Begins a subprotocol that is none: it carries a caller's token.
const TOKEN: &str = "sidespan.token.";
