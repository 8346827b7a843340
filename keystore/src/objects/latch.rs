//! The latch of DESIGN 8: one durable bit for key *material*, "has wrapped a sensitive key". It is kept under a keyed hash of
//! the material, so it is shared by copies, by both halves of a pair, by a re-import and by every key set, and it outlives
//! the objects. Which operations it bars is in `proto::init` and in [`super::wrap`].
//!
//! Objects that were restored from another fleet carry hashes under that fleet's key, which came with the backup, as did its
//! latches. Here every material is hashed under the own key, and a latch under another one counts: a restore loosens none.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use hsmd_crypto::Material;
use hsmd_crypto::seal::hmac;
use hsmd_crypto::secret::SecretArray;
use hsmd_proto::ck::Rv;
use hsmd_proto::meta::Curve;
use hsmd_store::{Batch, Path, Store, Write};
use parking_lot::{Mutex, RwLock};

use crate::audit::Event;
use crate::core::{Committed, Core, path};
use crate::seal::{Barrier, FleetSecret, Kind};

/// Where the records are.
pub(crate) const PREFIX: &str = "/fleet/latch/";
/// Where the latch keys of other fleets are.
pub(crate) const KEYS: &str = "/fleet/latchkey/";
/// Unused entries are dropped when the map has grown to this many since it was last tidied.
const TIDY: usize = 4096;

/// A keyed hash of a key's material in canonical form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MaterialHash(pub(crate) [u8; 32]);

/// The latch of one material, shared by all objects of it that this process holds.
#[derive(Debug)]
pub(crate) struct Latch {
    wrapping: AtomicBool,
}

impl Latch {
    /// Whether the material has wrapped a sensitive key.
    pub(crate) fn wrapping(&self) -> bool {
        self.wrapping.load(Ordering::Acquire)
    }
}

/// All latches of the fleet.
pub(crate) struct Latches {
    key: SecretArray<32>,
    /// Of other fleets.
    foreign: RwLock<Vec<SecretArray<32>>>,
    cells: Mutex<Cells>,
}

struct Cells {
    /// Held by objects; a set latch is held by `set` as well.
    all: HashMap<MaterialHash, Weak<Latch>>,
    set: HashMap<MaterialHash, Arc<Latch>>,
    tidy_at: usize,
}

impl Latches {
    /// Reads the latch records of a store.
    pub(crate) fn open(store: &Store, barrier: &Barrier, fleet: &FleetSecret) -> Self {
        let mut set = HashMap::new();
        for (path, record) in store.scan(PREFIX) {
            let Some(material) = material_of(&path) else { continue };
            if barrier.open(&path, record.version, Kind::Latch, &record.value).is_err() {
                // The name alone says what is latched; a value that does not open takes nothing back.
                tracing::warn!(record = %path, "a latch record is damaged; it counts as set");
            }
            set.insert(
                material,
                Arc::new(Latch {
                    wrapping: AtomicBool::new(true),
                }),
            );
        }
        let cells = Cells {
            all: HashMap::new(),
            set,
            tidy_at: TIDY,
        };
        let mut foreign = Vec::new();
        for (path, record) in store.scan(KEYS) {
            let opened = barrier.open(&path, record.version, Kind::LatchKey, &record.value);
            match opened.ok().and_then(|key| SecretArray::from_slice(&key)) {
                Some(key) => foreign.push(key),
                None => tracing::error!(record = %path, "the latch key of restored objects is damaged"),
            }
        }
        Self {
            key: fleet.key("latch"),
            foreign: RwLock::new(foreign),
            cells: Mutex::new(cells),
        }
    }

    /// Takes the latch key of another fleet into use, and latches that came with it.
    pub(crate) fn adopt(&self, keys: impl IntoIterator<Item = SecretArray<32>>, set: &[MaterialHash]) {
        let mut foreign = self.foreign.write();
        for key in keys {
            if key != self.key && !foreign.contains(&key) {
                foreign.push(key);
            }
        }
        drop(foreign);
        set.iter().for_each(|material| self.mark(*material));
    }

