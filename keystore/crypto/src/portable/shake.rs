//! SHAKE (FIPS 202, 6.2).

use shake::{ExtendableOutput, Shake128, Shake256, Update, XofReader};

/// SHAKE for many short inputs.
pub(crate) struct Shake {
    /// SHAKE128, else SHAKE256.
    narrow: bool,
}

impl Shake {
    /// SHAKE256.
    #[expect(clippy::unnecessary_wraps, reason = "the other engine allocates")]
    pub(crate) const fn new() -> Option<Self> {
        Some(Self { narrow: false })
    }

    /// SHAKE128.
    #[expect(clippy::unnecessary_wraps, reason = "the other engine allocates")]
    pub(crate) const fn new_128() -> Option<Self> {
        Some(Self { narrow: true })
    }

    /// The first bytes of the output for the parts, one after the other.
    pub(crate) fn hash(&mut self, parts: &[&[u8]], out: &mut [u8]) -> Option<()> {
        if self.narrow {
            run::<Shake128>(parts, out);
        } else {
            run::<Shake256>(parts, out);
        }
        Some(())
    }
}

fn run<S: Default + Update + ExtendableOutput>(parts: &[&[u8]], out: &mut [u8]) {
    let mut shake = S::default();
    parts.iter().for_each(|part| shake.update(part));
    shake.finalize_xof().read(out);
}

/// SHAKE256 of the parts, one after the other.
pub(crate) fn shake256(parts: &[&[u8]]) -> Option<[u8; 64]> {
    let mut out = [0; 64];
    run::<Shake256>(parts, &mut out);
    Some(out)
}
