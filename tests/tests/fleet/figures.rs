//! What a group costs and gives, measured: `cargo xtask soak fleet-figures` prints it, with many rounds on a machine that does nothing
//! else; the short run only sees to it that the program works. Figures of a debug or ci build are no product's.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use hsmd_tests::daemon::binaries;
use hsmd_tests::module::{Module, Object, Session};
use hsmd_tests::soak::Soak;

use super::nodes::Nodes;
use super::{log_in, make_key, private_keys, sign};

/// Threads of one process that sign.
const THREADS: [usize; 2] = [1, 8];
/// Calls of one kind before the other kind has its turn.
const TURN: usize = 50;

/// A session of a process, and the key there.
struct Caller<'a> {
    module: &'a Module,
    session: Session,
    key: Object,
}

impl<'a> Caller<'a> {
    /// On a slot of its own choice.
    fn on(module: &'a Module, slot: u64) -> Self {
        let session = module.open_session(slot).expect("C_OpenSession");
        // One login serves all sessions of a slot: another one may be here already.
        let _ = module.login(session, cryptoki_sys::CKU_USER, hsmd_tests::daemon::PIN);
        let key = private_keys(module, session)[0];
        Self { module, session, key }
    }

    fn sign(&self) -> Duration {
        let begun = Instant::now();
        sign(self.module, self.session, self.key).expect("C_Sign");
        begun.elapsed()
    }
}

/// Medians of two kinds of calls that take turns.
fn medians(one: &Caller<'_>, other: &Caller<'_>, rounds: usize) -> [Duration; 2] {
    let mut times = [Vec::with_capacity(rounds), Vec::with_capacity(rounds)];
    for _ in 0..rounds.div_ceil(TURN) {
        for (caller, times) in [one, other].into_iter().zip(&mut times) {
            times.extend((0..TURN).map(|_| caller.sign()));
        }
    }
    times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    })
}

/// A module that knows only some of the servers of a client file.
fn knowing(servers: &[String], more: &str, file: &Path, name: &str) -> Module {
    let text = std::fs::read_to_string(file).expect("a client file");
    let rest = text
        .lines()
        .filter(|line| !line.starts_with("servers") && !line.starts_with("spread"));
    let text = format!("servers = {servers:?}\n{more}{}\n", rest.collect::<Vec<_>>().join("\n"));
    let own = file.with_file_name(name);
    std::fs::write(&own, text).expect("a client file");
    Module::load_copy(
        &binaries().join("libhsmd_pkcs11.so"),
        &own,
        file.parent().expect("a folder"),
    )
}

#[test]
fn figures_of_a_group() {
    let soak = Soak::new("fleet-figures", 200);
    let nodes = Nodes::start(3);
    make_key(&nodes.all[0], "01");
    let (_, file) = nodes.client("spread = false\n");
    let mut figures = Vec::new();

    let alone = knowing(&nodes.servers[..1], "", &file, "alone.toml");
    log_in(&alone);
    let slots = alone.slots(true).expect("C_GetSlotList");
    let [member, group] = slots[..] else {
        panic!("two slots: {slots:?}")
    };
    let (member, group) = (Caller::on(&alone, member), Caller::on(&alone, group));
    let [direct, through] = medians(&member, &group, soak.rounds);
    figures.push(format!(
        "P-256 on the member's slot {direct:?}, on the group's {through:?}"
    ));

    let three = knowing(&nodes.servers, "spread = false\n", &file, "three.toml");
    log_in(&three);
    let choosing = Caller::on(&three, slots[1]);
    let [one, chosen] = medians(&group, &choosing, soak.rounds);
    figures.push(format!(
        "P-256 with one server {one:?}, with three, the first chosen {chosen:?}"
    ));

    for count in 1..=3 {
        let module = knowing(&nodes.servers[..count], "", &file, &format!("{count}.toml"));
        log_in(&module);
        for threads in THREADS {
            let callers: Vec<_> = (0..threads).map(|_| Caller::on(&module, slots[1])).collect();
            let begun = Instant::now();
            thread::scope(|scope| {
                for caller in &callers {
                    scope.spawn(move || {
                        (0..soak.rounds / threads).for_each(|_| {
                            caller.sign();
                        })
                    });
                }
            });
            let calls = (soak.rounds / threads * threads) as f64;
            let rate = calls / begun.elapsed().as_secs_f64();
            figures.push(format!(
                "{count} nodes, {threads} threads: {rate:.0} P-256 signatures a second"
            ));
        }
    }
    soak.verdict(true, &figures.join("\n"));
}