    /// The hash of a stored key under the own key. One that was restored may have been hashed, and latched, under another.
    pub(crate) fn translate(
        &self,
        stored: Option<MaterialHash>,
        material: impl FnOnce() -> Option<Material>,
    ) -> Option<MaterialHash> {
        let stored = stored?;
        if self.foreign.read().is_empty() {
            return Some(stored);
        }
        let Some(own) = material().and_then(|material| self.hash(&material)) else {
            return Some(stored);
        };
        if own != stored && self.cells.lock().set.contains_key(&stored) {
            self.mark(own);
        }
        Some(own)
    }

    /// The hash of a material; it counts as latched if it is so under the key of another fleet. `None`: the material is no key.
    pub(crate) fn hash(&self, material: &Material) -> Option<MaterialHash> {
        let own = hash_under(&self.key, material)?;
        let foreign = self.foreign.read();
        if !foreign.is_empty() {
            let set = |hash: MaterialHash| self.cells.lock().set.contains_key(&hash);
            if !set(own) && foreign.iter().filter_map(|key| hash_under(key, material)).any(set) {
                self.mark(own);
            }
        }
        Some(own)
    }

    /// The latch of a material.
    pub(crate) fn cell(&self, material: MaterialHash) -> Arc<Latch> {
        let mut cells = self.cells.lock();
        if let Some(latch) = cells.set.get(&material) {
            return Arc::clone(latch);
        }
        if let Some(latch) = cells.all.get(&material).and_then(Weak::upgrade) {
            return latch;
        }
        if cells.all.len() >= cells.tidy_at {
            cells.all.retain(|_, latch| latch.strong_count() > 0);
            cells.tidy_at = cells.all.len() * 2 + TIDY;
        }
        let latch = Arc::new(Latch {
            wrapping: AtomicBool::new(false),
        });
        cells.all.insert(material, Arc::downgrade(&latch));
        latch
    }

    /// Another node has set a latch, or brought the key of another fleet: a record of this path.
    pub(crate) fn follow(&self, barrier: &Barrier, path: &Path, version: u64, value: &[u8]) {
        if let Some(material) = material_of(path) {
            self.mark(material);
        } else if path.as_str().starts_with(KEYS) {
            let opened = barrier.open(path, version, Kind::LatchKey, value);
            let key = opened.ok().and_then(|key| SecretArray::from_slice(&key));
            self.adopt(key, &[]);
        }
    }

    fn mark(&self, material: MaterialHash) {
        let latch = self.cell(material);
        latch.wrapping.store(true, Ordering::Release);
        self.cells.lock().set.insert(material, latch);
    }
}

/// The hash of a material under a key: of secret bytes; the RSA modulus; curve and x coordinate; the Edwards point.
fn hash_under(key: &SecretArray<32>, material: &Material) -> Option<MaterialHash> {
    let (kind, value): (u8, &[u8]) = match material {
        Material::Secret(value) => (1, value.expose()),
        Material::RsaPrivate(key) => (2, without_zeros(&key.n)),
        Material::RsaPublic { n, .. } => (2, without_zeros(n)),
        Material::EcPublic { curve, point } => {
            let kind = match curve {
                Curve::P384 => 4,
                Curve::P521 => 6,
                Curve::Secp256k1 => 7,
                Curve::P224 => 9,
                _ => 3,
            };
            (kind, point.get(1..1 + curve.field_bytes())?)
        }
        Material::EdPublic { point } => (5, point),
        Material::MontgomeryPublic { point } => (8, point),
        // No mechanism wraps or unwraps with them.
        Material::PqPublic { .. }
        | Material::StatefulPublic { .. }
        | Material::PqPrivate { .. }
        | Material::DhPublic { .. }
        | Material::DhPrivate { .. } => return None,
        // Private keys on curves are hashed by their public half, which the caller computes.
        Material::EcPrivate { .. } | Material::EdPrivate { .. } | Material::MontgomeryPrivate { .. } => {
            return None;
        }
    };
    Some(MaterialHash(hmac(key.expose(), &[&[kind], value])))
}

/// Sets the latch of a material, with the record of the wrap that does it. When this returns, it is durable and every object of that
/// material in this process knows.
///
/// # Errors
/// What the store answers; then the wrapped key must not leave.
pub(crate) fn set_wrapping(core: &Core, material: MaterialHash, event: Event) -> Result<(), Rv> {
    let path = path_of(material);
    if core.store.get(&path).is_none() {
        let sealed = core.barrier.seal(&path, 1, Kind::Latch, &[1]);
        let batch = Batch {
            operation: hsmd_crypto::random::array(),
            writes: vec![Write {
                path,
                version: 1,
                value: Some(sealed),
            }],
            ..Batch::default()
        };
        // A conflict means that somebody else set it first: all the better.
        let (Committed::Done(_) | Committed::Conflict(_)) =
            core.commit_act(batch, vec![event]).map_err(|error| error.rv())?;
    }
    core.latches.mark(material);
    Ok(())
}

