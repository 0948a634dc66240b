//! Links the program at a fixed address. A position-independent executable has its relocations written by the dynamic
//! linker at every start, and every page of them is private memory of every process: half a megabyte for a resident
//! shim. Libraries, stack and heap stay where the kernel randomly puts them.

fn main() {
    println!("cargo:rustc-link-arg-bins=-no-pie");
    println!("cargo:rerun-if-changed=build.rs");
}
