//! Who uses partitions now: ListLogins, RevokeLogin, ListConnections; and SetLogLevel.

use crate::control::model::ModelError;
use crate::log;
use crate::node::Node;
use hsmd_control::admin::{
    Connection, ListConnectionsRequest, ListLoginsRequest, Login, RevokeLoginRequest, SetLogLevelRequest,
};
use hsmd_keystore::{Identity, Role};
use std::sync::Arc;

pub(super) fn list(node: &Arc<Node>, request: ListLoginsRequest) -> Result<Vec<Login>, ModelError> {
    let logins = node.model.logins(&request.partition)?;
    let names = node.model.names();
    let render = |login: hsmd_keystore::LoginView| Login {
        id: login.id.to_string(),
        client: names.get(&login.identity).cloned().unwrap_or_default(),
        identity: hex(&login.identity),
        role: match login.role {
            Role::So => "so",
            Role::User => "user",
            Role::CryptoUser => "cu",
        }
        .to_owned(),
        created: login.created,
        used: login.used,
    };
    Ok(logins.into_iter().map(render).collect())
}

pub(super) fn revoke(node: &Arc<Node>, request: RevokeLoginRequest) -> Result<(), ModelError> {
    node.model.end_login(&request.partition, &request.login)?;
    tracing::info!(partition = request.partition, login = request.login, "login revoked");
    Ok(())
}

pub(super) fn connections(node: &Arc<Node>, _: ListConnectionsRequest) -> Result<Vec<Connection>, ModelError> {
    let names = node.model.names();
    let render = |(identity, seconds): (Identity, u64)| Connection {
        client: names.get(&identity).cloned().unwrap_or_default(),
        identity: hex(&identity),
        seconds,
    };
    Ok(node.clients.list().into_iter().map(render).collect())
}

pub(super) fn level(_: &Arc<Node>, request: SetLogLevelRequest) -> Result<String, ModelError> {
    if request.level.is_empty() {
        return Err(ModelError::Missing("Level", "error, warn, info, debug or trace"));
    }
    let before = log::set_level(&request.level).map_err(ModelError::Log)?;
    tracing::warn!(before, now = request.level, "log level set");
    Ok(before)
}

/// Enough of an identity to tell it from others.
fn hex(identity: &Identity) -> String {
    identity.0[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
