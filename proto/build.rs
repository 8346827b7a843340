//! Compiles the data-plane messages with protox, so that no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/hsmd_data.proto");
    let descriptors = protox::compile(["hsmd_data.proto"], ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("hsmd_data.bin"), protox_bytes(&descriptors))?;
    prost_build::Config::new()
        // Data-plane messages are never printed.
        .skip_debug(["."])
        .extern_path(".hsmd.data.v1.Attribute", "crate::value::Attribute")
        .compile_fds(descriptors)?;
    Ok(())
}

fn protox_bytes(descriptors: &prost_types::FileDescriptorSet) -> Vec<u8> {
    use prost::Message as _;
    descriptors.encode_to_vec()
}
