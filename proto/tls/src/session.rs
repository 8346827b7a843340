//! One session, of the side that connects or of the side that listens.

use crate::buffer::Incoming;
use hsmd_proto::wipe::WipingVec;
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, ServerConfig};
use std::io;
use std::sync::Arc;

/// The most plaintext of a record (RFC 8446, 5.1).
const RECORD: usize = 16 << 10;
/// More than what a record has beyond its plaintext: header, content type, tag (RFC 8446, 5.2).
const OVERHEAD: usize = 32;
/// Plaintext that is sealed before it is written, so that the other side opens records while further ones are sealed here. With
/// 64 KiB a frame of that length takes twice as long, with 16 KiB half as long again: more writes.
const BATCH: usize = 2 * RECORD;

/// Why a session cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// What rustls says: a certificate that is refused, an alert that came, bytes that are not TLS.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// A record longer than any may be.
    #[error("a record without end")]
    Endless,
    /// So much was sent that the keys are used up and cannot be replaced.
    #[error("the keys of the session are used up")]
    Exhausted,
}

impl From<TlsError> for io::Error {
    /// `InvalidData`, with rustls's own error inside if it is one.
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::Tls(error) => Self::new(io::ErrorKind::InvalidData, error),
            other => Self::new(io::ErrorKind::InvalidData, other),
        }
    }
}

/// What reading once came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// So many bytes of plaintext.
    Data(usize),
    /// Something came, but no record is complete, or it was for the session itself.
    Partial,
    /// The other side is done.
    Ended,
}

/// A side of a session: the one that connects, or the one that listens.
pub trait Side {
    /// rustls's own state of that side.
    type Data;

    /// Goes one step on with what came.
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// Whether the handshake is not complete.
    fn is_handshaking(&self) -> bool;

    /// The other side's certificates, its own first.
    fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]>;
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn is_handshaking(&self) -> bool {
        (**self).is_handshaking()
    }

    fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        (**self).peer_certificates()
    }
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }

    fn is_handshaking(&self) -> bool {
        (**self).is_handshaking()
    }

    fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        (**self).peer_certificates()
    }
}

/// A session with its buffers.
pub struct Session<S> {
    side: S,
    incoming: Incoming,
    /// Whether `incoming` holds something that was not looked at.
    fresh: bool,
    /// Plaintext that was opened when nobody had room for it.
    plain: WipingVec,
    taken: usize,
    outgoing: Outgoing,
}

/// What one step came to.
enum Step {
    Data(usize),
    Again,
    /// Nothing more to do with what is there.
    Idle,
    Ended,
}

impl Session<UnbufferedClientConnection> {
    /// The side that connects, to a server of this name or address.
    ///
    /// # Errors
    /// rustls's, when the configuration allows no handshake.
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, TlsError> {
        Ok(Self::over(UnbufferedClientConnection::new(config, name)?))
    }
}

impl Session<UnbufferedServerConnection> {
    /// The side that listens.
    ///
    /// # Errors
    /// rustls's, when the configuration allows no handshake.
    pub fn server(config: Arc<ServerConfig>) -> Result<Self, TlsError> {
        Ok(Self::over(UnbufferedServerConnection::new(config)?))
    }
}

impl<S: Side> Session<S> {
    fn over(side: S) -> Self {
        Self {
            side,
            incoming: Incoming::new(),
            fresh: true,
            plain: WipingVec::new(),
            taken: 0,
            outgoing: Outgoing::default(),
        }
    }

