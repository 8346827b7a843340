//! `hsmctl doctor --module`: where the module looks, and what an application that loads it sees.

use super::super::exit::{Error, Exit};
use super::Finding;
use super::place;
use super::probe::{Token, Word};
use crate::dev::module_near;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long the module may take for everything; its own deadline for one call is 5 s unless the client file says more.
const PATIENCE: Duration = Duration::from_secs(30);

/// Examines a module.
pub(super) fn examine(path: Option<&Path>) -> Result<Vec<Finding>, Error> {
    let program = std::env::current_exe().map_err(|error| Error::failed(&error))?;
    let module = match path {
        Some(path) => path.to_path_buf(),
        None => module_near(program.parent().unwrap_or(Path::new("/"))),
    };
    let mut findings = vec![file(&module)];
    if findings.iter().any(|finding| finding.state == super::State::Failure) {
        return Ok(findings);
    }
    let module = module.canonicalize().unwrap_or(module);
    findings.extend(place::examine(&module));
    let heard = listen(&program, &module)?;
    findings.extend(judge(&heard));
    Ok(findings)
}

fn file(module: &Path) -> Finding {
    match std::fs::File::open(module) {
        Ok(_) => Finding::ok("module", module.display().to_string()),
        Err(error) => Finding::failure(
            "module",
            format!("{}: {error}", module.display()),
            "name the library with --module PATH; packages put it into /usr/lib/<machine>/pkcs11",
        ),
    }
}

/// What the process said, and how it ended.
struct Heard {
    words: Vec<Word>,
    end: End,
}

enum End {
    Exited(ExitStatus),
    TimedOut,
}

fn listen(program: &PathBuf, module: &Path) -> Result<Heard, Error> {
    let mut child = Command::new(program)
        .args(["doctor", "--probe", "--module"])
        .arg(module)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Error::new(Exit::Failed, format!("{}: {error}", program.display())))?;
    let output = child.stdout.take();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in output
            .into_iter()
            .flat_map(|output| BufReader::new(output).lines())
            .map_while(Result::ok)
        {
            // A module that prints is no friend, but that is not what is asked here.
            if let Ok(word) = serde_json::from_str::<Word>(&line)
                && sender.send(word).is_err()
            {
                return;
            }
        }
    });
    let (deadline, mut words) = (Instant::now() + PATIENCE, Vec::new());
    loop {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(word) => words.push(word),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                let _ = child.wait();
                return Ok(Heard {
                    words,
                    end: End::TimedOut,
                });
            }
        }
    }
    let status = child.wait().map_err(|error| Error::failed(&error))?;
    Ok(Heard {
        words,
        end: End::Exited(status),
    })
}

fn judge(heard: &Heard) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut last = "load";
    let mut done = false;
    for word in &heard.words {
        match word {
            Word::Begins(step) => last = step,
            Word::Library {
                description,
                version,
                cryptoki,
            } => findings.push(Finding::ok(
                "library",
                format!("{description} {version}, PKCS#11 {cryptoki}"),
            )),
            Word::Slots(0) => findings.push(Finding::failure(
                "slots",
                "the module shows no slot: the daemon did not answer, or nothing is assigned to this client",
                "see `socket` above; with a daemon that answers: `hsmctl partition create LABEL`, and for a registered \
                 client `hsmctl client assign CLIENT PARTITION`",
            )),
            Word::Slots(count) => findings.push(Finding::ok("slots", format!("{count} slots"))),
            Word::Empty { slot } => findings.push(Finding::warning(
                "token",
                format!("slot {slot}: no token: its HSM is suspended, or cannot be reached"),
                "`hsmctl hsm list`, then `hsmctl hsm resume`",
            )),
            Word::Token(found) => findings.push(token(found)),
            Word::Failed { step, why } => findings.push(failed(step, why)),
            Word::Done => done = true,
        }
    }
    if !done {
        findings.push(ended(last, &heard.end));
    }
    findings
}

fn ended(step: &str, end: &End) -> Finding {
    let remedy = "this is a fault of the library: `hsmctl status`, the versions of both, and a report to its makers";
    match end {
        End::TimedOut => {
            let message = format!("{step} did not return within {} s", PATIENCE.as_secs());
            Finding::failure("module", message, "is the daemon stopped, or the network cut?")
        }
        End::Exited(status) => match status.signal() {
            Some(signal) => Finding::failure(
                "module",
                format!("{step} ended the process with signal {signal}"),
                remedy,
            ),
            None => Finding::failure("module", format!("{step} ended the process: {status}"), remedy),
        },
    }
}

