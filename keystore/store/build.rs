//! Compiles etcd's API with protox for the feature `etcd`, so that no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    #[cfg(feature = "etcd")]
    tonic_prost_build::configure()
        .build_server(false)
        // Values are shared with the memory that they are kept in, not copied.
        .bytes(".")
        .compile_fds(protox::compile(["etcd.proto"], ["proto"])?)?;
    Ok(())
}
