//! Forwards entries that concern an HSM to the syslog server in its record (`SyslogIp`): RFC 5424, over UDP (RFC 5426) or TCP with
//! octet counting (RFC 6587). A copy of the log that nobody on this machine can rewrite. Acts never wait for it; what could not
//! be sent is counted and told in the log.

use super::file::hex;
use super::view::EntryView;
use crate::config::Audit as Config;
use crate::node::Node;
use hsmd_keystore::audit::{Act, Chained, Event};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout};

/// How long a connection or a write may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// A server that did not answer is left alone for so long.
const PAUSE: Duration = Duration::from_secs(5);
/// How often losses are told.
const TELL: Duration = Duration::from_secs(60);
/// Facility 13 (log audit), severity 6 (informational) and 4 (warning): RFC 5424, 6.2.1.
const DONE: u8 = 13 * 8 + 6;
const FAILED: u8 = 13 * 8 + 4;

/// Where a server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    Udp(SocketAddr),
    Tcp(SocketAddr),
}

/// Reads `address`, `udp://address[:port]` or `tcp://address[:port]`; what it leaves out, the configuration says.
pub(super) fn target(text: &str, config: &Config) -> Option<Target> {
    let (tcp, rest) = match text.split_once("://") {
        Some(("tcp", rest)) => (true, rest),
        Some(("udp", rest)) => (false, rest),
        Some(_) => return None,
        None => (config.syslog == "tcp", text),
    };
    let with_port = || rest.parse::<SocketAddr>().ok();
    let plain = rest.parse::<IpAddr>().ok();
    let address = plain
        .map(|address| SocketAddr::new(address, config.syslog_port))
        .or_else(with_port)?;
    Some(if tcp {
        Target::Tcp(address)
    } else {
        Target::Udp(address)
    })
}

/// The message of an entry.
pub(super) fn message(node: &str, entry: &Chained, view: &EntryView) -> String {
    let priority = if view.is_ok() { DONE } else { FAILED };
    let mut out = String::with_capacity(entry.line.len() + 256);
    // Writing to a String does not fail. 32473 is the number that RFC 5612 keeps for documentation: we have none of our own.
    let _ = write!(
        out,
        "<{priority}>1 {} {node} hsmd {} {} [hsmd@32473 sequence=\"{}\" hash=\"{}\"] {}",
        view.time,
        std::process::id(),
        view.act,
        entry.sequence,
        hex(&entry.hash),
        entry.line
    );
    out
}

/// Forwards until the daemon ends.
pub(crate) async fn run(node: Arc<Node>) {
    let mut entries = node.audit.follow();
    let mut forwarder = Forwarder::new(&node);
    loop {
        let next = match timeout(TELL, entries.recv()).await {
            Ok(next) => next,
            Err(_) => {
                forwarder.tell();
                continue;
            }
        };
        match next {
            Ok(entry) => forwarder.forward(&entry).await,
            Err(RecvError::Lagged(missed)) if forwarder.has_targets() => forwarder.lost("the queue", missed),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
        if forwarder.told.elapsed() >= TELL {
            forwarder.tell();
        }
    }
}

struct Forwarder<'a> {
    node: &'a Node,
    name: String,
    udp: Option<UdpSocket>,
    tcp: HashMap<SocketAddr, TcpStream>,
    /// Servers that did not answer, and since when.
    silent: HashMap<SocketAddr, Instant>,
    lost: HashMap<String, u64>,
    told: Instant,
}

impl<'a> Forwarder<'a> {
    fn new(node: &'a Node) -> Self {
        Self {
            node,
            name: node.keystore.node().to_string(),
            udp: None,
            tcp: HashMap::new(),
            silent: HashMap::new(),
            lost: HashMap::new(),
            told: Instant::now(),
        }
    }

    fn has_targets(&self) -> bool {
        self.node.model.hsms().iter().any(|hsm| !hsm.syslog_ip.is_empty())
    }

    async fn forward(&mut self, entry: &Chained) {
        let hsms = self.node.model.hsms();
        if hsms.iter().all(|hsm| hsm.syslog_ip.is_empty()) {
            return;
        }
        let Some(view) = EntryView::read(&entry.line) else {
            return;
        };
        // A loss that is told and lost again would go round for ever.
        if view.act == Act::SyslogLoss.name() {
            return;
        }
        let concerned = hsms
            .iter()
            .filter(|hsm| !hsm.syslog_ip.is_empty() && view.concerns(&hsm.id, &hsm.serial));
        for hsm in concerned {
            let Some(target) = target(&hsm.syslog_ip, &self.node.config.audit) else {
                continue;
            };
            let message = message(&self.name, entry, &view);
            if !self.send(target, &message).await {
                self.lost(&hsm.id, 1);
            }
        }
    }

    fn lost(&mut self, whose: &str, count: u64) {
        *self.lost.entry(whose.to_owned()).or_default() += count;
    }

    /// Tells losses in the log.
    fn tell(&mut self) {
        self.told = Instant::now();
        for (hsm, count) in self.lost.drain() {
            tracing::warn!(hsm, count, "entries of the audit log could not be forwarded to syslog");
            let event = Event::new(Act::SyslogLoss).at(&hsm, "").times(count);
            self.node.keystore.audit().note(event);
        }
    }

    async fn send(&mut self, target: Target, message: &str) -> bool {
        match target {
            Target::Udp(address) => self.send_udp(address, message).await,
            Target::Tcp(address) => {
                if self.silent.get(&address).is_some_and(|since| since.elapsed() < PAUSE) {
                    return false;
                }
                // A connection that the server has closed is noticed at the next write: one more try.
                let sent = self.send_tcp(address, message).await || self.send_tcp(address, message).await;
                if sent {
                    self.silent.remove(&address);
                } else {
                    self.silent.insert(address, Instant::now());
                }
                sent
            }
        }
    }

    async fn send_udp(&mut self, address: SocketAddr, message: &str) -> bool {
        if self.udp.is_none() {
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            self.udp = UdpSocket::bind(any).await.ok();
        }
        let Some(socket) = &self.udp else { return false };
        let sent = socket.send_to(message.as_bytes(), address).await.is_ok();
        if !sent {
            // Of the other family of addresses, or the network has changed.
            self.udp = None;
        }
        sent
    }

    async fn send_tcp(&mut self, address: SocketAddr, message: &str) -> bool {
        let mut stream = match self.tcp.remove(&address) {
            // One that the server has closed takes a message, and it is lost.
            Some(stream) if !matches!(stream.try_read(&mut [0; 16]), Ok(0)) => stream,
            _ => match timeout(PATIENCE, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => stream,
                _ => return false,
            },
        };
        let frame = format!("{} {message}", message.len());
        let sent = matches!(timeout(PATIENCE, stream.write_all(frame.as_bytes())).await, Ok(Ok(())));
        if sent {
            self.tcp.insert(address, stream);
        }
        sent
    }
}
