//! Makes clusters what their records say they shall be: an agent for each job with an HSM, then the record of what came of it.
//! A record says at each moment which keys exist or may exist, so that a kill between any two steps leaves nothing forgotten:
//! what was begun is done again at the next start, and each job is harmless twice.

use super::agent::{self, Failure, Job, Reply, Request};
use super::clusters;
use super::record::{Certificate, Cluster, Configuration, Hsm, Key, Kind, Next, Place, Status, Trouble};
use super::{Redshift, store};
use crate::records::{RecordError, Versioned};
use crate::uuid;
use std::collections::{HashMap, HashSet};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, oneshot};
use zeroize::Zeroizing;

/// Agents at once: each is a process.
const AGENTS: usize = 4;
/// The most that an agent says, in bytes.
const LONGEST: u64 = 1 << 16;
/// How often clusters are looked at that wait for their HSM.
const ROUND: Duration = Duration::from_secs(1);
/// The longest wait between two tries.
const SELDOM: Duration = Duration::from_secs(60);

/// Who works on what, and when a cluster is tried again.
pub(super) struct Work {
    /// Clusters with a task; true when there is news for it.
    busy: Mutex<HashMap<String, bool>>,
    later: Mutex<HashMap<String, (Instant, Duration)>>,
    /// Clusters that are to be looked at since the start of this process, as after a reboot.
    unchecked: Mutex<HashSet<String>>,
    agents: Semaphore,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            busy: Mutex::default(),
            later: Mutex::default(),
            unchecked: Mutex::default(),
            agents: Semaphore::new(AGENTS),
        }
    }
}

/// What a step leaves to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// Nothing.
    Done,
    /// The next step, now.
    More,
    /// The same, after a while.
    Later,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks after clusters for ever: first at all, as after a reboot of each, then at those that wait.
pub(crate) async fn tend(redshift: Arc<Redshift>) {
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while let Err(error) = redshift.begin().await {
        tracing::debug!(%error, "the clusters cannot be read yet");
        rounds.tick().await;
    }
    loop {
        rounds.tick().await;
        let now = Instant::now();
        let due: Vec<String> = {
            let mut later = lock(&redshift.work.later);
            let due = later.iter_mut().filter(|(_, (when, _))| *when <= now);
            due.map(|(id, (when, wait))| {
                *when = now + *wait;
                id.clone()
            })
            .collect()
        };
        due.iter().for_each(|id| redshift.wake(id));
    }
}

impl Redshift {
    /// What another process may have left, and what it knew, is not known: everything is looked at again.
    async fn begin(self: &Arc<Self>) -> Result<(), RecordError> {
        let _alone = self.changes.lock().await;
        for mut found in self.all::<Cluster>().await? {
            let cluster = &mut found.record;
            if let Some(next) = cluster.next.as_mut().filter(|next| !next.doubt) {
                next.doubt = true;
                self.records.commit(vec![store::put(cluster, found.version)]).await?;
            }
            lock(&self.work.unchecked).insert(cluster.id.clone());
            self.wake(&cluster.id);
        }
        Ok(())
    }

    /// Has a cluster looked at, now.
    pub(super) fn wake(self: &Arc<Self>, id: &str) {
        {
            let mut busy = lock(&self.work.busy);
            if let Some(news) = busy.get_mut(id) {
                *news = true;
                return;
            }
            busy.insert(id.to_owned(), false);
        }
        let (redshift, id) = (self.clone(), id.to_owned());
        tokio::spawn(async move {
            loop {
                let after = redshift.look(&id).await;
                redshift.plan(&id, after);
                if after == After::More {
                    continue;
                }
                let mut busy = lock(&redshift.work.busy);
                match busy.get_mut(&id) {
                    Some(news) if *news => *news = false,
                    _ => {
                        busy.remove(&id);
                        return;
                    }
                }
            }
        });
    }

    fn plan(&self, id: &str, after: After) {
        let mut later = lock(&self.work.later);
        match after {
            After::Done => drop(later.remove(id)),
            After::More => {}
            After::Later => {
                let wait = later.get(id).map_or(ROUND, |(_, wait)| (*wait * 2).min(SELDOM));
                later.insert(id.to_owned(), (Instant::now() + wait, wait));
            }
        }
    }

    async fn look(&self, id: &str) -> After {
        let found = match self.find::<Cluster>(id).await {
            Ok(found) => found,
            Err(fault) if fault.status.is_server_error() => return After::Later,
            // It is gone, or has another name.
            Err(_) => return After::Done,
        };
        match self.step(found).await {
            Ok(After::More) => After::More,
            Ok(after) => {
                lock(&self.work.unchecked).remove(id);
                after
            }
            // Somebody has written meanwhile, tags for instance: once more, with what is there now.
            Err(RecordError::Conflict) => After::More,
            Err(error) => {
                tracing::warn!(cluster = id, %error, "a cluster waits for the records");
                After::Later
            }
        }
    }

