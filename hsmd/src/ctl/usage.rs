//! `hsmctl login`, `hsmctl connection`, `hsmctl log`: who uses the daemon now, and what it says of it.

use super::exit::{Error, Exit};
use super::output::{Table, list, record, show};
use super::partition::find;
use super::{Format, confirm};
use clap::Subcommand;
use hsmd_control::admin::hsm_admin_client::HsmAdminClient;
use hsmd_control::admin::{self, ListConnectionsRequest, ListLoginsRequest, RevokeLoginRequest, SetLogLevelRequest};
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};
use tonic::transport::Channel;

/// `hsmctl login`.
#[derive(Subcommand)]
pub(super) enum Login {
    /// Lists the logins of a partition, oldest first.
    #[command(after_help = "Example:\n  hsmctl login list web")]
    List {
        /// Serial number, ARN or label of the partition.
        partition: String,
    },
    /// Ends logins; the application is told CKR_USER_NOT_LOGGED_IN.
    #[command(
        after_help = "Examples:\n  hsmctl login revoke web --all --dry-run\n  hsmctl login revoke web --client app --yes"
    )]
    Revoke {
        /// Serial number, ARN or label of the partition.
        partition: String,
        /// The login: 32 hexadecimal digits.
        #[arg(required_unless_present_any = ["client", "all"])]
        login: Option<String>,
        /// All of a client: its id, `user-` and a number for a local user.
        #[arg(long, value_name = "ID", conflicts_with = "login")]
        client: Option<String>,
        /// All.
        #[arg(long, conflicts_with_all = ["login", "client"])]
        all: bool,
        /// Do it without asking.
        #[arg(long)]
        yes: bool,
        /// Say what would end, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

/// `hsmctl connection`.
#[derive(Subcommand)]
pub(super) enum Connection {
    /// Lists the connections of applications, oldest first.
    #[command(after_help = "Example:\n  hsmctl connection list -o json")]
    List,
}

/// `hsmctl log`.
#[derive(Subcommand)]
pub(super) enum Log {
    /// Sets what the daemon logs, until it ends.
    #[command(after_help = "Examples:\n  hsmctl log level debug\n  hsmctl log level info,hsmd::data=debug")]
    Level {
        /// error, warn, info, debug or trace, or directives.
        level: String,
    },
}

/// Runs a verb of `login`.
pub(super) async fn login(channel: Channel, command: Login, format: Format) -> Result<Exit, Error> {
    let mut client = HsmAdminClient::new(channel);
    match command {
        Login::List { partition } => {
            let partition = find(&mut client, &partition).await?.serial;
            show(&LoginList(logins(&mut client, &partition).await?), format)
        }
        Login::Revoke {
            partition,
            login,
            client: of,
            yes,
            dry_run,
            ..
        } => {
            let partition = find(&mut client, &partition).await?.serial;
            let mut ended = logins(&mut client, &partition).await?;
            ended.retain(|each| login.as_ref().is_none_or(|id| *id == each.id));
            ended.retain(|each| of.as_ref().is_none_or(|client| *client == each.client));
            if ended.is_empty() && login.is_some() {
                return Err(Error::new(Exit::NotFound, "there is no such login"));
            }
            if !dry_run {
                confirm::sure(yes, &format!("{} logins end", ended.len()))?;
                for each in &ended {
                    let (partition, login) = (partition.clone(), each.id.clone());
                    let done = client.revoke_login(RevokeLoginRequest { partition, login }).await;
                    // One that has ended by itself meanwhile is ended.
                    if let Err(status) = done
                        && status.code() != tonic::Code::NotFound
                    {
                        return Err(status.into());
                    }
                }
            }
            show(&LoginList(ended), format)
        }
    }
}

async fn logins(client: &mut HsmAdminClient<Channel>, partition: &str) -> Result<Vec<LoginView>, Error> {
    let partition = partition.to_owned();
    let logins = client
        .list_logins(ListLoginsRequest { partition })
        .await?
        .into_inner()
        .logins;
    Ok(logins.into_iter().map(LoginView::from).collect())
}

/// Runs a verb of `connection`.
pub(super) async fn connection(channel: Channel, command: Connection, format: Format) -> Result<Exit, Error> {
    let Connection::List = command;
    let answer = HsmAdminClient::new(channel)
        .list_connections(ListConnectionsRequest {})
        .await?;
    let connections = answer.into_inner().connections.into_iter();
    show(&ConnectionList(connections.map(ConnectionView::from).collect()), format)
}

/// Runs a verb of `log`.
pub(super) async fn log(channel: Channel, command: Log, format: Format) -> Result<Exit, Error> {
    let Log::Level { level } = command;
    let request = SetLogLevelRequest { level: level.clone() };
    let before = HsmAdminClient::new(channel)
        .set_log_level(request)
        .await?
        .into_inner()
        .before;
    show(&LevelView { level, before }, format)
}

#[derive(Serialize)]
struct LoginView {
    id: String,
    client: String,
    identity: String,
    role: String,
    /// Seconds since 1970.
    since: u64,
    /// Seconds since 1970.
    last_use: u64,
}

impl From<admin::Login> for LoginView {
    fn from(login: admin::Login) -> Self {
        Self {
            id: login.id,
            client: login.client,
            identity: login.identity,
            role: login.role,
            since: login.created,
            last_use: login.used,
        }
    }
}

#[derive(Serialize)]
struct LoginList(Vec<LoginView>);

impl Table for LoginList {
    fn rows(&self) -> Vec<Vec<String>> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let rows = self.0.iter().map(|login| {
            let client = if login.client.is_empty() {
                &login.identity
            } else {
                &login.client
            };
            [
                login.id.clone(),
                client.clone(),
                login.role.clone(),
                ago(now, login.since),
                ago(now, login.last_use),
            ]
        });
        list(["ID", "CLIENT", "ROLE", "SINCE", "LAST USE"], rows)
    }
}

/// How long ago, in the largest unit that fits.
fn ago(now: u64, then: u64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let seconds = now.saturating_sub(then);
    let fits = units.into_iter().find(|(unit, _)| seconds >= *unit);
    let (unit, name) = fits.unwrap_or((1, "s"));
    format!("{} {name} ago", seconds / unit)
}

#[derive(Serialize)]
struct ConnectionView {
    client: String,
    identity: String,
    seconds: u64,
}

impl From<admin::Connection> for ConnectionView {
    fn from(connection: admin::Connection) -> Self {
        Self {
            client: connection.client,
            identity: connection.identity,
            seconds: connection.seconds,
        }
    }
}

#[derive(Serialize)]
struct ConnectionList(Vec<ConnectionView>);

impl Table for ConnectionList {
    fn rows(&self) -> Vec<Vec<String>> {
        let rows = self.0.iter();
        let rows = rows.map(|open| [open.client.clone(), open.identity.clone(), open.seconds.to_string()]);
        list(["CLIENT", "IDENTITY", "SECONDS"], rows)
    }
}

#[derive(Serialize)]
struct LevelView {
    level: String,
    before: String,
}

impl Table for LevelView {
    fn rows(&self) -> Vec<Vec<String>> {
        record([("Level", self.level.clone()), ("Before", self.before.clone())])
    }
}

#[cfg(test)]
mod tests {
    use super::ago;

    #[test]
    fn a_time_is_told_in_its_largest_unit() {
        assert_eq!(ago(100, 100), "0 s ago");
        assert_eq!(ago(100, 200), "0 s ago");
        assert_eq!(ago(200, 100), "1 min ago");
        assert_eq!(ago(90_000, 0), "1 d ago");
    }
}
