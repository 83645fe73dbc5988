//! Compiles the C side.

fn main() -> anyhow::Result<()> {
    bpf::skeleton("phase1_user_kill")
}