/// A step that returned an error, in words.
fn failed(step: &str, why: &str) -> Finding {
    let remedy = match (step, why) {
        ("load", why)
            if why.contains("not an ELF") || why.contains("invalid ELF") || why.contains("file too short") =>
        {
            "this file is no shared library for this machine"
        }
        ("load", why) if why.contains("cannot open shared object") => "install the library that is named",
        ("load", _) => "is this a PKCS#11 module? it must export C_GetFunctionList",
        ("C_Initialize", "GeneralError") => "the client file cannot be used: see `client file` above",
        ("C_GetSlotList" | "C_GetTokenInfo" | "C_GetSlotInfo", _) => "the daemon went away meanwhile: `hsmctl status`",
        _ => "`hsmctl status`; the daemon's log may say more",
    };
    Finding::failure("module", format!("{step}: {why}"), remedy)
}

fn token(token: &Token) -> Finding {
    let name = format!(
        "slot {}, token \"{}\", serial {}",
        token.slot, token.label, token.serial
    );
    if !token.initialised {
        return Finding::warning(
            "token",
            format!("slot {}: the token is not initialised", token.slot),
            format!(
                "pkcs11-tool --module PATH --slot {} --init-token --label LABEL (it asks for the SO PIN)",
                token.slot
            ),
        );
    }
    if token.so_pin_locked {
        let message = format!("{name}: the SO PIN is locked after too many wrong tries");
        return Finding::warning("token", message, "keys can be used; a new user PIN cannot be set");
    }
    if !token.user_pin {
        let remedy = format!(
            "pkcs11-tool --module PATH --slot {} --login --login-type so --init-pin",
            token.slot
        );
        return Finding::warning("token", format!("{name}: the user PIN is not set"), remedy);
    }
    if token.user_pin_locked {
        let message = format!("{name}: the user PIN is locked after too many wrong tries");
        let remedy = format!(
            "the SO sets a new one: pkcs11-tool --module PATH --slot {} --login --login-type so --init-pin",
            token.slot
        );
        return Finding::failure("token", message, remedy);
    }
    Finding::ok("token", format!("{name}: ready, {} mechanisms", token.mechanisms))
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn heard(words: Vec<Word>, raw_status: i32) -> Vec<Finding> {
        judge(&Heard {
            words,
            end: End::Exited(ExitStatus::from_raw(raw_status)),
        })
    }

    #[test]
    fn a_crash_is_named_by_its_step() {
        let findings = heard(
            vec![Word::Begins("load".into()), Word::Begins("C_Initialize".into())],
            11,
        );
        assert_eq!(findings[0].message, "C_Initialize ended the process with signal 11");
        assert_eq!(findings[0].state, State::Failure);
    }

    #[test]
    fn each_state_of_a_token_has_its_words() {
        let base = || Token {
            slot: 3,
            label: "web".into(),
            serial: "157826001".into(),
            initialised: true,
            user_pin: true,
            user_pin_locked: false,
            so_pin_locked: false,
            mechanisms: 70,
        };
        assert_eq!(token(&base()).state, State::Ok);
        let cases = [
            (
                Token {
                    initialised: false,
                    ..base()
                },
                State::Warning,
                "not initialised",
            ),
            (
                Token {
                    user_pin: false,
                    ..base()
                },
                State::Warning,
                "user PIN is not set",
            ),
            (
                Token {
                    user_pin_locked: true,
                    ..base()
                },
                State::Failure,
                "user PIN is locked",
            ),
            (
                Token {
                    so_pin_locked: true,
                    ..base()
                },
                State::Warning,
                "SO PIN is locked",
            ),
        ];
        for (found, state, words) in cases {
            let finding = token(&found);
            assert_eq!(finding.state, state);
            assert!(finding.message.contains(words), "{}", finding.message);
            assert!(!finding.remedy.is_empty());
        }
    }

    #[test]
    fn no_slot_and_a_bad_client_file_say_what_to_do() {
        let findings = heard(vec![Word::Slots(0), Word::Done], 0);
        assert!(findings[0].remedy.contains("hsmctl partition create"));
        let failed = Word::Failed {
            step: "C_Initialize".into(),
            why: "GeneralError".into(),
        };
        assert!(heard(vec![failed, Word::Done], 0)[0].remedy.contains("client file"));
    }
}
