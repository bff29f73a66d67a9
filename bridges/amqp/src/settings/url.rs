//! Addresses of brokers.
//!
//! A URL may hold a user and a password. They are taken out while it is read, so that nothing that
//! prints the settings can show them.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

/// Where the broker can be reached: one URL, or those of the nodes of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Urls(Vec<BrokerUrl>);

/// A broker's URL, taken apart. `Debug` and `Display` show neither user nor password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct BrokerUrl {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) vhost: String,
    /// Whether the scheme is `amqps`.
    pub(crate) encrypted: bool,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
}

impl Urls {
    /// Returns all of them, of which there is at least one.
    pub(crate) fn all(&self) -> &[BrokerUrl] {
        &self.0
    }

    fn of(urls: Vec<BrokerUrl>) -> Result<Self, &'static str> {
        let first = urls.first().ok_or("expected at least one URL")?;
        if urls.iter().any(|url| url.vhost != first.vhost) {
            return Err("expected the same virtual host in all URLs: they are nodes of one cluster");
        }
        Ok(Self(urls))
    }
}

/// By hand, as an untagged enum would not say what is wrong.
impl<'de> Deserialize<'de> for Urls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

struct Written;

impl<'de> Visitor<'de> for Written {
    type Value = Urls;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{EXPECTED}, or a list of them")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Urls, E> {
        Urls::of(vec![BrokerUrl::parse(text).map_err(E::custom)?]).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Urls, A::Error> {
        let mut urls = Vec::new();
        while let Some(text) = list.next_element::<String>()? {
            urls.push(BrokerUrl::parse(&text).map_err(de::Error::custom)?);
        }
        Urls::of(urls).map_err(de::Error::custom)
    }
}

impl JsonSchema for Urls {
    fn schema_name() -> Cow<'static, str> {
        "Urls".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "oneOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ],
        })
    }
}

impl BrokerUrl {
    /// Takes a URL apart. What cannot be read is not repeated: it may hold a password.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let url = url::Url::parse(text).map_err(|_| EXPECTED)?;
        let (encrypted, port) = match url.scheme() {
            "amqp" => (false, PORT),
            "amqps" => (true, TLS_PORT),
            _ => return Err(EXPECTED),
        };
        if url.query().is_some() || url.fragment().is_some() {
            return Err("the URL takes no parameters: use the bridge's own keys");
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(EXPECTED)?;
        let vhost = decode(url.path().strip_prefix('/').unwrap_or_default())?;
        let given = |text: &str| if text.is_empty() { Ok(None) } else { decode(text).map(Some) };
        Ok(Self {
            host: decode(host.trim_matches(['[', ']']))?,
            port: url.port().unwrap_or(port),
            vhost: if vhost.is_empty() { "/".to_owned() } else { vhost },
            encrypted,
            user: given(url.username())?,
            password: url.password().map(decode).transpose()?,
        })
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn decode(text: &str) -> Result<String, &'static str> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| "a part of the URL is not UTF-8 once it is percent-decoded")
}

const EXPECTED: &str = "expected `amqp://host:port/vhost` or `amqps://host:port/vhost`";
const PORT: u16 = 5672;
const TLS_PORT: u16 = 5671;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let url = BrokerUrl::parse("amqp://us%40er:pa%2fss@[::1]:5673/%2fshop").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.vhost.as_str()), ("::1", 5673, "/shop"));
        assert_eq!((url.user.as_deref(), url.password.as_deref()), (Some("us@er"), Some("pa/ss")));
    }

    #[test]
    fn what_a_url_leaves_out_is_the_brokers_default() {
        for (text, port) in [
            ("amqp://rabbit", 5672),
            ("amqp://rabbit/", 5672),
            ("amqp://rabbit/%2f", 5672),
            ("amqps://rabbit", 5671),
        ] {
            let url = BrokerUrl::parse(text).unwrap();
            assert_eq!((url.port, url.vhost.as_str(), url.encrypted), (port, "/", port == 5671), "{text}");
        }
    }
}
