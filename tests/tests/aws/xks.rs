//! External key stores: hsmd as a proxy, asked by requests that botocore signs, over TLS; clients' certificates; and TLS of the
//! other listener, with boto3 and the AWS CLI.

use super::{ACCESS_KEY, SECRET, write_private};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hsmd_tests::daemon::{self, Daemon, LABEL, PIN};
use hsmd_tests::peers::{program, run, succeed};

const PAIRS: [(&str, &str); 2] = [
    (
        "BETWEEN2TENAND3TENCHARACTERS",
        "PleaseReplaceThisWithSomeSecretOfLength43To64",
    ),
    (
        "ANOTHERPAIR2345672345",
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG+/=",
    ),
];

/// A certificate and its key, in files.
struct Identity {
    certificate: PathBuf,
    key: PathBuf,
}

/// Makes a certificate of an authority, or of its own.
fn certificate(folder: &Path, name: &str, common_name: &str, authority: Option<&Identity>) -> Identity {
    let made = Identity {
        certificate: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}.key")),
    };
    let mut command = Command::new(program("openssl"));
    command.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]);
    command.arg("-subj").arg(format!("/CN={common_name}"));
    command.args([
        "-addext",
        "subjectAltName=DNS:localhost,DNS:xks.example.com,IP:127.0.0.1",
    ]);
    if let Some(authority) = authority {
        command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        command
            .arg("-CA")
            .arg(&authority.certificate)
            .arg("-CAkey")
            .arg(&authority.key);
    }
    succeed(command.arg("-keyout").arg(&made.key).arg("-out").arg(&made.certificate));
    write_private(&made.key, &fs::read_to_string(&made.key).expect("the key"));
    made
}

/// An `hsmd-aws` of any configuration, and where its two listeners are.
struct Aws {
    child: Child,
    url: String,
    xks: String,
}

impl Aws {
    fn start(daemon: &Daemon, name: &str, config: &str) -> Self {
        let path = daemon.folder().join(format!("{name}.toml"));
        write_private(&path, config);
        write_private(&daemon.folder().join("pin"), &format!("{PIN}\n"));
        let log = fs::File::create(daemon.folder().join(format!("{name}.log"))).expect("a log");
        let mut command = daemon.command(&daemon::binaries().join("hsmd-aws"));
        command.arg("--config").arg(&path).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().expect("hsmd-aws: `cargo xtask ci` builds it");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut line = || lines.next().expect("a line").expect("text");
        let url = line();
        let xks = if config.contains("[xks]") {
            line()
        } else {
            String::new()
        };
        Self {
            child,
            url,
            xks: xks.trim_start_matches("xks ").to_owned(),
        }
    }
}

impl Drop for Aws {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A proxy with its daemon.
struct Proxy {
    daemon: Daemon,
    aws: Aws,
    server: Identity,
}

/// `[xks]` with further lines.
fn xks(daemon: &Daemon, more: &str) -> String {
    let mut text = format!(
        "[xks]\nlisten = \"127.0.0.1:0\"\nuri_prefix = \"/example/uri/path/prefix\"\nregion = \"local-1\"\nmodule = {:?}\n\
         token = {LABEL:?}\npin_file = {:?}\n{more}\n",
        daemon.module_path(),
        daemon.folder().join("pin"),
    );
    for (id, secret) in PAIRS {
        text.push_str(&format!(
            "[[xks.credentials]]\naccess_key_id = {id:?}\nsecret_access_key = {secret:?}\n"
        ));
    }
    text
}

fn tls(section: &str, server: &Identity, more: &str) -> String {
    format!(
        "[{section}]\ncertificate = {:?}\nkey = {:?}\n{more}\n",
        server.certificate, server.key
    )
}

impl Proxy {
    /// With time enough for a machine that does much else.
    fn start() -> Self {
        Self::with("timeout_ms = 10000", "")
    }