    /// The other side's own certificate, in DER; `None` before it was checked.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        let certificates = self.side.peer_certificates()?;
        certificates.first().map(AsRef::as_ref)
    }

    /// Runs the handshake: `write` takes some of the bytes, `read` brings some, both wait as long as they like.
    ///
    /// # Errors
    /// The stream's; an `InvalidData` as [`TlsError`] becomes one when one of the sides refuses. The other side is told by an alert, if it
    /// can be told without waiting.
    pub fn handshake(
        &mut self,
        mut write: impl FnMut(&[u8]) -> io::Result<usize>,
        mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        loop {
            let refused = self.settle().err();
            let flushed = self.flush(&mut write);
            if let Some(error) = refused {
                return Err(error.into());
            }
            flushed?;
            if !self.side.is_handshaking() {
                return Ok(());
            }
            if self.receive(&mut read)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads once: first what is there already; `receive` is called at most once.
    ///
    /// # Errors
    /// What `receive` answers, and [`TlsError`] in an `InvalidData`; the session cannot go on after the latter.
    pub fn read(&mut self, into: &mut [u8], receive: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<Read> {
        match self.open(into)? {
            Read::Partial => {}
            other => return Ok(other),
        }
        if self.receive(receive)? == 0 {
            return Ok(Read::Ended);
        }
        Ok(self.open(into)?)
    }

    /// Seals all pieces and hands the records to `write`, which takes some of the bytes. What an earlier [`Self::flush`] left is
    /// first. Short pieces are written together with what follows them: each `write` wakes the other side.
    ///
    /// # Errors
    /// What `write` answers, and [`TlsError`] in an `InvalidData`.
    pub fn write_all(&mut self, pieces: &[&[u8]], mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        for part in pieces.iter().flat_map(|piece| piece.chunks(BATCH)) {
            if self.outgoing.end >= BATCH {
                self.flush(&mut write)?;
            }
            self.seal(part)?;
        }
        self.flush(write)
    }

    /// Seals bytes; [`Self::flush`] sends them.
    ///
    /// # Errors
    /// [`TlsError`]; the session cannot go on.
    pub fn seal(&mut self, plain: &[u8]) -> Result<(), TlsError> {
        let mut left = Some(plain);
        let mut ended = false;
        loop {
            // Records that came meanwhile are opened on the way: rustls goes in order.
            match self.step(&mut [], &mut left)? {
                _ if left.is_none() => return Ok(()),
                Step::Data(_) | Step::Again => {}
                // Who has said that nothing more comes may still listen.
                Step::Ended if !ended => ended = true,
                Step::Idle | Step::Ended => return Err(rustls::Error::HandshakeNotComplete.into()),
            }
        }
    }

    /// Whether sealed bytes wait to be written.
    #[must_use]
    pub const fn has_outgoing(&self) -> bool {
        self.outgoing.sent < self.outgoing.end
    }

    /// Hands sealed bytes to `write` until all are gone.
    ///
    /// # Errors
    /// What `write` answers; what it did not take stays.
    pub fn flush(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        let outgoing = &mut self.outgoing;
        while outgoing.sent < outgoing.end {
            match write(&outgoing.bytes[outgoing.sent..outgoing.end]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => outgoing.sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        (outgoing.sent, outgoing.end) = (0, 0);
        Ok(())
    }

    /// Opens the next record that is there whole.
    fn open(&mut self, into: &mut [u8]) -> Result<Read, TlsError> {
        if self.taken < self.plain.len() {
            let count = into.len().min(self.plain.len() - self.taken);
            into[..count].copy_from_slice(&self.plain[self.taken..self.taken + count]);
            self.taken += count;
            if self.taken == self.plain.len() {
                self.plain.wipe();
                self.taken = 0;
            }
            return Ok(Read::Data(count));
        }
        while self.fresh {
            match self.step(into, &mut None)? {
                Step::Data(count) => return Ok(Read::Data(count)),
                Step::Again => {}
                Step::Idle => self.fresh = false,
                Step::Ended => return Ok(Read::Ended),
            }
        }
        Ok(Read::Partial)
    }

    /// Goes on until nothing is left to do with what is there. A refusal leaves its alert to be sent.
    fn settle(&mut self) -> Result<(), TlsError> {
        loop {
            match self.step(&mut [], &mut None) {
                Ok(Step::Data(_) | Step::Again) => {}
                Ok(Step::Idle | Step::Ended) => return Ok(()),
                Err(error) => {
                    // rustls has the alert ready. It is asked once: it must not look at the same bytes again.
                    let _ = self.step(&mut [], &mut None);
                    return Err(error);
                }
            }
        }
    }

    fn receive(&mut self, mut read: impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        let room = self.incoming.room();
        if room.is_empty() {
            return Err(TlsError::Endless.into());
        }
        let count = loop {
            match read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.incoming.received(count);
        self.fresh = true;
        Ok(count)
    }

    /// One step of rustls. Plaintext goes to `into`, and what does not fit to `plain`; `seal` is taken when it was sealed.
    fn step(&mut self, into: &mut [u8], seal: &mut Option<&[u8]>) -> Result<Step, TlsError> {
        let UnbufferedStatus { discard, state, .. } = self.side.process(self.incoming.unused());
        let step = match state {
            Err(error) => Err(error.into()),
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                let mut count = 0;
                while let Some(record) = traffic.next_record() {
                    let payload = record?.payload;
                    let fits = payload.len().min(into.len() - count);
                    into[count..count + fits].copy_from_slice(&payload[..fits]);
                    count += fits;
                    self.plain.reserve_wiping(payload.len() - fits);
                    self.plain.extend_from_slice(&payload[fits..]);
                }
                Ok(if count > 0 { Step::Data(count) } else { Step::Again })
            }
            Ok(ConnectionState::EncodeTlsData(mut message)) => {
                let mut room = 0;
                // It says how long it is, and is encoded once.
                while let Err(EncodeError::InsufficientSize(more)) = self.outgoing.append(room, |to| message.encode(to))
                {
                    room = more.required_size;
                }
                Ok(Step::Again)
            }
            Ok(ConnectionState::TransmitTlsData(transmit)) => {
                // It is in `outgoing`, before everything that follows.
                transmit.done();
                Ok(Step::Again)
            }
            Ok(ConnectionState::WriteTraffic(mut traffic)) => match *seal {
                None => Ok(Step::Idle),
                Some(plain) => {
                    let room = plain.len() + OVERHEAD * (plain.len() / RECORD + 1);
                    let sealed = self.outgoing.append(room, |to| traffic.encrypt(plain, to));
                    match sealed {
                        Ok(()) => {
                            *seal = None;
                            Ok(Step::Again)
                        }
                        Err(EncryptError::EncryptExhausted | EncryptError::InsufficientSize(_)) => {
                            Err(TlsError::Exhausted)
                        }
                    }
                }
            },
            Ok(ConnectionState::BlockedHandshake) => Ok(Step::Idle),
            // Closed by the other side; early data is never offered.
            Ok(_) => Ok(Step::Ended),
        };
        self.incoming.discard(discard);
        step
    }
}

/// Sealed records: `bytes[sent..end]` is still to be written. The room is kept.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    end: usize,
}

impl Outgoing {
    /// Appends what `fill` writes into that much room.
    fn append<E>(&mut self, room: usize, fill: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<(), E> {
        let most = self.end + room;
        if self.bytes.len() < most {
            self.bytes.resize(most, 0);
        }
        self.end += fill(&mut self.bytes[self.end..most])?;
        Ok(())
    }
}
