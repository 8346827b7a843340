//! Clients: processes that log in, make keys, use them and destroy them; and administrators. Each has one call at a time, tries it on
//! the next node with the same operation id when one does not answer, and remembers what it has seen.

use std::collections::HashMap;

use hsmd_fleet::{KeySetId, NodeId, ObjectId, OperationId, Seen};

use super::app::{Call, Op, Said, Ticket};
use super::machine::{Job, Origin, Part};
use super::world::{Event, MS, SECOND, World};

/// A client gives a call up after so long.
const GIVE_UP: u64 = 30 * SECOND;

#[derive(Default)]
pub(crate) struct Client {
    pub(crate) partition: u8,
    pub(crate) admin: bool,
    /// Only tries wrong PINs.
    pub(crate) thief: bool,
    /// Only tries right PINs.
    pub(crate) careful: bool,
    pub(crate) ticket: Option<Ticket>,
    pub(crate) seen: Option<Seen>,
    pub(crate) current: Option<Current>,
    pub(crate) attempt: u64,
    pub(crate) node: usize,
    /// The highest version of each object that it has seen.
    pub(crate) versions: HashMap<(KeySetId, ObjectId), u64>,
    /// An administrator's move goes on.
    pub(crate) moving: u32,
    pub(crate) finished: u64,
    /// The longest that a read took from first try to answer.
    pub(crate) longest_read: u64,
    pub(crate) given_up: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Current {
    pub(crate) call: Call,
    pub(crate) began: u64,
    pub(crate) sent: u64,
    tries: u32,
}

impl Current {
    pub(crate) fn is_first_try(&self) -> bool {
        self.tries == 1
    }
}

impl World {
    /// A client asks for something new, or tries again what it asked for.
    pub(crate) fn client_goes_on(&mut self, client: usize) {
        if self.clients[client].current.is_none() {
            if self.now >= self.clients_until {
                return;
            }
            let op = self.choose(client);
            let operation = OperationId(self.id());
            let host = &self.clients[client];
            let call = Call {
                op,
                partition: host.partition,
                operation,
                ticket: host.ticket,
            };
            let (began, sent, tries) = (self.now, self.now, 0);
            self.clients[client].current = Some(Current {
                call,
                began,
                sent,
                tries,
            });
            self.checker.asked(self.now, &call);
        }
        self.send_request(client);
    }

    fn send_request(&mut self, client: usize) {
        let now = self.now;
        let latency = self.random.between(100, 2 * MS);
        let lost = self.rough && self.random.percent(1);
        let host = &mut self.clients[client];
        let Some(current) = &mut host.current else {
            return;
        };
        host.attempt += 1;
        current.sent = now;
        current.tries += 1;
        let (attempt, call, seen) = (host.attempt, current.call, host.seen);
        let machine = host.node % self.machines.len();
        let from = Origin {
            client,
            attempt,
            sent: now,
        };
        let job = Job {
            call,
            from,
            part: Part::Read,
            said: Said::Unknown,
            seen,
            rounds: 0,
        };
        self.note(|| format!("client {client} asks node {machine}: {call:?}"));
        let patience = if call.op.is_read() { SECOND } else { 9500 * MS };
        self.at(now + patience, Event::Patience { client, attempt });
        if self.machines[machine].hidden_until <= now && !lost {
            self.at(
                now + latency,
                Event::Request {
                    machine,
                    job: Box::new(job),
                },
            );
        }
    }

    pub(crate) fn impatient(&mut self, client: usize, attempt: u64) {
        if self.clients[client].attempt == attempt && self.clients[client].current.is_some() {
            self.elsewhere(client);
        }
    }

    fn elsewhere(&mut self, client: usize) {
        let host = &mut self.clients[client];
        host.node += 1;
        // A late reply to the former attempt is not waited for.
        host.attempt += 1;
        if host.current.is_some_and(|current| self.now > current.began + GIVE_UP) {
            host.current = None;
            host.given_up += 1;
        }
        let pause = self.random.between(5 * MS, 60 * MS);
        self.at(self.now + pause, Event::Client(client));
    }