    fn with(settings: &str, tls_settings: &str) -> Self {
        let daemon = Daemon::start();
        let server = certificate(daemon.folder(), "server", "localhost", None);
        let config = format!(
            "listen = \"127.0.0.1:0\"\nendpoint = {:?}\n{}{}",
            daemon.variable("HSMD_ENDPOINT"),
            tls("tls", &server, tls_settings),
            xks(&daemon, settings)
        );
        let aws = Aws::start(&daemon, "xks", &config);
        Self { daemon, aws, server }
    }

    fn python(&self, scenario: &str) -> Command {
        let folder = daemon::binaries();
        let python = folder.parent().unwrap_or(Path::new(".")).join("venv/bin/python");
        assert!(python.exists(), "{}: `cargo xtask setup` makes it", python.display());
        let mut command = self.daemon.command(&python);
        command
            .env("XKS_URL", self.aws.xks.replace("127.0.0.1", "localhost"))
            .env("XKS_CA", &self.server.certificate)
            .env("XKS_ACCESS_KEY_ID", PAIRS[0].0)
            .env("XKS_SECRET_ACCESS_KEY", PAIRS[0].1)
            .env("XKS_ACCESS_KEY_ID_2", PAIRS[1].0)
            .env("XKS_SECRET_ACCESS_KEY_2", PAIRS[1].1)
            .env("XKS_CONFIG", self.daemon.folder().join("xks.toml"))
            .env("XKS_PID", self.aws.child.id().to_string())
            .env("HSMD_PID", self.daemon.variable("HSMD_PID"))
            .env("MODULE", self.daemon.module_path())
            .env("TOKEN", LABEL)
            .env("PIN", PIN);
        command.arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/aws/xks.py"));
        command.arg(scenario);
        command
    }

    fn run(&self, scenario: &str) {
        succeed(&mut self.python(scenario));
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.daemon.folder().join("xks.log")).expect("a log");
        // The PIN's digits are in account numbers as well.
        for (_, secret) in PAIRS {
            assert!(!log.contains(secret), "a secret is in the log");
        }
        log
    }
}

