//! Doors for the fuzz targets (docs/fuzzing.md): each takes hostile bytes to one of the module's readers and returns nothing.
//! Not part of the library's interface: an application sees `C_` functions only.

use crate::config::Config;
use crate::ops::request;
use crate::pem;
use crate::state::object::View;
use crate::state::saved::Saved;
use crate::transport::connection::Connection;
use crate::transport::{Failure, believable};
use hsmd_proto::attribute::Template;
use hsmd_proto::convert::attribute_from_wire;
use hsmd_proto::frame::Sections;
use hsmd_proto::wire::{self, reply};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// What fits into a socket's buffer without a reader.
const MOST: usize = 96 << 10;

/// Reads a client file.
pub fn client_file(text: &str) {
    if let Ok(config) = Config::parse(text, Path::new("/nowhere")) {
        assert!(
            config.remote.is_some() || config.socket.as_ref().is_some_and(|socket| socket.is_absolute()),
            "a socket without a place"
        );
        usable(&config);
    }
}

/// Reads a `Chrystoki.conf`.
pub fn chrystoki(text: &str) {
    if let Ok(config) = Config::parse_chrystoki(text, Path::new("/nowhere")) {
        assert_eq!(config.socket, None, "it names servers only");
        usable(&config);
    }
}

/// Reads a saved operation state; what reads is written again as it was.
pub fn operation_state(bytes: &[u8]) {
    if let Some(saved) = Saved::decode(bytes) {
        assert!(
            Saved::decode(&saved.encode()).is_some(),
            "what was read cannot be written"
        );
    }
}

/// A saved operation state to begin from.
#[must_use]
pub fn operation_state_seed() -> Vec<u8> {
    crate::state::saved::seed().encode().to_vec()
}

/// The checksum of a state made good: a mutation is to come past it.
#[must_use]
pub fn operation_state_mended(bytes: &[u8]) -> Vec<u8> {
    crate::state::saved::mended(bytes)
}

/// Reads a file of certificates or keys.
pub fn pem(text: &[u8]) {
    for block in pem::blocks(text).unwrap_or_default() {
        assert!(block.der.len() <= text.len(), "more out than in");
    }
}

fn usable(config: &Config) {
    assert!(
        (Duration::from_millis(1)..=Duration::from_secs(600)).contains(&config.deadline),
        "a deadline out of range"
    );
    if let Some(remote) = &config.remote {
        assert!(!remote.servers.is_empty(), "nobody to connect to");
        assert!(
            remote
                .servers
                .iter()
                .all(|server| server.port != 0 && !server.host.is_empty()),
            "a server without a place"
        );
        assert!(
            [&remote.ca, &remote.certificate, &remote.key]
                .iter()
                .all(|file| file.is_absolute()),
            "a file without a place"
        );
    }
}

/// Sends a request to a daemon that answers with these bytes, and reads the answer as each kind of operation does.
///
/// # Errors
/// When there is no socket to be had.
pub fn reply(bytes: &[u8]) -> std::io::Result<()> {
    let (ours, mut theirs) = UnixStream::pair()?;
    theirs.write_all(&bytes[..bytes.len().min(MOST)])?;
    theirs.shutdown(std::net::Shutdown::Write)?;
    let mut connection = Connection::new(ours.into(), 1 << 20);
    // All bytes are there already: nothing waits for long.
    connection.set_patience(Duration::from_secs(5))?;
    let give_up = Instant::now() + Duration::from_secs(5);
    let answer = connection.exchange(&mut |_| wire::Request::default(), &[], give_up);
    if let Ok(reply) = answer {
        assert!(
            believable(reply.rv).name().is_some(),
            "a code that PKCS#11 does not have"
        );
        // Each of the readers below meets hostile values; what they answer does not matter.
        let _ = request::output(reply.result.clone(), &connection.sections());
        let _ = read(reply.result, &connection.sections());
        connection.wipe();
    }
    Ok(())
}

fn read(result: Option<reply::Result>, sections: &Sections<'_>) -> Result<(), Failure> {
    match result {
        Some(reply::Result::Object(object)) => view(object, sections),
        Some(reply::Result::Pair(pair)) => [pair.public_key, pair.private_key]
            .into_iter()
            .flatten()
            .try_for_each(|object| view(object, sections)),
        Some(reply::Result::Objects(list)) => list.objects.into_iter().try_for_each(|object| view(object, sections)),
        Some(reply::Result::Find(found)) => {
            sections.get_opt(found.more_hits.as_ref()).map_err(|_| Failure::Lost)?;
            found.objects.into_iter().try_for_each(|object| view(object, sections))
        }
        Some(reply::Result::Attributes(list)) => {
            for value in list.values.iter().filter_map(|value| value.attribute.as_ref()) {
                attribute_from_wire(value, sections).map_err(|_| Failure::Lost)?;
            }
            Ok(())
        }
        Some(reply::Result::Login(login)) => sections
            .get_opt(login.ticket.as_ref())
            .map(drop)
            .map_err(|_| Failure::Lost),
        _ => Ok(()),
    }
}

fn view(object: wire::Object, sections: &Sections<'_>) -> Result<(), Failure> {
    let (_, view) = View::from_wire(object, sections)?;
    view.public_key();
    let own = Template::default().matches(view.class(), |attribute| view.attributes.value(attribute));
    assert!(own, "everything matches a search for nothing");
    Ok(())
}