    pub(crate) fn replied(&mut self, client: usize, attempt: u64, said: Said, seen: Option<Seen>) {
        let host = &self.clients[client];
        let Some(current) = host.current.filter(|_| host.attempt == attempt) else {
            return;
        };
        if matches!(said, Said::Elsewhere | Said::Unknown) {
            return self.elsewhere(client);
        }
        self.advance_seen(client, seen);
        self.finished(client, &current, said);
        let pause = self.random.between(0, 150 * MS);
        self.at(self.now + pause, Event::Client(client));
    }

    fn advance_seen(&mut self, client: usize, seen: Option<Seen>) {
        let host = &mut self.clients[client];
        let Some(new) = seen else { return };
        match host.seen {
            Some(old) if old.timeline == new.timeline => {
                host.seen = Some(Seen {
                    revision: old.revision.max(new.revision),
                    ..new
                });
            }
            _ => {
                // Another history: what was known of the former one is worth nothing.
                host.seen = Some(new);
                host.versions.clear();
            }
        }
    }

    fn finished(&mut self, client: usize, current: &Current, said: Said) {
        let now = self.now;
        self.checker
            .finished(client, current, said, &mut self.clients[client].versions);
        let host = &mut self.clients[client];
        host.current = None;
        host.attempt += 1;
        host.finished += 1;
        if current.call.op.is_read() {
            host.longest_read = host.longest_read.max(now - current.began);
        }
        match said {
            Said::LoggedIn(ticket) => host.ticket = Some(ticket),
            Said::NotLoggedIn => host.ticket = None,
            _ => {}
        }
        if matches!(current.call.op, Op::Join | Op::Leave | Op::Move) {
            host.moving = match said {
                Said::Ok => 8,
                Said::Nothing => 0,
                _ => host.moving.saturating_sub(1),
            };
        }
    }

    fn choose(&mut self, client: usize) -> Op {
        let (admin, thief) = (self.clients[client].admin, self.clients[client].thief);
        if thief {
            return Op::Login { right: false };
        }
        if admin {
            return self.choose_as_admin(client);
        }
        if self.clients[client].ticket.is_none() || self.random.percent(3) {
            return Op::Login {
                right: self.clients[client].careful || self.random.percent(90),
            };
        }
        let partition = usize::from(self.clients[client].partition);
        let dice = self.random.between(0, 99);
        let known = &self.objects[partition];
        if dice < 15 || known.is_empty() {
            let object = ObjectId((partition as u128 + 1) * 1_000_000 + known.len() as u128);
            self.objects[partition].push(object);
            return Op::Create(object);
        }
        // The newest ones most of all.
        let back = self.random.between(0, 7).min(known.len() as u64 - 1) as usize;
        let object = known[known.len() - 1 - back];
        match dice {
            15..35 => Op::Set(object, self.random.between(1, 1 << 40)),
            35..50 => Op::Read(object),
            50..72 => Op::Use(object),
            72..84 => Op::Decrypt(object),
            84..90 => Op::Wrap(object),
            90..99 => Op::Destroy(object),
            _ => Op::Revoke,
        }
    }

    fn choose_as_admin(&mut self, client: usize) -> Op {
        let partitions = self.objects.len() as u64;
        if self.clients[client].moving > 0 {
            return if self.random.percent(3) { Op::Cancel } else { Op::Move };
        }
        self.clients[client].partition = self.random.between(0, partitions - 1) as u8;
        let node = NodeId(u128::from(self.random.between(1, self.machines.len() as u64)));
        match self.random.between(0, 9) {
            0 | 1 => Op::Join,
            2 => Op::Leave,
            3 => Op::Unload(node),
            4 | 5 => Op::Load(node),
            6 => Op::Revoke,
            7 => Op::Move,
            _ => Op::Unlock,
        }
    }
}
