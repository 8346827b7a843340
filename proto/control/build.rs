//! Compiles the control-plane services with protox, so that no `protoc` is needed.

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = [
        "cloudhsm.proto",
        "admin.proto",
        "records.proto",
        "backup.proto",
        "identity.proto",
        "audit.proto",
        "fleet.proto",
    ];
    let descriptors = protox::compile(files, ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("hsmd_control.bin"), descriptors.encode_to_vec())?;
    // Values of records must not get into a log by way of a `{:?}`, nor PINs or the keys of backups; `src/records_debug.rs`,
    // `src/pin.rs` and `src/backup_debug.rs` have what is shown instead.
    let silent = [
        ".hsmd.admin.v1.Pin",
        ".hsmd.backup.v1.Key",
        ".hsmd.backup.v1.OfficerPin",
        ".hsmd.records.v1.Record",
        ".hsmd.records.v1.PutRequest",
        ".hsmd.records.v1.PutOperation",
    ];
    tonic_prost_build::configure()
        .skip_debug(silent)
        .compile_fds(descriptors)?;
    Ok(())
}
