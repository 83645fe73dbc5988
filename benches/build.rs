//! Compiles the programs that the tracer is compared with.

fn main() -> anyhow::Result<()> {
    // An absolute name stands for itself.
    bpf::skeleton(concat!(env!("CARGO_MANIFEST_DIR"), "/src/empty"))
}