    /// A record in the place of a version. Requests change records under the same lock, so only we meet conflicts.
    async fn write(&self, cluster: &Cluster, version: u64) -> Result<(), RecordError> {
        let _alone = self.changes.lock().await;
        self.records.commit(vec![store::put(cluster, version)]).await.map(drop)
    }

    async fn step(&self, found: Versioned<Cluster>) -> Result<After, RecordError> {
        let Versioned {
            version,
            record: mut cluster,
        } = found;
        let unchecked = lock(&self.work.unchecked).contains(&cluster.id);
        if cluster.status == Status::Deleting {
            return self.bury(&cluster, version).await;
        }
        let waiting = match self.clear(&mut cluster).await? {
            Cleared::All => false,
            Cleared::Some => return self.write(&cluster, version).await.map(|()| After::More),
            Cleared::Later => true,
        };
        let Some(hsm) = cluster.hsm.clone() else {
            if cluster.status != Status::Available {
                cluster.status = Status::Available;
                self.write(&cluster, version).await?;
            }
            return Ok(After::Done);
        };
        let rest = if waiting { After::Later } else { After::Done };
        match (cluster.status, cluster.trouble) {
            (Status::Available, _) if !unchecked => return Ok(rest),
            // All that is left of a rotation is the end of the old key.
            (Status::RotatingKeys, _) if waiting && cluster.next.is_none() => return Ok(rest),
            (Status::IncompatibleHsm, Some(trouble)) if !trouble.may_pass() => return Ok(rest),
            _ => {}
        }
        match self.settle(&mut cluster, &hsm).await? {
            Settled::Begun => self.write(&cluster, version).await.map(|()| After::More),
            Settled::Done => self.settled(cluster, version, rest).await,
            Settled::Failed(failure) => self.failed(cluster, version, &failure).await,
        }
    }

    async fn settled(&self, mut cluster: Cluster, version: u64, rest: After) -> Result<After, RecordError> {
        let was = cluster.status;
        let more = rest == After::Done && !cluster.old.is_empty();
        if was != Status::RotatingKeys || cluster.old.is_empty() {
            cluster.status = Status::Available;
        }
        cluster.trouble = None;
        if was != Status::Available || more {
            self.write(&cluster, version).await?;
            tracing::info!(
                cluster = cluster.id,
                status = cluster.status.name(),
                "the HSM holds the cluster's key"
            );
        }
        Ok(if more { After::More } else { rest })
    }

    async fn failed(&self, mut cluster: Cluster, version: u64, failure: &Failure) -> Result<After, RecordError> {
        let trouble = failure.trouble;
        let news = cluster.status != Status::IncompatibleHsm || cluster.trouble != Some(trouble);
        if trouble == Trouble::Failed
            && let Some(next) = &mut cluster.next
        {
            next.doubt = true;
        }
        if cluster.status == Status::RotatingKeys {
            // The old keys stay in force; a new one that may have been made is not wanted.
            let given_up = cluster.next.take().filter(|next| next.doubt);
            cluster.old.extend(given_up.map(|next| next.place));
        }
        cluster.status = Status::IncompatibleHsm;
        cluster.trouble = Some(trouble);
        if news {
            self.write(&cluster, version).await?;
            tracing::warn!(
                cluster = cluster.id,
                ?trouble,
                why = failure.why,
                "the HSM cannot be used"
            );
        }
        Ok(if trouble.may_pass() { After::Later } else { After::Done })
    }

    /// Brings the keys where the record wants them. What it changes is written by the caller.
    async fn settle(&self, cluster: &mut Cluster, hsm: &Hsm) -> Result<Settled, RecordError> {
        match (cluster.key.clone(), cluster.next.clone()) {
            (None, Some(next)) => {
                let job = Job::Make {
                    cek: next.place.cek.clone(),
                };
                match self.job(cluster, &next.place.hsm, job).await? {
                    Ok(wrapped) => Ok(exchange(cluster, next.place, wrapped)),
                    Err(failure) => Ok(Settled::Failed(failure)),
                }
            }
            (None, None) => Ok(begin_key(cluster, hsm)),
            (Some(key), Some(next)) if cluster.status == Status::RotatingKeys => {
                let job = Job::Rotate {
                    cek: key.place.cek,
                    wrapped: key.wrapped,
                    next: next.place.cek.clone(),
                };
                match self.job(cluster, hsm, job).await? {
                    Ok(wrapped) => Ok(exchange(cluster, next.place, wrapped)),
                    Err(failure) => Ok(Settled::Failed(failure)),
                }
            }
            (Some(mut key), next) => match self.job(cluster, hsm, open(&key)).await? {
                Ok(_) => {
                    key.place.hsm = hsm.clone();
                    cluster.key = Some(key);
                    cluster.next = None;
                    cluster
                        .old
                        .extend(next.filter(|next| next.doubt).map(|next| next.place));
                    Ok(Settled::Done)
                }
                Err(failure) if failure.trouble == Trouble::NoKey && key.place.hsm != *hsm => {
                    self.carry(cluster, &key, hsm).await
                }
                Err(failure) => Ok(Settled::Failed(failure)),
            },
        }
    }

