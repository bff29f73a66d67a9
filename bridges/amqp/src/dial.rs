//! Opens a connection to the first address that has one.
//!
//! All that can be changed while the process runs, passwords and certificates, is read anew each time.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lapin::tcp::AsyncTcpStream;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo, SASLMechanism};
use lapin::{Connection, ConnectionProperties};
use sidespan_bridge::tls::explain;
use sidespan_bridge::{Error, Fault, Tls};
use tokio::time::timeout;
use tokio_util::either::Either;

use crate::fault;
use crate::settings::{AmqpSettings, Auth, BrokerUrl};
use crate::transport::{self, Socket, Stream};
use crate::wire::Wire;

/// Opens a connection that the broker shows by this name; mends what comes if that is known to be `odd`.
pub(crate) async fn dial(settings: &AmqpSettings, name: &str, odd: bool) -> Result<Wire, Error> {
    let mut failed = Vec::new();
    for url in settings.url.all() {
        match timeout(DIAL, reach(settings, url, name, odd)).await {
            Ok(Ok(wire)) => return Ok(wire),
            Ok(Err(error)) => failed.push(error),
            Err(_) => {
                let detail = format!("rabbitmq at {url} does not answer: is it running, and is `url` right?");
                failed.push(Error::new(Fault::Unavailable).detail(detail));
            }
        }
    }
    Err(all_of(failed))
}

/// Says in one line why none of the addresses has a connection.
fn all_of(mut failed: Vec<Error>) -> Error {
    if failed.len() == 1 {
        return failed.remove(0);
    }
    let denied = failed.iter().any(|error| error.fault == Fault::Denied);
    let lines: Vec<String> = failed.iter().map(ToString::to_string).collect();
    Error::new(if denied { Fault::Denied } else { Fault::Unavailable }).detail(lines.join("; "))
}

async fn reach(settings: &AmqpSettings, url: &BrokerUrl, name: &str, odd: bool) -> Result<Wire, Error> {
    let uri = uri(settings, url)?;
    let properties = ConnectionProperties::default()
        .with_connection_name(name.into())
        .with_client_property("product".into(), "Sidespan".into())
        .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into());
    let (socket, stream) = connect(settings, url).await?;
    let stream = Mutex::new(Some(transport::transport(stream, odd)));
    // The library would connect again where it has been told to recover by itself.
    let hand_over = async move |_, _| {
        let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        let gone = || lapin::Error::from(io::Error::from(io::ErrorKind::ConnectionAborted));
        stream.map(AsyncTcpStream::Plain).ok_or_else(gone)
    };
    match Connection::connector(uri, transport::runtime(), hand_over, properties).await {
        Ok(connection) => Ok(Wire::new(connection, socket, settings.bridge.clone())),
        Err(error) => {
            let objection = match (url.encrypted, fault::text(&error)) {
                (true, None) => match connect(settings, url).await {
                    Ok((_socket, stream)) => transport::objection(stream).await,
                    Err(error) => return Err(error),
                },
                (true, Some(_)) | (false, _) => None,
            };
            Err(refused(settings, url, error, objection.and_then(|error| explain(&error))))
        }
    }
}

/// Opens a socket, and encrypts what goes over it where the URL says so.
async fn connect(settings: &AmqpSettings, url: &BrokerUrl) -> Result<(Socket, Stream), Error> {
    let config = match url.encrypted {
        true => {
            let tls = settings.tls.as_ref().map_or_else(|| Tls::default().client(), Tls::client);
            Some(
                tls.map_err(|error| Error::new(Fault::Unavailable).detail(error.to_string()).because(error))?,
            )
        }
        false => None,
    };
    let (socket, stream) = Socket::connect(&url.host, url.port).await.map_err(|error| {
        let detail =
            format!("no rabbitmq answers at {url}: is it running, and is `url` right? ({})", error.kind());
        Error::new(Fault::Unavailable).detail(detail).because(error)
    })?;
    let Some(config) = config else { return Ok((socket, Either::Left(stream))) };
    match transport::encrypted(stream, &url.host, config).await {
        Ok(stream) => Ok((socket, stream)),
        Err(error) => {
            let reason = explain(&error).unwrap_or_else(|| format!("TLS failed ({})", error.kind()));
            Err(Error::new(Fault::Unavailable)
                .detail(format!("no connection to rabbitmq at {url}: {reason}"))
                .because(error))
        }
    }
}

fn uri(settings: &AmqpSettings, url: &BrokerUrl) -> Result<AMQPUri, Error> {
    let (username, password) = settings
        .credentials(url)
        .map_err(|error| Error::new(Fault::Denied).detail(error.to_string()).because(error))?;
    let auth_mechanism = match settings.auth {
        Auth::External => SASLMechanism::External,
        Auth::Plain => SASLMechanism::Plain,
    };
    Ok(AMQPUri {
        scheme: AMQPScheme::AMQP,
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo { username, password },
            host: url.host.clone(),
            port: url.port,
        },
        vhost: url.vhost.clone(),
        query: AMQPQueryString {
            auth_mechanism: Some(auth_mechanism),
            frame_max: Some(FRAME),
            heartbeat: u16::try_from(settings.heartbeat.0.as_secs()).ok(),
            ..AMQPQueryString::default()
        },
    })
}

/// Says in a line why what answered gives no connection, and what to change.
fn refused(
    settings: &AmqpSettings,
    url: &BrokerUrl,
    error: lapin::Error,
    objection: Option<String>,
) -> Error {
    let fault = match fault::of_call(error.clone()).fault {
        Fault::Denied => Fault::Denied,
        _ => Fault::Unavailable,
    };
    let vhost = &url.vhost;
    let reason = match (fault::text(&error), settings.auth) {
        (Some(text), _) if text.starts_with("NOT_ALLOWED") => format!(
            "refuses the virtual host {vhost:?} ({text}): make it and let the user in, or name another one in `url`"
        ),
        (Some(text), Auth::Plain) if fault == Fault::Denied => {
            format!("refuses the connection ({text}): look at `username` and `password`")
        }
        (Some(text), Auth::External) => format!(
            "refuses the connection ({text}): it needs the plugin rabbitmq_auth_mechanism_ssl, and a user by the name in `tls.certificate`"
        ),
        (Some(text), Auth::Plain) => format!("ended the connection: {text}"),
        (None, _) => match objection {
            Some(reason) => format!("ended the connection: {reason}"),
            None if url.encrypted => "ended the connection before it was open".to_owned(),
            None => "does not answer as a rabbitmq without TLS does: use `amqps://` if this is its TLS port"
                .to_owned(),
        },
    };
    Error::new(fault).detail(format!("rabbitmq at {url} {reason}")).because(error)
}

/// The largest frame that is asked for: RabbitMQ's own default. The client library keeps two buffers of 32
/// frames. Told before it connects, it takes them as memory that costs nothing until it is used; if it had
/// to enlarge them later, it would fill them, with 8 MiB for each connection.
const FRAME: u32 = 128 << 10;
/// How long opening a connection to one address may take.
const DIAL: Duration = Duration::from_secs(5);
