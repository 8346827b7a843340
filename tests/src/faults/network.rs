//! A network of a test's own: hosts in network namespaces of the kernel, each with one cable to a switch. Cables are pulled, and
//! hosts made deaf to one another, so that packets vanish without a word: no RST, no ICMP, no error at the sender.
//!
//! The namespaces have no names and leave nothing behind: each lives as long as a process that reads from this one.

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use crate::peers::{program, under};
use crate::wait;

/// What to read when it does not work.
const NEEDS: &str = "this test makes network namespaces: it must run as root (CAP_SYS_ADMIN, CAP_NET_ADMIN), with `ip` of the Debian \
                     package iproute2, `unshare` and `nsenter` of util-linux, in a kernel with veth and bridge";

/// A process that keeps a namespace.
struct Space(Child);

impl Space {
    fn new() -> Self {
        let own = fs::read_link("/proc/self/ns/net").expect("a namespace");
        let mut child = Command::new(program("unshare"))
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("unshare starts");
        let link = format!("/proc/{}/ns/net", child.id());
        let made = wait::until(wait::PATIENCE, || {
            assert!(child.try_wait().expect("the state of a child").is_none(), "{NEEDS}");
            fs::read_link(&link).ok().filter(|space| *space != own)
        });
        assert!(made.is_some(), "{NEEDS}");
        Self(child)
    }

    fn under(&self) -> Vec<String> {
        let nsenter = program("nsenter").display().to_string();
        let process = self.0.id().to_string();
        [&nsenter, "--net", "--target", &process, "--"]
            .map(str::to_owned)
            .to_vec()
    }

    /// Runs lines of `ip` in it.
    fn ip(&self, lines: &str) {
        let mut command = under(&self.under(), &program("ip"));
        command.args(["-batch", "-"]);
        let mut child = command.stdin(Stdio::piped()).spawn().expect("nsenter starts");
        let mut input = child.stdin.take().expect("its input");
        input.write_all(lines.as_bytes()).expect("ip reads");
        drop(input);
        assert!(
            child.wait().expect("ip ends").success(),
            "{NEEDS}\nip refused:\n{lines}"
        );
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Hosts on one switch, by their number.
pub struct Network {
    switch: Space,
    hosts: Vec<Space>,
}

impl Network {
    /// So many hosts.
    ///
    /// # Panics
    /// Where the kernel or the rights are missing.
    #[must_use]
    pub fn new(hosts: usize) -> Self {
        let switch = Space::new();
        switch.ip("link add switch type bridge\nlink set switch up\n");
        let hosts: Vec<_> = (0..hosts).map(|_| Space::new()).collect();
        for (number, host) in hosts.iter().enumerate() {
            let process = host.0.id();
            switch.ip(&format!(
                "link add port{number} type veth peer name eth0 netns {process}\nlink set port{number} master switch up\n"
            ));
            let address = address(number);
            host.ip(&format!(
                "link set lo up\naddr add {address}/24 dev eth0\nlink set eth0 up\n"
            ));
        }
        Self { switch, hosts }
    }

    /// The words in front of a program that is to run on this host.
    #[must_use]
    pub fn under(&self, host: usize) -> Vec<String> {
        self.hosts[host].under()
    }

    /// A program on this host.
    #[must_use]
    pub fn command(&self, host: usize, program: &std::path::Path) -> Command {
        under(&self.under(host), program)
    }

    /// Pulls a host's cable, or plugs it in again. What it sends and what is sent to it vanishes.
    pub fn plug(&self, host: usize, plugged: bool) {
        let state = if plugged { "up" } else { "down" };
        self.switch.ip(&format!("link set port{host} {state}\n"));
    }

    /// From now on nothing that `from` sends to these hosts arrives; what they send to it does.
    pub fn silence(&self, from: usize, to: &[usize]) {
        // Sent to a card that nobody has. A blackhole route would tell the sender.
        let lines = to.iter().map(|to| {
            let address = address(*to);
            format!("neigh replace {address} lladdr 02:00:00:00:00:fe dev eth0 nud permanent\n")
        });
        self.hosts[from].ip(&lines.collect::<String>());
    }

    /// The end of [`Network::silence`].
    pub fn heal(&self, from: usize, to: &[usize]) {
        let lines = to.iter().map(|to| format!("neigh del {} dev eth0\n", address(*to)));
        self.hosts[from].ip(&lines.collect::<String>());
    }

    /// Nothing passes between a host and these others, either way.
    pub fn part(&self, one: usize, others: &[usize]) {
        self.silence(one, others);
        for other in others {
            self.silence(*other, &[one]);
        }
    }

    /// The end of [`Network::part`].
    pub fn join(&self, one: usize, others: &[usize]) {
        self.heal(one, others);
        for other in others {
            self.heal(*other, &[one]);
        }
    }
}

/// Where a host is.
#[must_use]
pub fn address(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 88, 0, u8::try_from(host + 1).expect("few hosts"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Whether a datagram of `ping` comes back within a second.
    fn reaches(network: &Network, from: usize, to: usize) -> bool {
        let address = address(to).to_string();
        // A connection to a port where nobody listens is refused at once, by the other kernel.
        let mut bash = network.command(from, Path::new("/usr/bin/timeout"));
        bash.args(["0.7", "bash", "-c", &format!("exec 3<>/dev/tcp/{address}/9")]);
        let status = bash.stderr(Stdio::null()).status().expect("bash");
        status.code() != Some(124)
    }

    #[test]
    fn what_is_cut_is_silent_and_what_is_healed_is_heard() {
        let network = Network::new(3);
        assert!(reaches(&network, 0, 1));
        network.part(0, &[1]);
        assert!(!reaches(&network, 0, 1));
        assert!(reaches(&network, 0, 2));
        network.join(0, &[1]);
        assert!(reaches(&network, 0, 1));
        network.plug(2, false);
        assert!(!reaches(&network, 0, 2));
        network.plug(2, true);
        assert!(reaches(&network, 0, 2));
        // One way is enough for a conversation to end.
        network.silence(1, &[0]);
        assert!(!reaches(&network, 0, 1));
    }
}