    /// The keys go to another partition: the database key is opened where it is, and new keys are made at the other place.
    async fn carry(&self, cluster: &mut Cluster, key: &Key, hsm: &Hsm) -> Result<Settled, RecordError> {
        let Some(next) = cluster.next.clone().filter(|next| next.place.hsm == *hsm) else {
            return Ok(begin_key(cluster, hsm));
        };
        if let Err(failure) = self.job(cluster, &key.place.hsm, open(key)).await? {
            let why = format!("at the place that the cluster is to leave: {}", failure.why);
            return Ok(Settled::Failed(Failure { why, ..failure }));
        }
        let job = Job::Make {
            cek: next.place.cek.clone(),
        };
        match self.job(cluster, hsm, job).await? {
            Ok(wrapped) => Ok(exchange(cluster, next.place, wrapped)),
            Err(failure) => Ok(Settled::Failed(failure)),
        }
    }

    /// Destroys cluster keys of the past, those of one place at a time.
    async fn clear(&self, cluster: &mut Cluster) -> Result<Cleared, RecordError> {
        let Some(hsm) = cluster.old.first().map(|place| place.hsm.clone()) else {
            return Ok(Cleared::All);
        };
        if !self.destroy(cluster, &hsm, &cluster.old).await? {
            return Ok(Cleared::Later);
        }
        cluster.old.retain(|place| place.hsm != hsm);
        Ok(Cleared::Some)
    }

    /// Ends a cluster: its keys first, then its record.
    async fn bury(&self, cluster: &Cluster, version: u64) -> Result<After, RecordError> {
        let keys = cluster.key.iter().map(|key| &key.place);
        let next = cluster.next.iter().filter(|next| next.doubt).map(|next| &next.place);
        let places: Vec<Place> = keys.chain(next).chain(&cluster.old).cloned().collect();
        let mut done = Vec::new();
        for Place { hsm, .. } in &places {
            if !done.contains(hsm) {
                if !self.destroy(cluster, hsm, &places).await? {
                    return Ok(After::Later);
                }
                done.push(hsm.clone());
            }
        }
        let _alone = self.changes.lock().await;
        self.records.commit(vec![store::delete(cluster, version)]).await?;
        tracing::info!(cluster = cluster.id, "deleted, with its keys");
        Ok(After::Done)
    }

    /// Destroys those of the keys that are at one place; false when it must be tried again. A place that lets nobody in any
    /// more keeps its key, which its operator is told of: a cluster must not wait for that for ever.
    async fn destroy(&self, cluster: &Cluster, hsm: &Hsm, places: &[Place]) -> Result<bool, RecordError> {
        let ceks: Vec<_> = places
            .iter()
            .filter(|place| place.hsm == *hsm)
            .map(|place| place.cek.clone())
            .collect();
        let Err(failure) = self.job(cluster, hsm, Job::Destroy { ceks: ceks.clone() }).await? else {
            return Ok(true);
        };
        let passing = matches!(failure.trouble, Trouble::Unreachable | Trouble::Failed);
        let outcome = if passing {
            "it is tried again"
        } else {
            "it is left behind"
        };
        tracing::warn!(
            cluster = cluster.id, configuration = hsm.configuration, keys = ?ceks, trouble = ?failure.trouble,
            why = failure.why, "a cluster key cannot be destroyed: {outcome}"
        );
        Ok(!passing)
    }

