//! What the profile's scripts and the tracer's own files are as files, for the kernel side: there another name of one (a
//! hard link) is told by that. The map is filled again and again, since scripts are replaced while everything
//! runs.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use libbpf_rs::{MapCore, MapHandle};
use shared::intf;
use shared::policy::Policy;

use crate::follow::{FileId, file_at, only_name};
use crate::kernel::{Kernel, bytes_of, read_as};
use crate::maps::MapCalls;
use crate::protect::{LOOK_AGAIN, scripts_of};

/// Descriptors that are open at once.
const BATCH: usize = 256;

/// The map `protected_files`, and what is in it.
pub struct ProtectedFiles {
    map: MapHandle,
    own: Vec<PathBuf>,
    names: Vec<PathBuf>,
    known: HashMap<FileId, intf::file_key>,
    looked: Instant,
    pause: Duration,
}

impl ProtectedFiles {
    /// Of this profile, and the tracer's at `own`; what the map has of an earlier session's is removed.
    pub fn new(kernel: &mut Kernel, policy: &Policy, own: Vec<PathBuf>) -> Result<Self> {
        let map = kernel.map("protected_files")?;
        let (names, known) = (Vec::new(), HashMap::new());
        let mut files = Self { map, own, names, known, looked: Instant::now(), pause: LOOK_AGAIN };
        files.swap(kernel, policy)?;
        let wanted: HashSet<(u64, u64)> = files.known.values().map(|key| (key.dev, key.ino)).collect();
        for key in files.map.keys().collect::<Vec<_>>() {
            if read_as::<intf::file_key>(&key).is_none_or(|k| !wanted.contains(&(k.dev, k.ino))) {
                files.map.remove(&key)?;
            }
        }
        Ok(files)
    }

    /// Another profile's.
    pub fn swap(&mut self, kernel: &mut Kernel, policy: &Policy) -> Result<()> {
        self.names = scripts_of(policy).map(Path::to_owned).chain(self.own.iter().cloned()).collect();
        self.look(kernel)
    }

    /// Looks again, if that is due.
    pub fn refresh(&mut self, kernel: &mut Kernel) -> Result<()> {
        if self.looked.elapsed() < self.pause { Ok(()) } else { self.look(kernel) }
    }

    fn look(&mut self, kernel: &mut Kernel) -> Result<()> {
        let began = Instant::now();
        let there: HashMap<FileId, &PathBuf> =
            self.names.iter().filter_map(|name| Some((file_at(name)?, name))).collect();
        let gone: Vec<FileId> = self.known.keys().filter(|id| !there.contains_key(id)).copied().collect();
        let new: Vec<&PathBuf> =
            there.iter().filter(|(id, _)| !self.known.contains_key(id)).map(|(_, name)| *name).collect();
        for batch in new.chunks(BATCH) {
            // What is there by now.
            let files: Vec<File> =
                batch.iter().filter_map(|name| only_name(name).ok()).map(File::from).collect();
            for (file, key) in files.iter().zip(kernel.file_keys(&files)?) {
                let (Some(key), Ok(about)) = (key, file.metadata()) else { continue };
                self.map.put(bytes_of(&key), &1u32.to_ne_bytes())?;
                self.known.insert((about.dev(), about.ino()), key);
            }
        }
        for id in gone {
            if let Some(key) = self.known.remove(&id) {
                let _ = self.map.remove(bytes_of(&key));
            }
        }
        self.looked = Instant::now();
        // A fiftieth of a processor at most, however many there are.
        self.pause = LOOK_AGAIN.max(began.elapsed() * 50);
        Ok(())
    }
}