#[test]
fn external_keys_encrypt_and_decrypt_as_the_specification_says() {
    let proxy = Proxy::start();
    proxy.run("round_trips");
    let log = proxy.log();
    assert!(!log.contains("SGVsbG8gV29ybGQh"), "a plaintext is in the log");
    let line = log
        .lines()
        .find(|line| line.contains("operation=\"Encrypt\""))
        .expect("an audit line");
    for part in [
        "key=\"k.1-a_b\"",
        "outcome=\"Success\"",
        "kms_request_id=\"no uuid \\n at all\"",
        "kms_operation=\"BulkEncrypt\"",
        "principal=\"arn:aws:iam::123456789012:user/Alice\"",
        "access_key=\"BETWEEN2TENAND3TENCHARACTERS\"",
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    assert!(log.contains("outcome=\"InvalidCiphertextException\""));
}

#[test]
fn a_key_is_used_as_its_attributes_allow() {
    Proxy::start().run("keys_and_their_uses");
}

#[test]
fn requests_that_are_not_authentic_are_refused() {
    let proxy = Proxy::start();
    proxy.run("requests_that_are_not_authentic");
    proxy.run("credentials_are_changed");
    let _ = proxy.log();
}

#[test]
fn paths_methods_and_bodies_are_held_against_the_specification() {
    Proxy::start().run("paths_methods_and_bodies");
}

#[test]
fn a_daemon_that_is_away_and_comes_back_is_noticed() {
    let proxy = Proxy::with("timeout_ms = 1000\nthreads = 4", "");
    proxy.run("hsmd_is_away");
}

#[test]
fn more_requests_than_the_rate_are_put_off() {
    Proxy::with("timeout_ms = 10000\nrate = 5", "").run("too_many");
}

#[test]
fn only_certificates_of_the_authority_and_name_are_let_in() {
    let daemon = Daemon::start();
    let folder = daemon.folder();
    let server = certificate(folder, "server", "localhost", None);
    let authority = certificate(folder, "authority", "authority", None);
    let name = "cks.kms.local-1.amazonaws.com";
    let kms = certificate(folder, "kms", name, Some(&authority));
    let other = certificate(folder, "other", "other.example.com", Some(&authority));
    let stranger = certificate(folder, "stranger", name, None);
    let mutual = format!("client_authority = {:?}\nclient_name = {name:?}", authority.certificate);
    let config = format!(
        "listen = \"127.0.0.1:0\"\nendpoint = {:?}\n{}{}",
        daemon.variable("HSMD_ENDPOINT"),
        xks(&daemon, ""),
        tls("xks.tls", &server, &mutual)
    );
    let aws = Aws::start(&daemon, "xks", &config);
    let ask = |identity: Option<&Identity>, version: &str| {
        let address = aws
            .xks
            .trim_start_matches("https://")
            .split('/')
            .next()
            .unwrap_or_default();
        let request = folder.join("request");
        fs::write(
            &request,
            "GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )
        .expect("a file");
        // `run` closes standard input: the shell opens it again.
        let mut command = Command::new(program("sh"));
        command
            .args([
                "-c",
                "request=$1; shift; exec openssl s_client \"$@\" < \"$request\"",
                "sh",
            ])
            .arg(request);
        command.args([
            "-quiet",
            "-ign_eof",
            "-verify_return_error",
            "-servername",
            "localhost",
            version,
        ]);
        command
            .arg("-connect")
            .arg(address)
            .arg("-CAfile")
            .arg(&server.certificate);
        if let Some(identity) = identity {
            command
                .arg("-cert")
                .arg(&identity.certificate)
                .arg("-key")
                .arg(&identity.key);
        }
        run(&mut command).text
    };
    for version in ["-tls1_2", "-tls1_3"] {
        assert!(ask(Some(&kms), version).contains("200 OK"), "{version}");
        for refused in [None, Some(&other), Some(&stranger)] {
            let text = ask(refused, version);
            assert!(!text.contains("200 OK") && text.contains("alert"), "{version}: {text}");
        }
    }
    assert!(!ask(Some(&kms), "-tls1_1").contains("200 OK"));
}

#[test]
fn boto3_and_the_aws_command_line_work_over_tls() {
    let daemon = Daemon::start();
    let server = certificate(daemon.folder(), "server", "localhost", None);
    let config = format!(
        "listen = \"127.0.0.1:0\"\nendpoint = {:?}\n[[access_keys]]\nid = {ACCESS_KEY:?}\nsecret = {SECRET:?}\n{}\
         [kms]\nmodule = {:?}\ntoken = {LABEL:?}\npin_file = {:?}\n",
        daemon.variable("HSMD_ENDPOINT"),
        tls("tls", &server, ""),
        daemon.module_path(),
        daemon.folder().join("pin"),
    );
    let aws = Aws::start(&daemon, "tls", &config);
    assert!(aws.url.starts_with("https://"), "{}", aws.url);
    let folder = daemon::binaries();
    let python = |name: &str| {
        let mut command = daemon.command(&folder.parent().unwrap_or(Path::new(".")).join("venv/bin").join(name));
        command
            .env("AWS_ENDPOINT_URL", aws.url.replace("127.0.0.1", "localhost"))
            .env("AWS_CA_BUNDLE", &server.certificate)
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_DEFAULT_REGION", "local-1")
            .env("AWS_MAX_ATTEMPTS", "1");
        command
    };
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/aws/kms.py");
    succeed(python("python").arg(script).arg("aliases"));
    succeed(python("aws").args(["kms", "list-keys"]));
    let stranger = certificate(daemon.folder(), "stranger", "localhost", None);
    let refused = run(python("aws")
        .env("AWS_CA_BUNDLE", &stranger.certificate)
        .args(["kms", "list-keys"]));
    assert!(!refused.good && refused.text.contains("SSL"), "{}", refused.text);
}
