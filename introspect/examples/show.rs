//! Prints what is known of PHP images: `show [FILE]...`, by default of those that [`introspect::discover`] finds.

use std::{path::PathBuf, process::ExitCode};

use introspect::{Image, discover, introspect};

fn main() -> ExitCode {
    let mut paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if paths.is_empty() {
        paths = discover();
    }
    let mut status = ExitCode::SUCCESS;
    for path in paths {
        match introspect(&path) {
            Ok(image) => print(&image),
            Err(error) => {
                eprintln!("{error}\nHint: {}", error.hint());
                status = ExitCode::FAILURE;
            }
        }
    }
    status
}

fn print(image: &Image) {
    println!("{}", image.path.display());
    println!("  sapi              {}{}", image.sapi, if image.is_library { " (library)" } else { "" });
    println!("  version           {} ({})", image.version.as_deref().unwrap_or("?"), image.minor);
    println!("  build             {}", image.abi);
    println!("  build id          {}", image.build_id.as_deref().unwrap_or("-"));
    println!("  executor_globals  {:x?}", image.executor_globals);
    println!("  sapi_globals      {:x?}", image.sapi_globals);
    println!("  first_exec_vaddr  {:#x}", image.first_exec_vaddr);
    println!("  base_vaddr        {:#x}", image.base_vaddr);
    println!("  symbols           {:x?}", image.symbols);
    println!("  offsets           {:?}", image.offsets);
    for probe in &image.usdt {
        let semaphore = probe.semaphore;
        println!(
            "  usdt              {}:{} {:#x} semaphore {semaphore:#x} {}",
            probe.provider, probe.name, probe.location, probe.args
        );
    }
}
