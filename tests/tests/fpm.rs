//! .

fn main() {
    e2e::suite::main(vec![])
}