pub(crate) fn path_of(material: MaterialHash) -> Path {
    use std::fmt::Write;
    let mut text = String::from(PREFIX);
    for byte in material.0 {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    path(&text)
}

pub(crate) fn material_of(path: &Path) -> Option<MaterialHash> {
    let hex = path.as_str().strip_prefix(PREFIX)?.as_bytes();
    let (pairs, []) = hex.as_chunks::<2>() else { return None };
    let digit = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    let mut out = [0; 32];
    if pairs.len() != out.len() {
        return None;
    }
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(MaterialHash(out))
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

impl std::fmt::Debug for MaterialHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MaterialHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hsmd_crypto::secret::Secret;

    fn latches() -> Latches {
        let cells = Cells {
            all: HashMap::new(),
            set: HashMap::new(),
            tidy_at: TIDY,
        };
        Latches {
            key: SecretArray::new([7; 32]),
            foreign: RwLock::default(),
            cells: Mutex::new(cells),
        }
    }

    #[test]
    fn a_material_has_one_hash_in_all_its_forms() {
        let latches = latches();
        let n = vec![0, 0xc5, 1];
        let public = latches.hash(&Material::RsaPublic {
            n: n.clone(),
            e: vec![3],
        });
        assert_eq!(
            public,
            latches.hash(&Material::RsaPublic {
                n: vec![0xc5, 1],
                e: vec![1, 0, 1]
            })
        );
        let point = |last| Material::EcPublic {
            curve: Curve::P256,
            point: [vec![4; 33], vec![last; 32]].concat(),
        };
        assert_eq!(latches.hash(&point(1)), latches.hash(&point(2)), "Q and -Q");
        assert_ne!(public, latches.hash(&Material::Secret(Secret::from_slice(&[0xc5, 1]))));
    }

    // A restore loosens no latch: neither of the objects that it brought, nor of the same material by another way.
    #[test]
    fn a_latch_under_the_key_of_another_fleet_counts() {
        let (here, there) = (latches(), SecretArray::new([9; 32]));
        let (latched, free) = (Secret::from_slice(&[1; 32]), Secret::from_slice(&[2; 32]));
        let (latched, free) = (Material::Secret(latched), Material::Secret(free));
        let early = here.cell(here.hash(&latched).unwrap());
        let old = [&latched, &free].map(|material| hash_under(&there, material).unwrap());
        here.adopt([there.duplicate()], &[old[0]]);
        let own = here.translate(Some(old[0]), || Some(Material::Secret(Secret::from_slice(&[1; 32]))));
        assert!(here.cell(own.unwrap()).wrapping() && early.wrapping());
        let own = here.translate(Some(old[1]), || Some(Material::Secret(Secret::from_slice(&[2; 32]))));
        assert!(!here.cell(own.unwrap()).wrapping());
        assert_eq!(own, here.hash(&free));
        // The restored one wraps: whoever has the material knows.
        here.mark(own.unwrap());
        assert!(here.cell(here.hash(&free).unwrap()).wrapping());
        let again = latches();
        again.adopt([there], &[old[0]]);
        assert!(
            again.cell(again.hash(&latched).unwrap()).wrapping(),
            "made again by unwrapping"
        );
    }

    #[test]
    fn the_name_of_a_record_reads_back() {
        let material = MaterialHash(std::array::from_fn(|index| index as u8 * 7));
        assert_eq!(material_of(&path_of(material)), Some(material));
        assert_eq!(material_of(&path("/fleet/latch/00")), None);
    }

    #[test]
    fn objects_of_one_material_share_their_latch() {
        let latches = latches();
        let material = MaterialHash([1; 32]);
        let first = latches.cell(material);
        latches.mark(material);
        assert!(first.wrapping() && latches.cell(material).wrapping());
        drop(first);
        assert!(latches.cell(material).wrapping(), "it outlives the objects");
        assert!(!latches.cell(MaterialHash([2; 32])).wrapping());
    }
}
