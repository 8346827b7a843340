//! Two hosts for a test: two network namespaces with a cable between them, or, where the system does not allow that, two
//! addresses of the loopback.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use hsmd_tests::peers::{Run, program, run};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Where daemon and clients are.
pub(super) struct Network {
    /// The namespaces of the server and of the client.
    namespaces: Option<[String; 2]>,
    /// The server's `address:port`.
    pub(super) server: String,
}

impl Network {
    /// Two namespaces if there can be; says which it became.
    #[expect(clippy::print_stderr, reason = "the test's output says which of the two it was")]
    pub(super) fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let names = ["server", "client"].map(|side| format!("hsmd-{}-{number}-{side}", std::process::id()));
        let network = Self {
            namespaces: Some(names),
            server: "10.213.0.1:1792".to_owned(),
        };
        match network.lay() {
            Ok(()) => {
                eprintln!("remote: two network namespaces");
                network
            }
            Err(why) => {
                drop(network);
                eprintln!("remote: 127.0.0.1 and 127.0.0.2, because network namespaces are refused: {why}");
                Self::loopback()
            }
        }
    }

    /// Two addresses of this host.
    pub(super) fn loopback() -> Self {
        // Free when it was asked for; nobody else here takes ports of 127.0.0.2.
        let probe = TcpListener::bind("127.0.0.2:0").expect("a free port");
        Self {
            namespaces: None,
            server: probe.local_addr().expect("an address").to_string(),
        }
    }

    fn lay(&self) -> Result<(), String> {
        let Some([server, client]) = &self.namespaces else {
            return Ok(());
        };
        let lines = [
            format!("netns add {server}"),
            format!("netns add {client}"),
            format!("link add eth0 netns {server} type veth peer name eth0 netns {client}"),
            format!("-n {server} addr add 10.213.0.1/24 dev eth0"),
            format!("-n {client} addr add 10.213.0.2/24 dev eth0"),
            format!("-n {server} link set eth0 up"),
            format!("-n {client} link set eth0 up"),
            format!("-n {server} link set lo up"),
            format!("-n {client} link set lo up"),
        ];
        lines.iter().try_for_each(|line| {
            let done = ip(line);
            if done.good { Ok(()) } else { Err(done.error) }
        })
    }

    /// The words before a command that runs where the server is.
    pub(super) fn at_server(&self) -> Vec<String> {
        self.at(0)
    }

    /// A command that runs where the client is.
    pub(super) fn client(&self, what: &Path) -> Command {
        let mut words = self.at(1);
        words.push(what.display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }

    fn at(&self, side: usize) -> Vec<String> {
        let Some(names) = &self.namespaces else {
            return Vec::new();
        };
        let ip = program("ip").display().to_string();
        vec![ip, "netns".into(), "exec".into(), names[side].clone()]
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in self.namespaces.iter().flatten() {
            // It may not have been made.
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

fn ip(arguments: &str) -> Run {
    run(Command::new(program("ip")).args(arguments.split_whitespace()))
}
