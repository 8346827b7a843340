//! The words of `hsmd dev`: for people on standard output, for shells in the env file.

use super::Facts;
use super::aws::ENDPOINT_URL;
use crate::files::shell_quote;
use crate::memory;
use std::fmt::Write as _;

/// `export` lines with values quoted for a POSIX shell.
pub(super) fn exports(facts: &Facts) -> String {
    let token = &facts.token;
    let values = [
        ("HSMD_PID", std::process::id().to_string()),
        ("HSMD_DATA_DIR", facts.folder.display().to_string()),
        ("HSMD_PKCS11_MODULE", facts.module.display().to_string()),
        ("HSMD_CONFIG", facts.client_file.display().to_string()),
        ("HSMD_ENDPOINT", facts.endpoint.clone()),
        ("HSMD_SLOT_ID", facts.slot.to_string()),
        ("HSMD_TOKEN_LABEL", token.label.clone()),
        ("HSMD_SO_PIN", token.so_pin.clone()),
        ("HSMD_PIN", token.pin.clone()),
        ("HSMCTL", facts.hsmctl.display().to_string()),
    ];
    let aws = facts.aws.iter().flatten();
    values
        .iter()
        .chain(aws)
        .map(|(name, value)| format!("export {name}={}\n", shell_quote(value)))
        .collect()
}

/// With the variables of the env file.
const AWS_TRY: &str = "  aws kms create-key                     # with --env-file: after . FILE\n";

fn aws_row(facts: &Facts) -> String {
    let variables = facts.aws.iter().flatten();
    let mut endpoints = variables.filter(|(name, _)| *name == ENDPOINT_URL);
    endpoints
        .next()
        .map_or_else(|| "not started".to_owned(), |(_, value)| value.clone())
}

/// What is printed when everything listens.
pub(super) fn banner(facts: &Facts) -> String {
    let Facts {
        token,
        module,
        client_file,
        hsmctl,
        ..
    } = facts;
    let module = shell_quote(&module.display().to_string());
    let config = shell_quote(&client_file.display().to_string());
    let (label, pin) = (shell_quote(&token.label), shell_quote(&token.pin));
    let mut text = format!(
        "hsmd {} development server. Not for production: keys and PINs lie in {}\n\n",
        env!("CARGO_PKG_VERSION"),
        facts.folder.display()
    );
    let rows = [
        ("HSM", token.hsm.clone()),
        (
            "Token",
            format!("{} (slot {}, policy {})", token.label, facts.slot, token.policy),
        ),
        ("PIN", token.pin.clone()),
        ("SO PIN", token.so_pin.clone()),
        ("Module", facts.module.display().to_string()),
        ("Client file", client_file.display().to_string()),
        ("Control", facts.endpoint.clone()),
        ("AWS", aws_row(facts)),
    ];
    for (name, value) in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:12}{value}");
    }
    if !facts.module.exists() {
        text.push_str("\n  The module is not there yet: cargo build -p hsmd-pkcs11, or name it with --module\n");
    }
    if memory::effective_user() == 0 {
        text.push_str("\n  Running as root: only root can use the sockets; an ordinary user is enough for hsmd dev\n");
    }
    let tool = format!("pkcs11-tool --module {module} --token-label {label}");
    let aws = if facts.aws.is_some() { AWS_TRY } else { "" };
    let _ = write!(
        text,
        "\nTry, in another terminal:\n  export HSMD_CONFIG={config}\n  {tool} --login --pin {pin} --keypairgen --key-type EC:prime256v1 --label first --id 01\n  \
         {tool} --list-objects\n  {tool} --login --pin {pin} --sign --mechanism ECDSA-SHA256 --id 01 --input-file /etc/hostname --output-file sig\n  \
         ssh-keygen -D {module}                 # the public keys, for authorized_keys\n  ssh -I {module} user@host\n  \
         {} status --endpoint {}\n{aws}\nCtrl-C stops it.\n",
        shell_quote(&hsmctl.display().to_string()),
        shell_quote(&facts.endpoint),
    );
    text
}
