//! Kernels by name: found in Debian's archives, unpacked into a cache, and found there again without a network.
//!
//! In the cache: `kernels/VERSION/` with `vmlinux` and `modules/`, complete or not there at all; `names/NAME` holds
//! the version that the name stood for when it was fetched.

use std::cmp::Ordering;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{Flock, FlockArg};

use crate::apt::{Apt, Suites};
use crate::hint::{hinted, program};
use crate::image;

/// The name of the newest one that Debian has for its current release.
pub const NEWEST: &str = "newest";

/// Where kernels come from. The first that has a version has its newest build.
const SUITES: &[Suites] = &[
    Suites { main: &["trixie-backports"], security: &[] },
    Suites { main: &["bookworm"], security: &["bookworm-security"] },
    Suites { main: &["bullseye"], security: &["bullseye-security"] },
];

/// How many builds are tried: an archive may list one that it does not have (yet).
const TRIES: usize = 3;

/// A kernel in the cache.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// What `uname -r` says in the guest.
    pub version: String,
    folder: PathBuf,
}

impl Kernel {
    /// The kernel itself.
    pub fn image(&self) -> PathBuf {
        self.folder.join("vmlinux")
    }

    /// The files of its modules in the order in which they are to be loaded.
    pub fn modules(&self) -> Result<Vec<PathBuf>> {
        let mut all: Vec<_> = entries(&self.folder.join("modules"))?;
        all.sort();
        Ok(all)
    }
}

