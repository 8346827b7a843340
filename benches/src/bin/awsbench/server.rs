//! The two servers: `hsmd dev` with its front end, and moto in server mode.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use hsmd_tests::daemon::{Daemon, Options};
use hsmd_tests::wait;
use serde::Deserialize;

use crate::load::Request;
use crate::{Failure, Requests};

const SIGN: &str = include_str!("sign.py");

/// A KMS endpoint.
pub(crate) struct Server {
    address: String,
    environment: BTreeMap<&'static str, String>,
    /// Each ends when it is dropped.
    _daemon: Option<Daemon>,
    process: Option<Child>,
}

/// A line of `sign.py`.
#[derive(Deserialize)]
struct Signed {
    operation: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Server {
    pub(crate) fn ours() -> Result<Self, Failure> {
        let daemon = Daemon::start_with(Options {
            aws: true,
            arguments: ["--aws-listen", "127.0.0.1:0"].map(str::to_owned).to_vec(),
            ..Options::default()
        });
        let names = [
            "AWS_ENDPOINT_URL",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_DEFAULT_REGION",
        ];
        let environment: BTreeMap<_, _> = names.map(|name| (name, daemon.variable(name).to_owned())).into();
        let address = environment["AWS_ENDPOINT_URL"].trim_start_matches("http://").to_owned();
        Ok(Self {
            address,
            environment,
            _daemon: Some(daemon),
            process: None,
        })
    }

    pub(crate) fn moto(venv: &Path) -> Result<Self, Failure> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new(venv.join("bin/moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let server = Self {
            environment: [
                ("AWS_ENDPOINT_URL", format!("http://{address}")),
                ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE000000001".to_owned()),
                ("AWS_SECRET_ACCESS_KEY", "none".to_owned()),
                ("AWS_DEFAULT_REGION", "us-east-1".to_owned()),
            ]
            .into(),
            address,
            _daemon: None,
            process: Some(process),
        };
        let up = wait::until(wait::PATIENCE, || TcpStream::connect(server.address()).ok());
        up.map(|_| server).ok_or_else(|| "moto_server does not listen".into())
    }

    /// `127.0.0.1:4599`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// The requests that boto3 would send.
    pub(crate) fn signed(&self, venv: &Path) -> Result<Requests, Failure> {
        let mut python = Command::new(venv.join("bin/python"));
        let output = python
            .args(["-c", SIGN])
            .envs(&self.environment)
            .stderr(Stdio::inherit())
            .output()?;
        let mut requests = Vec::new();
        for line in String::from_utf8(output.stdout)?.lines() {
            let Signed {
                operation,
                headers,
                body,
            } = serde_json::from_str(line)?;
            let mut text = "POST / HTTP/1.1\r\n".to_owned();
            for (name, value) in headers
                .iter()
                .filter(|(name, _)| !name.eq_ignore_ascii_case("content-length"))
            {
                write!(text, "{name}: {value}\r\n")?;
            }
            write!(text, "Content-Length: {}\r\n\r\n{body}", body.len())?;
            let bytes = text.into_bytes();
            requests.push(Request { operation, bytes });
        }
        if requests.is_empty() {
            Err("boto3 could not make its requests".into())
        } else {
            Ok(requests)
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The version of moto in the environment.
pub(crate) fn moto_version(venv: &Path) -> Result<String, Failure> {
    let ask = "import importlib.metadata as m; print(m.version('moto'))";
    let said = Command::new(venv.join("bin/python")).args(["-c", ask]).output()?;
    Ok(String::from_utf8(said.stdout)?.trim().to_owned())
}
