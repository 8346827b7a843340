//! Cross-process tests: real clients against the daemon and the module, one folder per front. They need the binaries
//! (HSMD_BIN_DIR) and the peer programs; `cargo xtask ci` brings both. Tests of one crate's own logic are in that crate.
#![expect(clippy::expect_used, reason = "in a test a failed step is a failed test")]

mod applications;
mod attacks;
mod audit;
mod aws;
mod backup;
mod cli;
mod control;
mod disk;
mod docs;
mod etcd;
mod fork;
mod frames;
mod full_disk;
mod functions;
mod groups;
mod hostile;
mod identity;
mod io_sweep;
mod java;
mod kill_storm;
mod leak_scan;
mod library;
mod login_kills;
mod memory;
mod model;
mod nginx;
mod nss;
mod openssh;
mod openssl_engine;
mod oracle;
mod p11_kit;
mod p11tool;
mod pin_storm;
mod pkcs11_tool;
mod programs;
mod python;
mod quantum;
mod remote;
mod restart;
mod service;
mod softhsm_util;
mod strace;
mod sweeps;
mod token_objects;
