//! Compiles the programs by which `--doctor` finds out what the kernel can do.

fn main() -> anyhow::Result<()> {
    bpf::skeleton("probe")
}
