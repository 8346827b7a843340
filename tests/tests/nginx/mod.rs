//! nginx with four workers, forked from a master that loaded the key, serves TLS 1.3 with a key of the token through
//! OpenSSL's engine. It listens on a Unix socket, so that the test needs no port.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use hsmd_tests::peers::{Token, succeed};
use hsmd_tests::{ffi, wait};

use crate::openssl_engine;

const WORKERS: usize = 4;

struct Nginx {
    master: Child,
    socket: PathBuf,
    certificate: PathBuf,
}

impl Nginx {
    fn start(token: &Token, kind: &str) -> Self {
        let certificate = openssl_engine::certified_key(token, kind, "web");
        let (folder, socket) = (token.file("nginx"), token.file("nginx.sock"));
        fs::create_dir(&folder).expect("a folder");
        let configuration = folder.join("nginx.conf");
        let inside = folder.display();
        let user = if ffi::user_id() == 0 { "user root;\n" } else { "" };
        let text = format!(
            "{user}daemon off;\nworker_processes {WORKERS};\npid {inside}/pid;\nerror_log {inside}/error.log info;\n\
             ssl_engine pkcs11;\nenv HSMD_CONFIG;\nenv OPENSSL_CONF;\nevents {{ worker_connections 64; }}\n\
             http {{\n  access_log off;\n  client_body_temp_path {inside}/body;\n  proxy_temp_path {inside}/proxy;\n  \
             fastcgi_temp_path {inside}/fastcgi;\n  uwsgi_temp_path {inside}/uwsgi;\n  scgi_temp_path {inside}/scgi;\n  \
             server {{\n    listen unix:{} ssl;\n    server_name localhost;\n    ssl_protocols TLSv1.3;\n    \
             ssl_certificate {};\n    \
             ssl_certificate_key \"engine:pkcs11:pkcs11:token=demo;object=web;type=private\";\n    \
             location / {{ return 200 \"$pid\"; }}\n  }}\n}}\n",
            socket.display(),
            certificate.display()
        );
        fs::write(&configuration, text).expect("a configuration");
        let mut command = token.command("nginx");
        command.env("OPENSSL_CONF", openssl_engine::configuration(token));
        command
            .arg("-e")
            .arg(folder.join("error.log"))
            .arg("-c")
            .arg(&configuration);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let master = command.spawn().expect("nginx starts");
        let nginx = Self {
            master,
            socket,
            certificate,
        };
        let serving = wait::until(wait::PATIENCE, || (nginx.workers().len() == WORKERS).then_some(()));
        let log = || fs::read_to_string(folder.join("error.log")).unwrap_or_default();
        assert!(serving.is_some() && nginx.socket.exists(), "{}", log());
        nginx
    }

    /// The processes that the master has forked.
    fn workers(&self) -> BTreeSet<u32> {
        let master = self.master.id();
        let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap_or_default();
        children
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect()
    }

    /// One handshake and one request: the worker that served it.
    fn get(&self, token: &Token) -> u32 {
        let mut curl = token.command("curl");
        curl.args(["--silent", "--show-error", "--fail", "--tlsv1.3", "--cacert"]);
        curl.arg(&self.certificate).arg("--unix-socket").arg(&self.socket);
        let answer = succeed(curl.arg("https://localhost/"));
        let worker = String::from_utf8_lossy(&answer.output).trim().parse();
        worker.unwrap_or_else(|_| panic!("{}", answer.text))
    }

    /// Requests, none of which may fail, until a worker answers that is not among `old`.
    fn new_worker(&self, token: &Token, old: &BTreeSet<u32>) -> u32 {
        wait::until(wait::PATIENCE, || {
            let worker = self.get(token);
            (!old.contains(&worker)).then_some(worker)
        })
        .expect("a new worker serves")
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = ffi::signal(self.master.id(), libc::SIGTERM);
        let _ = self.master.wait();
    }
}

fn serves_through_reload_and_kill(kind: &str) {
    let mut token = Token::hsmd();
    let nginx = Nginx::start(&token, kind);
    let first = nginx.workers();
    for _ in 0..20 {
        assert!(first.contains(&nginx.get(&token)));
    }
    let mut client = token.command("openssl");
    client
        .args(["s_client", "-verify_return_error", "-CAfile"])
        .arg(&nginx.certificate);
    let shown = succeed(client.arg("-unix").arg(&nginx.socket));
    assert!(shown.text.contains("New, TLSv1.3"), "{}", shown.text);

    // A reload loads the key again in the master, which was initialised before, and forks new workers.
    ffi::signal(nginx.master.id(), libc::SIGHUP).expect("nginx runs");
    nginx.new_worker(&token, &first);
    let gone = wait::until(wait::PATIENCE, || {
        let workers = nginx.workers();
        (workers.len() == WORKERS && workers.is_disjoint(&first)).then_some(workers)
    });
    let second = gone.expect("four new workers, no old ones");

    let victim = *second.iter().next().expect("a worker");
    ffi::signal(victim, libc::SIGKILL).expect("the worker runs");
    let whole = wait::until(wait::PATIENCE, || {
        let workers = nginx.workers();
        (workers.len() == WORKERS && !workers.contains(&victim)).then_some(())
    });
    assert!(whole.is_some(), "the master starts another worker");
    nginx.new_worker(&token, &second);

    // The daemon's end and new start: the workers' sessions and logins go on.
    token.daemon.as_mut().expect("our daemon").restart();
    for _ in 0..10 {
        nginx.get(&token);
    }
}

#[test]
fn four_workers_serve_with_an_ec_key_through_reload_kill_and_restart() {
    serves_through_reload_and_kill("EC:prime256v1");
}

#[test]
fn four_workers_serve_with_an_rsa_key_through_reload_kill_and_restart() {
    serves_through_reload_and_kill("rsa:2048");
}
