//! Scripts that have changed since the profile was learnt: what was granted to their code is granted to other code now.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use glob::Pattern;
use sha2::{Digest, Sha256};
use shared::profile::{Profile, Root, Script};
use shared::site::escape;

use crate::consumer::Message;
use crate::files::open;
use crate::queue::ToReporter;
use crate::say;

/// How many of them the line for people names.
const NAMED: usize = 3;
/// How long the end of a session waits for a look: files may lie where nobody answers.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was found.
pub struct Drift {
    /// Checksum of the profile.
    pub profile: String,
    /// How many scripts it has, but for generated ones.
    pub scripts: usize,
    /// Files that differ from what was learnt.
    pub changed: Vec<PathBuf>,
}

/// A look at scripts, under way or done.
pub struct Look {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
}

impl Look {
    /// Looks in a thread of its own, for there may be thousands, and has the reporter tell.
    ///
    /// `checksum`: the profile's.
    pub fn begin(profile: &Profile, checksum: &str, to: &ToReporter) -> Option<Self> {
        let scripts: Vec<Script> = profile.protected().cloned().collect();
        let (roots, checksum, to) = (profile.roots.clone(), checksum.to_owned(), to.clone());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let looking = move || {
            let folders = folders_of(&roots);
            let looked_at = scripts.iter().take_while(|_| !stopped.load(Ordering::Relaxed));
            let changed: Vec<PathBuf> = looked_at.flat_map(|script| changed(script, &folders)).collect();
            if !changed.is_empty() {
                to.send(Message::Drift(Drift { profile: checksum, scripts: scripts.len(), changed }));
            }
        };
        let spawned = thread::Builder::new().name("drift".into()).spawn(looking);
        let not_known = |error: &io::Error| {
            say(&format!(
                "warning: whether scripts have changed since they were learnt is not known: {error}"
            ));
        };
        spawned.inspect_err(not_known).ok().map(|thread| Self { thread, stop })
    }

    /// Whether it is over.
    pub fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    /// Also of a command that was over at once it is told what has changed; but nobody waits for long.
    pub fn end(self) {
        let since = Instant::now();
        while !self.is_done() && since.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(5));
        }
        if self.is_done() {
            let _ = self.thread.join();
            return;
        }
        self.stop.store(true, Ordering::Relaxed);
        say(
            "warning: not all scripts were looked at: whether they have changed since they were learnt is not known",
        );
    }
}

/// Folders that a root stands for now, by its name.
type Folders = HashMap<String, Vec<PathBuf>>;

fn folders_of(roots: &[Root]) -> Folders {
    let of = |root: &Root| root.patterns.iter().flat_map(|pattern| matching(pattern)).collect();
    roots.iter().map(|root| (root.name.clone(), of(root))).collect()
}

/// Its files, one in each folder that its root stands for, that are not what was learnt.
fn changed(script: &Script, folders: &Folders) -> Vec<PathBuf> {
    paths(&script.file, folders).into_iter().filter(|path| differs(path, script)).collect()
}

/// What is not there runs for nobody; in a container it may be, where only its processes see it. What cannot be read may
/// differ.
fn differs(path: &Path, script: &Script) -> bool {
    let file = match open(path, None) {
        Ok(file) => file,
        Err(error) => return !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
    };
    match file.metadata() {
        Ok(about) if !about.is_file() => false,
        Ok(about) if about.len() == script.size => {
            !digest(file, script.size).is_ok_and(|digest| digest == script.sha256)
        }
        _ => true,
    }
}

/// It may grow meanwhile.
fn digest(file: File, size: u64) -> io::Result<[u8; 32]> {
    let mut digest = Sha256::new();
    io::copy(&mut file.take(size + 1), &mut digest)?;
    Ok(digest.finalize().into())
}

fn paths(stored: &[u8], folders: &Folders) -> Vec<PathBuf> {
    if stored.starts_with(b"/") {
        return vec![PathBuf::from(OsStr::from_bytes(stored))];
    }
    let Some(colon) = stored.iter().position(|byte| *byte == b':') else { return Vec::new() };
    let relative = OsStr::from_bytes(&stored[colon + 1..]);
    let folders = std::str::from_utf8(&stored[..colon]).ok().and_then(|root| folders.get(root));
    folders.into_iter().flatten().map(|folder| folder.join(relative)).collect()
}

