//! Every attempt of `tests/bypass/` under the strategy of `$TRACER` (`LSM=1`: with `--lsm`): it works where nobody
//! watches, its learnt twin works in the sandbox without a violation, and as an attack it does no more than its header
//! says. Effects are counted: files that are gone, bytes that came, signals that were taken.
//!
//! Learning and sandbox are one session each for all attempts. A filter on the command line is one for attempts, too.

mod bypass {
    pub mod pool;
    pub mod trap;
    pub mod world;
}

use e2e::session::kernel_kill;
use e2e::suite::test;

use bypass::world::{Results, results};

fn main() {
    if std::env::var_os("TRACER").is_none() {
        // SAFETY: there is no other thread yet.
        unsafe { std::env::set_var("TRACER", kernel_kill()) };
    }
    // Who is not root is told so by the suite.
    if nix::unistd::geteuid().is_root() {
        e2e::suite::own_pins_and_sockets();
    }
    let filters: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted =
        |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    let names: Vec<String> =
        e2e::bypass::all().into_iter().map(|attempt| attempt.name).filter(|name| wanted(name)).collect();
    let listed = names.clone();
    let pool = test("php_fpm_a_taint_ends_with_its_request_or_with_a_reload", bypass::pool::taints);
    let own_pool =
        test("php_fpm_its_own_pool_asked_to_prepend_an_upload_does_nothing_for_it", bypass::pool::own_pool);
    let fresh_worker =
        test("php_fpm_a_worker_that_served_nothing_yet_is_not_its_master", bypass::pool::fresh_worker);
    let attempts = names.iter().enumerate().map(|(index, name)| {
        let listed = listed.clone();
        test(name, move || check(results(&listed), index))
    });
    e2e::suite::main(attempts.chain([pool, own_pool, fresh_worker]).collect())
}

/// Panics with all that is wrong about one attempt.
fn check(results: &Results, index: usize) {
    let ran = &results.all[index];
    assert!(ran.wrong.is_empty(), "{}", ran.wrong.join("\n"));
}