/// All that were fetched.
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$GUEST_CACHE`, or in the user's cache.
    pub fn open() -> Result<Self> {
        let root = match (std::env::var_os("GUEST_CACHE"), std::env::var_os("HOME")) {
            (Some(root), _) => PathBuf::from(root),
            (None, Some(home)) => Path::new(&home).join(".cache/php-tracer-guests"),
            (None, None) => bail!(hinted("no place for kernels", "set GUEST_CACHE to a folder")),
        };
        for folder in ["kernels", "names"] {
            fs::create_dir_all(root.join(folder))
                .with_context(|| format!("cannot make the cache {}", root.display()))?;
        }
        Ok(Self { root })
    }

    /// The kernel of this name, fetched if it is not there yet.
    pub fn kernel(&self, name: &str) -> Result<Kernel> {
        check(name)?;
        if let Some(kernel) = self.cached(name) {
            return Ok(kernel);
        }
        eprintln!("xtask: fetching the kernel {name}, once");
        self.fetch(name)
    }

    /// The kernel of this name, if it is there.
    fn cached(&self, name: &str) -> Option<Kernel> {
        let version =
            fs::read_to_string(self.root.join("names").join(name)).unwrap_or_else(|_| name.to_owned());
        let folder = self.root.join("kernels").join(&version);
        folder.is_dir().then_some(Kernel { version, folder })
    }

    /// The versions that are there, each with the names that stand for it.
    pub fn list(&self) -> Result<Vec<(String, Vec<String>)>> {
        let mut all: Vec<_> =
            entries(&self.root.join("kernels"))?.iter().map(|path| file_name(path)).collect();
        all.sort_by(|a, b| compare(a, b));
        let mut names = Vec::new();
        for file in entries(&self.root.join("names"))? {
            let version =
                fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            names.push((file_name(&file), version));
        }
        names.sort();
        let of = |version: &String| {
            let own = names.iter().filter(|(_, v)| v == version);
            (version.clone(), own.map(|(name, _)| name.clone()).collect())
        };
        Ok(all.iter().map(of).collect())
    }

    /// Asks Debian for the newest kernel of this name, and fetches it if it is not there.
    pub fn fetch(&self, name: &str) -> Result<Kernel> {
        check(name)?;
        // One at a time; the lock is gone with whoever holds it.
        let file = File::create(self.root.join("lock")).context("cannot make the cache's lock")?;
        let _lock = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, e)| e)
            .context("cannot lock the cache")?;
        for left_over in entries(&self.root)?.iter().filter(|path| file_name(path).starts_with(UNPACKING)) {
            fs::remove_dir_all(left_over)
                .with_context(|| format!("cannot remove {}", left_over.display()))?;
        }
        let version = self.fetch_locked(name)?;
        self.remember(name, &version)?;
        Ok(Kernel { folder: self.root.join("kernels").join(&version), version })
    }

    fn fetch_locked(&self, name: &str) -> Result<String> {
        for suites in SUITES {
            let apt = Apt::update(suites)?;
            let names = apt.names("linux-")?;
            let mut failed = None;
            for version in versions(&names, name).into_iter().take(TRIES) {
                match self.unpack(&apt, &names, &version) {
                    Ok(()) => return Ok(version),
                    Err(error) => failed = Some(error.context(format!("cannot fetch Linux {version}"))),
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
        }
        let suites: Vec<_> = SUITES.iter().flat_map(|suites| suites.main).copied().collect();
        bail!(hinted(
            format!("no kernel {name} in Debian {}", suites.join(", ")),
            "name one by the beginning of its version, for example 6.12, or `newest`"
        ))
    }

    /// Unpacks a version beside the others, and puts it in its place when it is complete.
    fn unpack(&self, apt: &Apt, names: &[String], version: &str) -> Result<()> {
        let place = self.root.join("kernels").join(version);
        if place.is_dir() {
            return Ok(());
        }
        let work =
            tempfile::Builder::new().prefix(UNPACKING).tempdir_in(&self.root).context("cannot unpack")?;
        let (files, kernel) = (work.path().join("files"), work.path().join("kernel"));
        fs::create_dir(&files)?;
        fs::create_dir_all(kernel.join("modules"))?;
        // Newer kernels are split into packages, of which the first is empty then.
        let packages: Vec<_> = ["image", "binary", "modules"]
            .iter()
            .map(|part| format!("linux-{part}-{version}"))
            .filter(|package| names.contains(package))
            .collect();
        apt.download(&packages, work.path())?;
        for deb in entries(work.path())?.iter().filter(|path| path.extension().is_some_and(|e| e == "deb")) {
            let status = Command::new(program("dpkg-deb")?).arg("-x").args([deb, &files]).status();
            ensure!(status.context("cannot run dpkg-deb")?.success(), "cannot unpack {}", deb.display());
        }
        let first = |places: [String; 2]| {
            let paths = places.iter().map(|place| files.join(place));
            paths.into_iter().find(|path| path.exists()).with_context(|| format!("{} is missing", places[0]))
        };
        let modules = first([format!("usr/lib/modules/{version}"), format!("lib/modules/{version}")])?;
        let image = first([format!("boot/vmlinuz-{version}"), format!("usr/lib/modules/{version}/vmlinuz")])?;
        fs::write(kernel.join("vmlinux"), image::unpacked_kernel(&image)?).context("cannot write vmlinux")?;
        for (number, (name, content)) in image::modules(&modules)?.iter().enumerate() {
            fs::write(kernel.join(format!("modules/{number:02}-{name}.ko")), content)?;
        }
        fs::rename(&kernel, &place).with_context(|| format!("cannot make {}", place.display()))
    }

    fn remember(&self, name: &str, version: &str) -> Result<()> {
        if name == version {
            return Ok(());
        }
        let mut file = tempfile::NamedTempFile::new_in(&self.root).context("cannot note a name")?;
        std::io::Write::write_all(&mut file, version.as_bytes())?;
        file.persist(self.root.join("names").join(name)).context("cannot note a name")?;
        Ok(())
    }
}

const UNPACKING: &str = ".unpacking-";

fn check(name: &str) -> Result<()> {
    ensure!(is_name(name), hinted(format!("`{name}` names no kernel"), "name one like 6.12, or `newest`"));
    Ok(())
}

/// It is a file's name, too.
fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
    name == NEWEST || (name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(allowed))
}

/// The versions that a name may stand for, the newest first.
fn versions(packages: &[String], name: &str) -> Vec<String> {
    let mut all: Vec<_> = packages
        .iter()
        .filter_map(|package| package.strip_prefix("linux-image-"))
        .filter(|version| is_generic(version) && is_meant(version, name))
        .map(str::to_owned)
        .collect();
    all.sort_by(|a, b| compare(b, a));
    all
}

/// Not `cloud` (which has no 9p), not `rt`, not without a signature, no package that only depends on the newest.
fn is_generic(version: &str) -> bool {
    let rest = version.strip_suffix("-amd64").unwrap_or("-");
    rest.contains('.') && rest.split('-').all(|part| part.starts_with(|c: char| c.is_ascii_digit())) && {
        let numbers = rest.split(['.', '+', '-']).take_while(|part| part.parse::<u32>().is_ok());
        numbers.count() >= 3
    }
}

fn is_meant(version: &str, name: &str) -> bool {
    name == NEWEST
        || version.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '+']))
}

/// By their numbers.
fn compare(a: &str, b: &str) -> Ordering {
    let numbers = |version: &str| -> Vec<u32> {
        version.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
    };
    numbers(a).cmp(&numbers(b)).then_with(|| a.cmp(b))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let all = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    all.map(|entry| Ok(entry?.path())).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::{is_name, versions};

    fn of(names: &[&str], name: &str) -> Vec<String> {
        versions(&names.iter().map(|n| format!("linux-image-{n}")).collect::<Vec<_>>(), name)
    }

    const BOOKWORM: &[&str] = &[
        "6.1.0-9-amd64",
        "6.1.0-56-amd64",
        "6.1.0-56-amd64-unsigned",
        "6.1.0-56-cloud-amd64",
        "6.1.0-57-rt-amd64",
        "6.12-amd64",
        "6.12.9+deb12-amd64",
        "6.12.117+deb12-amd64",
        "6.12.118+deb12-cloud-amd64",
        "6.12.117+deb12-amd64-dbg",
        "amd64",
        "cloud-amd64",
    ];

    #[test]
    fn the_newest_generic_build_of_a_version_is_first() {
        assert_eq!(of(BOOKWORM, "6.1"), ["6.1.0-56-amd64", "6.1.0-9-amd64"]);
        assert_eq!(of(BOOKWORM, "6.12"), ["6.12.117+deb12-amd64", "6.12.9+deb12-amd64"]);
        assert_eq!(of(BOOKWORM, "newest")[0], "6.12.117+deb12-amd64");
        assert_eq!(of(BOOKWORM, "6.12.9+deb12-amd64"), ["6.12.9+deb12-amd64"]);
        assert!(
            of(BOOKWORM, "6").len() == 4
                && of(BOOKWORM, "6.11").is_empty()
                && of(BOOKWORM, "6.1.5").is_empty()
        );
        assert_eq!(of(&["6.1.0-0.deb11.49-amd64"], "6.1"), ["6.1.0-0.deb11.49-amd64"]);
    }

    #[test]
    fn a_name_is_no_path() {
        assert!(
            is_name("newest") && is_name("6.12") && is_name("6.1.0-56-amd64") && is_name("7.3.4+deb13-amd64")
        );
        assert!(
            !is_name("../6.1")
                && !is_name("")
                && !is_name("oldest")
                && !is_name("6/1")
                && !is_name("linux-6.1")
        );
    }
}
