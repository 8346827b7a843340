//! p11-kit: a user's `.module` file makes the token visible to every program that uses p11-kit, and `p11-kit server` with
//! `p11-kit-client.so` carries it to another process.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hsmd_tests::peers::{Token, program, run, succeed};
use hsmd_tests::{ffi, wait};

/// p11-kit reads a user's configuration only for one who is not root: root becomes another user in a namespace of its own,
/// which outside of it is still the owner of the daemon.
fn as_ordinary_user(token: &Token, name: &str) -> Command {
    if ffi::user_id() != 0 {
        return token.command(name);
    }
    let words = ["--user", "--map-user=1000"];
    let mut possible = token.command("unshare");
    assert!(
        run(possible.args(words).arg("true")).good,
        "this test, run by root, needs user namespaces (`unshare --user`): allow them, or run it as another user"
    );
    let mut command = token.command("unshare");
    command.args(words).arg(program(name));
    command
}

#[test]
fn a_module_file_makes_the_token_visible() {
    let token = Token::hsmd();
    let modules = token.file(".config/pkcs11/modules");
    fs::create_dir_all(&modules).expect("a folder");
    fs::write(
        modules.join("hsmd.module"),
        format!("module: {}\n", token.module().display()),
    )
    .expect("a file");
    let home = token.file("");
    let listed = succeed(
        as_ordinary_user(&token, "p11-kit")
            .arg("list-modules")
            .env("HOME", &home),
    );
    let ours = listed.text.split("hsmd: ").nth(1).unwrap_or_default();
    assert!(
        ours.contains("token: demo") && ours.contains("login-required"),
        "{}",
        listed.text
    );
    // GnuTLS finds it by p11-kit without being told of the module.
    let tokens = succeed(
        as_ordinary_user(&token, "p11tool")
            .arg("--list-tokens")
            .env("HOME", &home),
    );
    assert!(tokens.text.contains("Manufacturer: hsmd"), "{}", tokens.text);
}

/// The client module, wherever the system keeps it.
fn client_module() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("/usr/lib").filter_map(Result::ok);
    folders
        .map(|folder| folder.path())
        .chain([PathBuf::from("/usr/lib64"), PathBuf::from("/usr/lib")])
        .map(|folder| folder.join("pkcs11/p11-kit-client.so"))
        .find(|file| file.exists())
        .expect("p11-kit-client.so is missing: install the Debian package p11-kit-modules (`cargo xtask setup` does)")
}

fn remote(token: &Token, socket: &Path, arguments: &str) -> Command {
    let mut command = token.command("pkcs11-tool");
    command.env("P11_KIT_SERVER_ADDRESS", format!("unix:path={}", socket.display()));
    command.env_remove("HSMD_CONFIG").arg("--module").arg(client_module());
    command.args(["--login", "--pin", token.pin()]);
    command.args(arguments.split_whitespace());
    command
}

#[test]
fn the_token_works_through_p11_kits_server() {
    let token = Token::hsmd();
    let folder = token.file("run");
    fs::DirBuilder::new().mode(0o700).create(&folder).expect("a folder");
    let socket = folder.join("remote");
    let mut server = token.command("p11-kit");
    server.env("XDG_RUNTIME_DIR", &folder);
    server
        .args(["server", "--foreground", "--provider"])
        .arg(token.module());
    server.arg("--name").arg(&socket).arg("pkcs11:token=demo");
    let server = server.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut server = server.expect("p11-kit starts");
    let ready = wait::until(wait::PATIENCE, || socket.exists().then_some(()));

    let generate = "--keypairgen --key-type rsa:2048 --id 01 --label far --usage-sign";
    let generated = run(&mut remote(&token, &socket, generate));
    let file = token.file("file");
    fs::write(&file, "a text").expect("a file");
    let (signature, public) = (token.file("signature"), token.file("public"));
    // p11-kit 0.24 carries only mechanisms that it knows; ECDSA with a hash came later.
    let sign = "--sign --mechanism SHA256-RSA-PKCS --id 01";
    let signed = run(remote(&token, &socket, sign)
        .arg("-i")
        .arg(&file)
        .arg("-o")
        .arg(&signature));
    let _ = ffi::signal(server.id(), libc::SIGTERM);
    server.wait().expect("p11-kit ends");

    assert!(
        ready.is_some() && generated.good && signed.good,
        "{}{}",
        generated.text,
        signed.text
    );
    succeed(token.as_user("--read-object --type pubkey --id 01 -o").arg(&public));
    let mut verify = token.command("openssl");
    verify
        .args(["dgst", "-sha256", "-keyform", "DER", "-verify"])
        .arg(&public);
    succeed(verify.arg("-signature").arg(&signature).arg(&file));
}
