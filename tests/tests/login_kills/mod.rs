//! The daemon is killed inside logins and inside every write that changes a PIN, a counter or the token itself. After each
//! restart the token is usable, a PIN is the old or the new one, and no wrong PIN that was answered is forgotten (INV-8).
//! What many processes do at the same time is in `pin_storm`.

mod acts;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use hsmd_tests::keeper::Keeper;
use hsmd_tests::plan;
use hsmd_tests::served::Served;
use hsmd_tests::soak::{Random, Soak};

use self::acts::{Act, Figures, Token};

/// Daemons side by side: each waits for its disk most of the time.
const LANES: usize = 4;
/// One thread for writes and one for PINs, so that the n-th call of a thread is the n-th of the daemon.
const SETTINGS: &[(&str, &str)] = &[("work.write_threads", "1"), ("work.pin_threads", "1")];
/// When a kill comes that no plan has made, at most, in microseconds after the acts have begun.
const MOMENT: usize = 30_000;
/// How long a planned kill is waited for.
const PLANNED: Duration = Duration::from_millis(300);

#[test]
fn no_kill_costs_the_token_a_pin_or_a_counted_try() {
    let soak = Soak::new("login-kills", 32);
    let (begun, figures) = (AtomicUsize::new(0), Mutex::new(Figures::default()));
    thread::scope(|scope| {
        for lane in 0..LANES {
            let (soak, begun, figures) = (&soak, &begun, &figures);
            scope.spawn(move || {
                let mut lane = Lane::start(soak.seed.wrapping_add(lane as u64));
                while begun.fetch_add(1, Ordering::SeqCst) < soak.rounds {
                    let round = lane.round();
                    let mut all = figures.lock().expect("figures");
                    all.add(round);
                    soak.progress(all.rounds, || all.text());
                }
            });
        }
    });
    let figures = figures.into_inner().expect("figures");
    let good = figures.is_good() && figures.rounds == soak.rounds;
    soak.verdict(good, &figures.text());
}

/// A daemon and the program that uses it.
struct Lane {
    keeper: Keeper,
    token: Token,
    random: Random,
}

impl Lane {
    fn start(seed: u64) -> Self {
        let daemon = Served::start(SETTINGS);
        let token = Token::open(&daemon);
        Self {
            token,
            keeper: Keeper::of(daemon),
            random: Random::new(seed),
        }
    }

    /// One kind of act again and again until the daemon was killed and is back; then the token is looked at.
    fn round(&mut self) -> Figures {
        let mut figures = Figures::default();
        let act = self.random.pick(Act::ALL);
        let planned = self.keeper.ends.planned();
        self.token.begin(act, &mut figures);
        let before = self.keeper.ends.all();
        let enough = if self.random.below(3) == 0 {
            let moment = Duration::from_micros(self.random.below(MOMENT) as u64);
            self.keeper.kill(moment, Vec::new());
            1
        } else {
            self.keeper
                .kill(Duration::ZERO, plan::random_kill(&mut self.random, 12));
            2
        };
        let mut late = None;
        while self.keeper.ends.all() < before + enough {
            if self.keeper.ends.all() > before {
                // The plan is armed; a step that this act never reaches kills nobody.
                let since = late.get_or_insert_with(std::time::Instant::now);
                if since.elapsed() > PLANNED {
                    break;
                }
            }
            self.token.act(act, &mut self.random, &mut figures);
        }
        self.token.look(act, &mut figures);
        figures.rounds = 1;
        figures.kills = self.keeper.ends.all() - before;
        figures.planned = self.keeper.ends.planned() - planned;
        figures
    }
}