/// What is there, of a root's pattern.
fn matching(pattern: &[u8]) -> Vec<PathBuf> {
    let Ok(pattern) = std::str::from_utf8(pattern) else { return Vec::new() };
    let mut characters = pattern.chars();
    let mut as_glob = String::new();
    while let Some(character) = characters.next() {
        let literal = match character {
            '*' => {
                as_glob.push('*');
                continue;
            }
            '\\' => characters.next(),
            other => Some(other),
        };
        as_glob.extend(literal.map(|literal| Pattern::escape(&literal.to_string())));
    }
    glob::glob(&as_glob).map_or_else(|_| Vec::new(), |found| found.flatten().collect())
}

impl std::fmt::Display for Drift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named = self.changed.iter().take(NAMED).map(|path| escape(path.as_os_str().as_bytes()));
        let named = named.collect::<Vec<_>>().join(", ");
        let more = match self.changed.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        write!(
            f,
            "notice: {} file(s) of the profile's {} scripts have changed since they were learnt: {named}{more}; \
             what they may do has not: learn again, or review them",
            self.changed.len(),
            self.scripts
        )
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn script(file: &str, content: &str) -> Script {
        let sha256 = Sha256::digest(content).into();
        Script { file: file.into(), device: 0, inode: 0, size: content.len() as u64, sha256 }
    }

    fn found(script: &Script, roots: &[Root]) -> Vec<PathBuf> {
        let mut found = changed(script, &folders_of(roots));
        found.sort();
        found
    }

    #[test]
    fn a_script_is_told_by_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.php");
        let learnt = script(path.to_str().unwrap(), "<?php a();");
        assert_eq!(found(&learnt, &[]), Vec::<PathBuf>::new(), "it is not there");
        fs::write(&path, "<?php a();").unwrap();
        assert_eq!(found(&learnt, &[]), Vec::<PathBuf>::new(), "another file, the same content");
        for other in ["<?php b();", "<?php a();\n", ""] {
            fs::write(&path, other).unwrap();
            assert_eq!(found(&learnt, &[]), std::slice::from_ref(&path), "{other:?}");
        }
        fs::remove_file(&path).unwrap();
        symlink("/dev/zero", &path).unwrap();
        assert_eq!(
            found(&learnt, &[]),
            Vec::<PathBuf>::new(),
            "no script any more, and never read to its end"
        );
    }

    #[test]
    fn a_root_stands_for_each_folder_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("re[l]*eases");
        for (release, content) in [("1", "as learnt"), ("2", "not so.."), ("3", "as learnt")] {
            fs::create_dir_all(base.join(release)).unwrap();
            fs::write(base.join(release).join("a.php"), content).unwrap();
        }
        fs::create_dir(base.join("4")).unwrap();
        fs::create_dir_all(folder.path().join("re[l]-eases/1")).unwrap();
        fs::write(folder.path().join("re[l]-eases/1/a.php"), "of another folder").unwrap();
        let escaped = base.display().to_string().replace('*', r"\*");
        let root = Root::parse(&format!("app={escaped}/*")).unwrap();
        let learnt = script("app:a.php", "as learnt");
        assert_eq!(found(&learnt, std::slice::from_ref(&root)), [base.join("2/a.php")]);
        assert_eq!(found(&script("other:a.php", "as learnt"), &[root]), Vec::<PathBuf>::new());
    }

    #[test]
    fn people_are_told_a_few_names() {
        let drift = |n| {
            let changed = (0..n).map(|i| PathBuf::from(format!("/{i}\n.php"))).collect();
            Drift { profile: String::new(), scripts: 9, changed }.to_string()
        };
        assert!(drift(1).contains("1 file(s) of the profile's 9 scripts"), "{}", drift(1));
        assert!(drift(1).contains(r"learnt: /0\n.php;"), "{}", drift(1));
        assert!(drift(3).contains(r"/2\n.php;") && !drift(3).contains("more"), "{}", drift(3));
        assert!(drift(5).contains(r"/2\n.php and 2 more;"), "{}", drift(5));
    }
}
