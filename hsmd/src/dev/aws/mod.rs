//! The AWS side of `hsmd dev`: HSMs, partitions and a group for it ([`stage`]), its configuration, and `hsmd-aws` as a child
//! process ([`child`]). Everything that its clients need comes out as variables of the env file.

mod certificate;
mod child;
mod settings;
mod stage;

use super::place::Place;
use super::token::Token;
use crate::cli::Failure;
use crate::config::{Config, Subnet};
use crate::files;
use crate::node::Node;
use crate::pki::{NO_TLS, TLS};
use clap::Args;
use settings::{Kept, Settings};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use certificate::Certificate;
pub(super) use child::Child;
use stage::Stage;

/// Names and values for the env file.
pub(super) type Variables = Vec<(&'static str, String)>;

/// The variable in which AWS's clients look for the endpoint.
pub(super) const ENDPOINT_URL: &str = "AWS_ENDPOINT_URL";

/// The program that speaks the AWS wire protocols, looked for beside this one.
const PROGRAM: &str = "hsmd-aws";
/// Where AWS clients find it, if the port is free.
const ENDPOINT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4599);
/// Where Redshift reaches the HSMs, and KMS the XKS proxy: any ports, which the configuration names.
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What `hsmd dev` is told about the AWS side.
#[derive(Args)]
pub(super) struct AwsOptions {
    /// Do not start the AWS endpoints, nor set up HSMs for them.
    #[arg(long)]
    no_aws: bool,
    /// Where the AWS endpoints listen; default: 127.0.0.1:4599, or any free port.
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "no_aws")]
    aws_listen: Option<SocketAddr>,
    /// The program that serves them; default: hsmd-aws beside this program.
    #[arg(long, value_name = "PATH", conflicts_with = "no_aws")]
    aws_program: Option<PathBuf>,
}

/// The AWS side, as far as it is decided before the daemon runs.
pub(super) struct Plan {
    program: PathBuf,
    listen: Option<SocketAddr>,
}

impl Plan {
    /// Whether there is an AWS side: wanted, and its program is there.
    pub(super) fn of(options: &AwsOptions) -> Result<Option<Self>, Failure> {
        if !TLS && (options.aws_listen.is_some() || options.aws_program.is_some()) {
            return Err(Failure::Other(format!("--aws-listen, --aws-program: {NO_TLS}")));
        }
        // Without TLS Redshift could not come.
        if options.no_aws || !TLS {
            return Ok(None);
        }
        let program = match &options.aws_program {
            Some(path) => files::absolute(path)?,
            None => match beside() {
                Some(path) => path,
                None => return Ok(None),
            },
        };
        Ok(Some(Self {
            program,
            listen: options.aws_listen,
        }))
    }

    /// What the daemon's own configuration needs for it: two zones for the members of the group, and a listener with TLS, by
    /// which Redshift comes.
    pub(super) fn configure(config: &mut Config) {
        let subnet = |number: u8, zone: &str| Subnet {
            id: format!("subnet-0000000{number}"),
            cidr: format!("10.99.{number}.0/24"),
            zone: format!("{}{zone}", config.hsm.region),
            vpc: "vpc-00000000".into(),
        };
        let subnets = vec![subnet(0, "a"), subnet(1, "b")];
        config.subnet = subnets;
        config.hsm.other_subnets = true;
        if config.data.listen.is_empty() {
            let address = free(ANY);
            config.data.listen = vec![address];
            config.data.advertise = address.to_string();
        }
    }

    /// Sets up what its clients find, and writes its configuration.
    pub(super) fn prepare(&self, node: &Node, place: &Place, module: &Path, token: &Token) -> Result<Ready, Failure> {
        let stage = Stage::prepare(node, Kept::of(&place.folder, &token.pin)?)?;
        let settings = Settings {
            node,
            place,
            module,
            stage: &stage,
            token,
            certificate: Certificate::of(&place.folder)?,
            xks: free(ANY),
            listen: self.listen.unwrap_or_else(|| free(ENDPOINT)),
        };
        Ok(Ready {
            config: settings.write()?,
            variables: settings.variables(),
        })
    }

    /// Starts the program once the daemon listens; with the variables for its clients.
    pub(super) fn start(&self, ready: Ready, client_file: &Path, level: &str) -> Result<(Child, Variables), Failure> {
        let child = Child::start(&self.program, &ready.config, client_file, level)?;
        let mut variables = ready.variables;
        variables.push((ENDPOINT_URL, child.endpoint.clone()));
        Ok((child, variables))
    }
}

/// What is left to do when the daemon listens.
pub(super) struct Ready {
    config: PathBuf,
    variables: Variables,
}

fn beside() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let program = own.parent()?.join(PROGRAM);
    program.exists().then_some(program)
}

/// The address if it is free, or another port there. Somebody may take it before it is used: then the start fails and says so.
fn free(wanted: SocketAddr) -> SocketAddr {
    let tried = TcpListener::bind(wanted).or_else(|_| TcpListener::bind((wanted.ip(), 0)));
    tried.and_then(|listener| listener.local_addr()).unwrap_or(wanted)
}
