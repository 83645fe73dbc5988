//! PHP on this machine: installed and running.

use std::{
    collections::{BTreeSet, HashMap},
    env,
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::{introspect, live::Mapping, looks_like_php};

/// A process that runs PHP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Process id.
    pub pid: i32,
    /// A path that opens its executable: the file's own path where that is still this file, else one below
    /// `/proc/PID`, good while the process lives.
    pub exe: PathBuf,
    /// For a program that has PHP inside, a path that opens the library; else `None`.
    pub via_library: Option<PathBuf>,
}

const PROGRAM_DIRS: [&str; 9] = [
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/lib/cgi-bin",
    "/usr/libexec",
    "/opt/php/bin",
    "/opt/php/sbin",
    "/usr/local/lsws/fcgi-bin",
];

/// Parents of one directory a version, each with these below it.
const VERSIONED: [(&str, &str); 3] = [("/opt/remi", "php"), ("/opt/cpanel", "ea-php"), ("/opt", "php")];
const BELOW_VERSION: [&str; 8] = [
    "bin",
    "sbin",
    "lib",
    "lib64",
    "root/usr/bin",
    "root/usr/sbin",
    "root/usr/lib64",
    "root/usr/lib64/httpd/modules",
];

const LIBRARY_DIRS: [&str; 11] = [
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/apache2/modules",
    "/usr/lib64/apache2",
    "/usr/lib64/httpd/modules",
    "/usr/lib/httpd/modules",
    "/usr/local/apache2/modules",
    "/etc/httpd/modules",
];

/// The PHP images in the usual places and in `$PATH`, by canonical path, sorted.
pub fn discover() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let places = PROGRAM_DIRS.iter().chain(&LIBRARY_DIRS).map(PathBuf::from).chain(env::split_paths(&path));
    discover_in(places.chain(versioned()))
}

fn versioned() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (parent, prefix) in VERSIONED {
        let versions =
            names(Path::new(parent)).into_iter().filter(|n| n.as_bytes().starts_with(prefix.as_bytes()));
        for version in versions {
            let root = Path::new(parent).join(version);
            found.extend(BELOW_VERSION.iter().map(|below| root.join(below)));
        }
    }
    found
}

fn discover_in(directories: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut files = BTreeSet::new();
    for directory in directories.filter(|d| d.is_absolute()).collect::<BTreeSet<_>>() {
        let candidates = names(&directory).into_iter().filter(|n| is_candidate(n));
        files.extend(candidates.filter_map(|name| fs::canonicalize(directory.join(name)).ok()));
    }
    files.into_iter().filter(|file| introspect(file).is_ok()).collect()
}

fn names(directory: &Path) -> Vec<std::ffi::OsString> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect()
}

fn is_candidate(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(b"php") || name.starts_with(b"lsphp") || is_library_name(name)
}

fn is_library_name(name: &[u8]) -> bool {
    name.starts_with(b"libphp") && name.windows(3).any(|w| w == b".so")
}

/// The processes whose executable is a PHP image, or that have a `libphp*.so` mapped that is one; of those that
/// `filter` takes by process id. In the order of process ids. A statically linked PHP is not seen.
pub fn running(filter: impl Fn(i32) -> bool) -> Vec<Running> {
    let mut pids: Vec<i32> = names(Path::new("/proc"))
        .iter()
        .filter_map(|n| n.to_str()?.parse().ok())
        .filter(|pid| filter(*pid))
        .collect();
    pids.sort_unstable();
    pids.into_iter().filter_map(process).collect()
}

fn process(pid: i32) -> Option<Running> {
    let handle = PathBuf::from(format!("/proc/{pid}/exe"));
    let path = fs::read_link(&handle).ok()?; // none: a kernel thread, or gone
    let exe = openable(pid, &path, &handle);
    if is_php(&handle) {
        return Some(Running { pid, exe, via_library: None });
    }
    let maps = fs::read(format!("/proc/{pid}/maps")).ok()?;
    let mut libraries = maps
        .split(|b| *b == b'\n')
        .filter_map(Mapping::parse)
        .filter(|mapping| mapping.path.file_name().is_some_and(|name| is_library_name(name.as_bytes())));
    let library = libraries.find(|mapping| is_php(&mapping.handle(pid)))?;
    let via_library = Some(openable(pid, &library.path, &library.handle(pid)));
    Some(Running { pid, exe, via_library })
}

/// A path that opens what `handle` does: `path`, or `path` as the process sees it, or the handle itself.
fn openable(pid: i32, path: &Path, handle: &Path) -> PathBuf {
    let id = |path: &Path| fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    let wanted = id(handle);
    let inside = Path::new(&format!("/proc/{pid}/root")).join(path.strip_prefix("/").unwrap_or(path));
    [path, &inside].into_iter().find(|p| wanted.is_some() && id(p) == wanted).unwrap_or(handle).to_path_buf()
}

/// Device, inode, size, change time: a file that is changed or replaced is looked at again.
type Key = (u64, u64, u64, i64, i64);

fn is_php(path: &Path) -> bool {
    static KNOWN: Mutex<Option<HashMap<Key, bool>>> = Mutex::new(None);
    let Ok(meta) = fs::metadata(path) else { return false };
    let key = (meta.dev(), meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec());
    let known = |map: &mut Option<HashMap<Key, bool>>| map.get_or_insert_default().get(&key).copied();
    if let Some(answer) = known(&mut KNOWN.lock().unwrap_or_else(PoisonError::into_inner)) {
        return answer;
    }
    let answer = looks_like_php(path).unwrap_or(false);
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().insert(key, answer);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_by_name() {
        for yes in
            ["php", "php8.2", "php-fpm8.2", "php-cgi", "lsphp", "libphp.so", "libphp8.2.so", "libphp.so.8"]
        {
            assert!(is_candidate(OsStr::new(yes)), "{yes}");
        }
        for no in ["python3", "libphonenumber.so", "libphp", "xphp"] {
            assert!(!is_candidate(OsStr::new(no)), "{no}");
        }
    }
}
