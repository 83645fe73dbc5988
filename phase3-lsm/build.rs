//! Compiles the C side.

fn main() -> anyhow::Result<()> {
    bpf::skeletons(&["phase3_rewrite", "phase3_lsm", "phase3_lsm_decider"])
}