    /// Has an agent do a job.
    async fn job(
        &self,
        cluster: &Cluster,
        hsm: &Hsm,
        job: Job,
    ) -> Result<Result<Option<String>, Failure>, RecordError> {
        let certificate = store::record_key(Kind::Certificate, &hsm.certificate);
        let configuration = store::record_key(Kind::Configuration, &hsm.configuration);
        let certificate = self.records.get::<Certificate>(&certificate).await?;
        let configuration = self.records.get::<Configuration>(&configuration).await?;
        let (Some(certificate), Some(configuration)) = (certificate, configuration) else {
            return Ok(Err(Failure::new(
                Trouble::Failed,
                "the certificate's or the configuration's record is gone",
            )));
        };
        let (certificate, configuration) = (certificate.record, configuration.record);
        let Ok(address) = configuration.address.parse::<IpAddr>() else {
            return Ok(Err(Failure::new(
                Trouble::Failed,
                "the configuration's address is none",
            )));
        };
        let failed = |error: io::Error| Failure::new(Trouble::Failed, format!("the agent: {error}"));
        let folder = match agent::folder() {
            Ok(folder) => folder,
            Err(error) => return Ok(Err(failed(error))),
        };
        let direct = SocketAddr::new(address, self.settings.port);
        let request = Request {
            module: self.settings.module.clone(),
            folder: folder.path().to_owned(),
            server: self.settings.addresses.get(&address).copied().unwrap_or(direct),
            deadline_ms: u64::try_from(self.settings.patience.as_millis() / 4)
                .unwrap_or(5_000)
                .max(1_000),
            authority: configuration.authority,
            certificate: certificate.pem,
            key: certificate.key,
            partition: configuration.partition,
            password: configuration.password,
            namespace: cluster.namespace.clone(),
            label: clusters::arn(self, cluster),
            job,
        };
        // The semaphore is never closed.
        let _permit = self.work.agents.acquire().await;
        Ok(match run(&request, self.settings.patience).await {
            Ok(Reply::Done { wrapped }) => Ok(wrapped),
            Ok(Reply::Failed(failure)) => Err(failure),
            Err(error) => Err(failed(error)),
        })
    }
}

/// What became of a try to bring keys where they shall be.
enum Settled {
    /// A new key has a name; it is made after that is written.
    Begun,
    Done,
    Failed(Failure),
}

/// What is left of keys of the past.
enum Cleared {
    All,
    Some,
    Later,
}

/// Names a cluster key that is to be made.
fn begin_key(cluster: &mut Cluster, hsm: &Hsm) -> Settled {
    let Some(id) = uuid::random() else {
        return Settled::Failed(Failure::new(Trouble::Failed, "the system gives no random bytes"));
    };
    let place = Place {
        cek: uuid::text(&id),
        hsm: hsm.clone(),
    };
    let given_up = cluster
        .next
        .replace(Next { place, doubt: false })
        .filter(|next| next.doubt);
    cluster.old.extend(given_up.map(|next| next.place));
    Settled::Begun
}

/// New keys are in force, the old ones are to be destroyed.
fn exchange(cluster: &mut Cluster, place: Place, wrapped: Option<String>) -> Settled {
    let Some(wrapped) = wrapped else {
        return Settled::Failed(Failure::new(Trouble::Failed, "the agent gave no key"));
    };
    let old = cluster.key.replace(Key { place, wrapped });
    cluster.old.extend(old.map(|key| key.place));
    cluster.next = None;
    Settled::Done
}

fn open(key: &Key) -> Job {
    Job::Open {
        cek: key.place.cek.clone(),
        wrapped: key.wrapped.clone(),
    }
}

/// Runs an agent: this very program, with nothing of our environment. It is killed when its time is over. A thread waits for
/// it, not the runtime, which must not wait for it when we end.
async fn run(request: &Request, patience: Duration) -> io::Result<Reply> {
    let text = Zeroizing::new(serde_json::to_vec(request)?);
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(agent::COMMAND)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let (tell, told) = oneshot::channel();
    let talk = move || {
        let talked = talk(input, output, &text);
        // Whoever waited may have given up.
        let _ = tell.send(talked);
    };
    let talked = match std::thread::Builder::new().name("redshift-agent".into()).spawn(talk) {
        Ok(_) => tokio::time::timeout(patience, told).await,
        Err(error) => {
            end(child);
            return Err(error);
        }
    };
    let late = || io::Error::new(io::ErrorKind::TimedOut, "the HSM did not answer in time");
    let reply = talked
        .map_err(|_| late())
        .and_then(|told| told.unwrap_or_else(|_| Err(late())));
    // It has said all, or has nothing to say any more.
    end(child);
    serde_json::from_slice(&reply?).map_err(|_| io::Error::other("it ended without an answer"))
}

fn talk(input: Option<ChildStdin>, output: Option<ChildStdout>, text: &[u8]) -> io::Result<Vec<u8>> {
    let mut reply = Vec::new();
    if let Some(mut input) = input {
        input.write_all(text)?;
    }
    if let Some(output) = output {
        output.take(LONGEST).read_to_end(&mut reply)?;
    }
    Ok(reply)
}

/// Ends a process for good; one that has ended by itself is not harmed. It is gone at once: SIGKILL is not waited for long.
fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}
