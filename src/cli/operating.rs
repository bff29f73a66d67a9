//! Whom a command asks that is for operators: where the server listens for them, and what one of them shows.

use std::path::PathBuf;

use clap::Args;

use super::client::Server;
use super::token::Token;
use super::{configured, output};
use crate::config::Operators;

/// Where the server is, as the command line says or its configuration.
#[derive(Debug, Args)]
pub(super) struct Operating {
    /// Where Sidespan listens for operators [default: as its configuration says, else http://127.0.0.1:7401]
    #[arg(long, value_name = "URL")]
    admin: Option<Server>,
    /// The server's configuration: where it asks who calls, its first token with `manage: true` is shown [default: the
    /// environment variable SIDESPAN_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    token: Token,
}

/// A server, and what an operator shows to it.
#[derive(Debug)]
pub(super) struct Operated {
    pub(super) server: Server,
    pub(super) token: Token,
    /// Its configuration says where it is.
    pub(super) is_configured: bool,
}

impl Operating {
    /// Finds it. What a configuration holds is for the server that it names; one that cannot be read is said, and
    /// the server is where servers are by default.
    pub(super) fn find(self) -> Operated {
        let Self { admin, config, token } = self;
        if let Some(server) = admin {
            return Operated { server, token, is_configured: false };
        }
        match config.or_else(configured).map(|path| Operators::load(&path)) {
            Some(Ok(Operators { admin, secret })) => {
                Operated { server: Server::from(admin), token: token.or(secret), is_configured: true }
            }
            unknown => {
                if let Some(Err(errors)) = unknown {
                    output::talk(&errors.to_string());
                }
                Operated { server: Server::from(Operators::default().admin), token, is_configured: false }
            }
        }
    }
}
