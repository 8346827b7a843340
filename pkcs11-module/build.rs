//! Links the library so that `dlclose` leaves it in memory: destructors of thread-local values would otherwise run in
//! unmapped code (rust-lang/rust#59629, #91979).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
