//! The libFuzzer driver: one program for all targets, built and started by `cargo xtask fuzz`. `HSMD_FUZZ_TARGET` names the
//! target; `HSMD_FUZZ_SEEDS` a folder that gets its seeds. The options are libFuzzer's own.
#![no_main]
#![expect(clippy::expect_used, reason = "a fuzzer without its target must not run")]

use std::path::PathBuf;
use std::sync::OnceLock;

use hsmd_fuzz::{Target, find};
use libfuzzer_sys::fuzz_target;

fn target() -> &'static Target {
    static TARGET: OnceLock<&'static Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("HSMD_FUZZ_TARGET").expect("HSMD_FUZZ_TARGET: `cargo xtask fuzz NAME` sets it");
        find(&name).expect("a target of that name: `cargo xtask fuzz --list`")
    })
}

fn write_seeds() {
    let Some(folder) = std::env::var_os("HSMD_FUZZ_SEEDS").map(PathBuf::from) else {
        return;
    };
    for (number, seed) in (target().seeds)().iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number}")), seed).expect("the folder of seeds");
    }
}

fuzz_target!(init: write_seeds(), |data: &[u8]| {
    (target().run)(data);
});
