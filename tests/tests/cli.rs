//! The end-to-end suite of php-cli. What is about a kernel that is too old is run, and is all that is run, on one.

mod cli {
    pub mod attacks;
    pub mod bad_data;
    pub mod context;
    pub mod control;
    pub mod demonstration;
    pub mod descendants;
    pub mod doctor;
    pub mod errors;
    pub mod golden;
    pub mod learning;
    pub mod live;
    pub mod namespaces;
    pub mod place;
    pub mod reviewed;
    pub mod statuses;
    pub mod usdt;
    pub mod wrappers;
}

fn main() {
    if cli::doctor::is_too_old() {
        e2e::suite::main(cli::doctor::too_old())
    }
    let all = [
        cli::golden::tests(),
        cli::attacks::tests(),
        cli::learning::tests(),
        cli::descendants::tests(),
        cli::namespaces::tests(),
        cli::statuses::tests(),
        cli::errors::tests(),
        cli::doctor::tests(),
        cli::bad_data::tests(),
        cli::reviewed::tests(),
        cli::usdt::tests(),
        cli::control::tests(),
        cli::live::tests(),
        cli::wrappers::tests(),
        cli::context::tests(),
        cli::demonstration::tests(),
    ];
    e2e::suite::main(all.into_iter().flatten().collect())
}
