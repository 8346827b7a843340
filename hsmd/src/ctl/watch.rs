//! `hsmctl watch`: what changes, as it changes. It asks again and again; what came and went between two looks is not seen.

use super::exit::{Error, Exit};
use super::output::{id_of, line, raw};
use super::status::Rhythm;
use super::{Format, client, expiry, group, hsm};
use clap::Args;
use hsmd_control::admin::ListPartitionsRequest;
use hsmd_control::admin::hsm_admin_client::HsmAdminClient;
use hsmd_control::cloudhsm::cloud_hsm_client::CloudHsmClient;
use serde::Serialize;
use std::collections::BTreeMap;
use tonic::transport::Channel;

/// Arguments of `hsmctl watch`.
#[derive(Args)]
pub(super) struct Options {
    /// Tell first what there is.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    rhythm: Rhythm,
}

/// Kind and id; state and label.
type Seen = BTreeMap<(&'static str, String), (String, String)>;

/// One change.
#[derive(Serialize, Debug, PartialEq, Eq)]
struct Event {
    time: String,
    kind: &'static str,
    id: String,
    label: String,
    /// The state before; none: it is new.
    was: Option<String>,
    /// The state now; none: it is gone.
    is: Option<String>,
}

/// Runs the command; `--count` counts looks.
pub(super) async fn run(channel: Channel, options: Options, format: Format) -> Result<Exit, Error> {
    let mut before = if options.all {
        Seen::new()
    } else {
        look(channel.clone()).await?
    };
    let mut done = u64::from(!options.all);
    loop {
        if done > 0 && !options.rhythm.again(done).await {
            return Ok(Exit::Ok);
        }
        let now = look(channel.clone()).await?;
        for event in changes(&before, &now, &expiry::date(expiry::now())) {
            tell(&event, format)?;
        }
        before = now;
        done += 1;
        if options.rhythm.count() == Some(done) {
            return Ok(Exit::Ok);
        }
    }
}

fn tell(event: &Event, format: Format) -> Result<Exit, Error> {
    if format != Format::Table {
        return line(event);
    }
    let state = |state: &Option<String>| state.clone().unwrap_or_else(|| "-".to_owned());
    let text = format!(
        "{}  {:9}  {}  {}  {} -> {}\n",
        event.time,
        event.kind,
        event.id,
        event.label,
        state(&event.was),
        state(&event.is)
    );
    raw(text.as_bytes())
}

async fn look(channel: Channel) -> Result<Seen, Error> {
    let mut admin = HsmAdminClient::new(channel.clone());
    let mut cloudhsm = CloudHsmClient::new(channel);
    let mut seen = Seen::new();
    for hsm in hsm::all(&mut cloudhsm).await? {
        seen.insert(("hsm", id_of(&hsm.arn)), (hsm.status, hsm.serial));
    }
    let partitions = admin
        .list_partitions(ListPartitionsRequest::default())
        .await?
        .into_inner();
    for partition in partitions.partitions {
        let partition = super::partition::PartitionView::from(partition);
        let state = partition.state().to_owned();
        seen.insert(("partition", partition.serial), (state, partition.label));
    }
    for group in group::all(&mut cloudhsm).await? {
        let members = group.partitions.join(",");
        let state = format!("{} [{members}]", group.state);
        seen.insert(("group", id_of(&group.arn)), (state, group.label));
    }
    for client in client::all(&mut cloudhsm).await? {
        seen.insert(("client", id_of(&client.arn)), (client.fingerprint, client.label));
    }
    Ok(seen)
}

fn changes(before: &Seen, now: &Seen, time: &str) -> Vec<Event> {
    let mut events = Vec::new();
    for ((kind, id), (state, label)) in before {
        if !now.contains_key(&(*kind, id.clone())) {
            events.push(event(time, kind, id, label, Some(state), None));
        }
    }
    for ((kind, id), (state, label)) in now {
        let was = before.get(&(*kind, id.clone()));
        if was.is_none_or(|was| was.0 != *state || was.1 != *label) {
            events.push(event(time, kind, id, label, was.map(|was| &was.0), Some(state)));
        }
    }
    events
}

fn event(time: &str, kind: &'static str, id: &str, label: &str, was: Option<&String>, is: Option<&String>) -> Event {
    Event {
        time: time.to_owned(),
        kind,
        id: id.to_owned(),
        label: label.to_owned(),
        was: was.cloned(),
        is: is.cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_changed_or_gone_is_an_event_and_what_stays_is_none() {
        let of = |rows: &[(&str, &str)]| -> Seen {
            let row = |(id, state): &(&str, &str)| (("hsm", (*id).to_owned()), ((*state).to_owned(), String::new()));
            rows.iter().map(row).collect()
        };
        let (before, now) = (
            of(&[("a", "RUNNING"), ("b", "PENDING"), ("c", "RUNNING")]),
            of(&[("a", "RUNNING"), ("b", "RUNNING"), ("d", "PENDING")]),
        );
        let told: Vec<_> = changes(&before, &now, "")
            .into_iter()
            .map(|event| (event.id, event.was, event.is))
            .collect();
        let some = |state: &str| Some(state.to_owned());
        let expected = [
            ("c".to_owned(), some("RUNNING"), None),
            ("b".to_owned(), some("PENDING"), some("RUNNING")),
            ("d".to_owned(), None, some("PENDING")),
        ];
        assert_eq!(told, expected);
    }
}
