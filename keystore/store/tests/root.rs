//! The root files: no single damage and no crash at any step loses the value.

use hsmd_store::{Fault, Faults, Loss, RootError, RootFiles};

use crate::model::Random;

#[test]
fn a_value_survives_the_loss_or_damage_of_either_copy() {
    let dir = tempfile::tempdir().unwrap();
    let root = RootFiles::new(dir.path());
    assert_eq!(root.read().unwrap(), None);
    assert_eq!(root.write(b"one").unwrap(), 1);
    assert_eq!(root.write(b"two").unwrap(), 2);
    let whole = std::fs::read(dir.path().join("root.0")).unwrap();
    for copy in ["root.0", "root.1"] {
        let file = dir.path().join(copy);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(root.read().unwrap(), Some((2, b"two".to_vec())));
        assert_eq!(std::fs::read(&file).unwrap(), whole, "the other copy is repaired");
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&file, &damaged).unwrap();
            if bit % 16 == 0 {
                assert_eq!(root.read().unwrap(), Some((2, b"two".to_vec())));
                assert_eq!(std::fs::read(&file).unwrap(), whole);
            }
        }
        for length in 0..whole.len() {
            std::fs::write(&file, &whole[..length]).unwrap();
            assert_eq!(root.read().unwrap(), Some((2, b"two".to_vec())));
        }
    }
    for copy in ["root.0", "root.1"] {
        std::fs::write(dir.path().join(copy), b"rubbish").unwrap();
    }
    assert!(matches!(root.read(), Err(RootError::Damaged)));
}

#[test]
fn a_crash_at_any_step_of_a_write_leaves_the_old_value_or_the_new() {
    let mut crashes = 0;
    for step in 1..40 {
        for seed in 0..4 {
            let dir = tempfile::tempdir().unwrap();
            let faults = Faults::tracking();
            let root = RootFiles::named(dir.path(), "root", faults.clone());
            root.write(b"old").unwrap();
            faults.plan(None, step, 1, Fault::Crash);
            let written = root.write(b"new").is_ok();
            crashes += u64::from(faults.crashed());
            let loss = if seed == 0 {
                Loss::Everything
            } else {
                Loss::Some(Random(step * 8 + seed).below(1 << 30) as u64)
            };
            faults.lose_unsynced(loss).unwrap();
            let (_, value) = root.read().unwrap().unwrap();
            // INV-2: a write that returned is there.
            assert!(
                value == b"new" || (!written && value == b"old"),
                "step {step} seed {seed}"
            );
        }
    }
    assert!(crashes > 40, "{crashes}");
}
