//! A client that no one here wrote: gRPC's Python library, which learns by reflection what there is and calls it.

use std::path::Path;

use hsmd_tests::daemon::{self, Daemon};
use hsmd_tests::peers::succeed;

#[test]
fn a_generic_client_lists_and_calls_every_service() {
    let daemon = Daemon::start();
    let binaries = daemon::binaries();
    let python = binaries.parent().unwrap_or(Path::new(".")).join("venv/bin/python");
    assert!(
        python.exists(),
        "{} is missing: `cargo xtask setup` makes it",
        python.display()
    );
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/control/generic.py");
    let mut command = daemon.command(&python);
    succeed(command.envs(daemon.variables()).arg(script));
}
