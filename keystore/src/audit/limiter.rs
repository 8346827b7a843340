//! Bounds what one source can write into the log without changing anything: failures, refused connections, logins. A few are
//! recorded one by one, what is more is counted and told at the ends of ever longer windows: "n more between t1 and t2". So
//! neither a flood nor a patient trickle drives older entries out of the log. Pure: the time comes from the caller.

use std::collections::HashMap;

use super::act::Act;
use super::event::{Event, Who};

/// The first window in milliseconds, and how it grows while the source goes on.
const WINDOW: u64 = 10_000;
const GROWTH: u64 = 6;
const LONGEST: u64 = 3_600_000;
/// A source that was quiet for so long is forgotten.
const QUIET: u64 = 3_600_000;
/// Sources that are told apart; what more there are share one entry of their act.
const SOURCES: usize = 512;

/// How many a source may have told one by one, and how long one takes to come back.
#[derive(Clone, Copy)]
struct Allowance {
    burst: u64,
    refill_ms: u64,
}

const fn allowance(act: Act, done: bool) -> Allowance {
    match act {
        // Nobody is known: one, then counts.
        Act::ConnectionRefuse => Allowance {
            burst: 1,
            refill_ms: LONGEST,
        },
        Act::Login | Act::Logout if done => Allowance {
            burst: 60,
            refill_ms: 10_000,
        },
        _ => Allowance {
            burst: 12,
            refill_ms: 60_000,
        },
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Source {
    act: u32,
    who: String,
    partition: String,
    key_set: Vec<u8>,
    result: (bool, u64),
}

struct Cell {
    /// Milliseconds of allowance in hand.
    credit: u64,
    credited: u64,
    held: Option<Held>,
    window: u64,
    last: u64,
}

struct Held {
    event: Event,
    ends: u64,
}

/// The sources and what of them is held back.
#[derive(Default)]
pub(super) struct Limiter {
    cells: HashMap<Source, Cell>,
}

impl Limiter {
    /// Takes an event: gives it back to be recorded at once, or counts it.
    pub(super) fn note(&mut self, now: u64, event: Event) -> Option<Event> {
        let Some(act) = u16::try_from(event.record.act).ok().and_then(Act::from_code) else {
            return Some(event);
        };
        let allowance = allowance(act, event.outcome().is_ok());
        let (source, event) = self.source(event);
        let full = allowance.burst * allowance.refill_ms;
        let cell = self.cells.entry(source).or_insert(Cell {
            credit: full,
            credited: now,
            held: None,
            window: WINDOW,
            last: now,
        });
        cell.credit = full.min(cell.credit + now.saturating_sub(cell.credited));
        cell.credited = now;
        cell.last = now;
        if let Some(held) = &mut cell.held {
            held.event.record.count += event.record.count;
            held.event.record.time_ms = event.record.time_ms;
            held.event.record.detail = event.record.detail;
            return None;
        }
        if cell.credit >= allowance.refill_ms {
            cell.credit -= allowance.refill_ms;
            return Some(event);
        }
        let ends = now + cell.window;
        cell.window = (cell.window * GROWTH).min(LONGEST);
        cell.held = Some(Held { event, ends });
        None
    }

    /// The counts whose windows have ended; all of them when the daemon stops.
    pub(super) fn due(&mut self, now: u64, all: bool) -> Vec<Event> {
        let mut due = Vec::new();
        for cell in self.cells.values_mut() {
            if let Some(held) = cell.held.take_if(|held| all || held.ends <= now) {
                due.push(held.event);
            }
        }
        self.cells
            .retain(|_, cell| cell.held.is_some() || now.saturating_sub(cell.last) < QUIET);
        due.sort_by_key(|event| event.record.time_ms);
        due
    }

    /// When [`Limiter::due`] has something next.
    pub(super) fn next(&self) -> Option<u64> {
        self.cells
            .values()
            .filter_map(|cell| Some(cell.held.as_ref()?.ends))
            .min()
    }

    fn source(&self, event: Event) -> (Source, Event) {
        let record = &event.record;
        let mut source = Source {
            act: record.act,
            who: record.who.clone(),
            partition: record.partition.clone(),
            key_set: record.key_set.clone(),
            result: (record.grpc, record.result),
        };
        if self.cells.contains_key(&source) || self.cells.len() < SOURCES {
            return (source, event);
        }
        source.who = "others".to_owned();
        source.partition.clear();
        source.key_set.clear();
        source.result = (false, 0);
        (source, event.by(&Who::Unknown).at("", "").detail("several sources"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Outcome;
    use hsmd_proto::ck::Rv;

    fn wrong_pin(who: u32) -> Event {
        Event::new(Act::Login)
            .by(&Who::Local { user: who, process: 1 })
            .result(Outcome::Rv(Rv::PIN_INCORRECT))
    }

    #[test]
    fn a_flood_is_told_in_a_few_counted_entries_and_nothing_is_lost() {
        let mut limiter = Limiter::default();
        let (mut told, mut entries) = (0, 0);
        // A day of one each 10 ms.
        for step in 0..8_640_000_u64 {
            let now = step * 10;
            let events = limiter.note(now, Event::new(Act::ConnectionRefuse)).into_iter();
            let due = if step % 100 == 0 {
                limiter.due(now, false)
            } else {
                Vec::new()
            };
            for event in events.chain(due) {
                told += event.record.count;
                entries += 1;
            }
        }
        told += limiter
            .due(u64::MAX, true)
            .iter()
            .map(|event| event.record.count)
            .sum::<u64>();
        assert_eq!(told, 8_640_000);
        assert!(entries < 60, "{entries} entries");
    }

    #[test]
    fn sources_are_bounded_and_none_is_silenced() {
        let mut limiter = Limiter::default();
        let mut told: u64 = 0;
        for who in 0..100_000 {
            told += limiter.note(1, wrong_pin(who)).map_or(0, |event| event.record.count);
        }
        assert!(limiter.cells.len() <= SOURCES + 1);
        let rest = limiter.due(1, true);
        assert_eq!(told + rest.iter().map(|event| event.record.count).sum::<u64>(), 100_000);
        assert!(rest.len() < 3);
        assert!(
            limiter.note(2, wrong_pin(1)).is_some(),
            "a known source has its own allowance"
        );
    }

    #[test]
    fn a_quiet_source_begins_anew() {
        let mut limiter = Limiter::default();
        let refuse = || Event::new(Act::ConnectionRefuse);
        assert!(limiter.note(0, refuse()).is_some());
        assert!(limiter.note(1, refuse()).is_none());
        assert_eq!(limiter.next(), Some(1 + WINDOW));
        assert_eq!(limiter.due(1 + WINDOW, false).len(), 1);
        assert!(limiter.due(2 + QUIET, false).is_empty() && limiter.cells.is_empty());
        assert!(limiter.note(3 + QUIET, refuse()).is_some());
    }
}
