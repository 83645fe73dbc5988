//! Compiles the C side.

fn main() -> anyhow::Result<()> {
    bpf::skeleton("phase2_kernel_kill")
}
