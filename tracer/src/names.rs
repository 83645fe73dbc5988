//! What records call by a hash: sites, paths and origins, as the kernel side named them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use anyhow::Result;
use libbpf_rs::{MapCore, MapHandle};
use shared::intf;
use shared::site::{Name, OriginEntry, Site, file_of};

use crate::kernel::{Kernel, read_as};
use crate::maps::MapCalls;
use crate::priority::unpreempted;

/// A keyed 128-bit hash of the kernel side.
pub type Id = (u64, u64);

/// The id in a record.
pub fn id(hash: intf::hash128) -> Id {
    (hash.lo, hash.hi)
}

/// No site, no sink, no origin.
pub const NONE: Id = (0, 0);

/// How many names of a kind are kept for good. The kernel side marks half as many, of all kinds, as told; what comes
/// after those it tells again each time, just before what refers to it.
pub const KEPT: usize = 2 * intf::SITES_MAX as usize;
/// How many are kept beyond: of all tasks' records the last.
const PASSING: usize = 8192;

/// What was told by its id: whoever names things without end has the last of them here, and no more.
struct Told<T> {
    all: HashMap<Id, T>,
    passing: VecDeque<Id>,
}

impl<T> Default for Told<T> {
    fn default() -> Self {
        Self { all: HashMap::new(), passing: VecDeque::new() }
    }
}

impl<T> Told<T> {
    fn get(&self, id: Id) -> Option<&T> {
        self.all.get(&id)
    }

    fn insert(&mut self, id: Id, told: T) {
        if self.all.insert(id, told).is_some() || self.all.len() <= KEPT {
            return;
        }
        self.passing.push_back(id);
        if self.passing.len() > PASSING
            && let Some(oldest) = self.passing.pop_front()
        {
            self.all.remove(&oldest);
        }
    }
}

/// Names that were told so far.
#[derive(Default)]
pub struct Names {
    sites: Told<Arc<Site>>,
    files: Told<Name>,
    paths: Told<Name>,
    origins: Told<Arc<[OriginEntry]>>,
}

impl Names {
    /// What an earlier session's kernel side has kept: origins and their sites. Everything else is told again, because
    /// nothing is marked as told any more.
    pub fn recall(&mut self, kernel: &mut Kernel) -> Result<()> {
        let entries = |map: &MapHandle| -> Vec<(Vec<u8>, Vec<u8>)> {
            let value = |key: Vec<u8>| Some((map.get(&key).ok()??, key));
            unpreempted(|| map.keys().filter_map(value).map(|(value, key)| (key, value)).collect())
        };
        for (key, value) in entries(&kernel.map("site_names")?) {
            if let (Some(hash), Some(name)) = (read_as(&key), read_as::<intf::site_name>(&value)) {
                self.name_told(id(hash), &name);
            }
        }
        let mut links: Vec<(intf::hash128, intf::origin_link)> = entries(&kernel.map("origins")?)
            .iter()
            .filter_map(|(key, value)| Some((read_as(key)?, read_as(value)?)))
            .collect();
        links.sort_by_key(|(_, link)| link.depth);
        for (origin, link) in links {
            self.origin_told(&intf::rec_origin {
                origin,
                parent: link.parent,
                site: link.site,
                sink: link.sink,
                ..Default::default()
            });
        }
        for pid in kernel.map("procs")?.keys().filter_map(|key| read_as::<u32>(&key)) {
            self.recall_program(kernel, pid)?;
        }
        let told = kernel.map("sites")?;
        for key in told.keys().collect::<Vec<_>>() {
            let _ = told.remove(&key);
        }
        Ok(())
    }

    /// The program of a process that runs: `/proc` has it still.
    fn recall_program(&mut self, kernel: &mut Kernel, pid: u32) -> Result<()> {
        let Some(value) = kernel.map("procs")?.get(&pid.to_ne_bytes())? else {
            return Ok(());
        };
        if let (Some(process), Ok(exe)) =
            (read_as::<intf::proc_>(&value), std::fs::read_link(format!("/proc/{pid}/exe")))
        {
            self.paths.insert(id(process.program), exe.as_os_str().as_encoded_bytes().into());
        }
        Ok(())
    }

    /// Learns a site, or the file of a frame.
    pub fn site_told(&mut self, record: &intf::rec_site) {
        self.name_told(id(record.hash), &record.name);
    }

    fn name_told(&mut self, id: Id, name: &intf::site_name) {
        match file_of(name) {
            Some(file) => self.files.insert(id, file),
            None => self.sites.insert(id, Arc::new(Site::from_raw(name))),
        }
    }

    /// Learns a program or a script. One that was truncated is never granted: the record's process says so.
    pub fn path_told(&mut self, record: &intf::rec_path) {
        let len = (record.len as usize).min(record.path.len());
        let bytes: Vec<u8> = record.path[..len].iter().map(|c| *c as u8).collect();
        self.paths.insert(id(record.hash), bytes.into());
    }

    /// Learns an origin: its parent's entries and one more.
    pub fn origin_told(&mut self, record: &intf::rec_origin) {
        let mut entries = self.origin(id(record.parent)).to_vec();
        entries.push(OriginEntry {
            site: (*self.site(id(record.site))).clone(),
            sink: self.sink(id(record.sink)),
        });
        self.origins.insert(id(record.origin), entries.into());
    }

    /// All sites that were told.
    pub fn sites(&self) -> impl Iterator<Item = (Id, &Site)> {
        self.sites.all.iter().map(|(id, site)| (*id, &**site))
    }

    /// All files of frames that were told.
    pub fn files(&self) -> impl Iterator<Item = (Id, &Name)> {
        self.files.all.iter().map(|(id, file)| (*id, file))
    }

    /// The file of a frame; `None` where it was never told.
    pub fn file(&self, id: Id) -> Option<&Name> {
        self.files.get(id)
    }

    /// The site; `{unknown}` where it was never told (fails closed).
    pub fn site(&self, id: Id) -> Arc<Site> {
        self.sites.get(id).cloned().unwrap_or_else(|| Arc::new(Site::unknown()))
    }

    /// The name of a sink: `unlink`, `ZipArchive::extractTo`.
    pub fn sink(&self, id: Id) -> Option<Name> {
        let site = self.sites.get(id)?;
        let function = site.function.as_ref()?;
        Some(match &site.class {
            Some(class) => [class.as_bytes(), b"::", function.as_bytes()].concat().into(),
            None => function.clone(),
        })
    }

    /// The path; `None` where there is none.
    pub fn path(&self, id: Id) -> Option<Name> {
        self.paths.get(id).cloned()
    }

    /// The entries; none for a task that is no descendant. One that was never told is `{unknown}`, which nothing
    /// is granted to: an empty origin would mean the started command (fails closed).
    pub fn origin(&self, id: Id) -> Arc<[OriginEntry]> {
        if id == NONE {
            return Arc::from([]);
        }
        self.origins
            .get(id)
            .cloned()
            .unwrap_or_else(|| Arc::from([OriginEntry { site: Site::unknown(), sink: None }]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_that_was_lost_is_unknown() {
        let mut names = Names::default();
        assert!(names.origin(NONE).is_empty());
        assert_eq!(names.origin((1, 2))[0].site, Site::unknown());
        let told = intf::rec_origin {
            origin: intf::hash128 { lo: 5, hi: 6 },
            parent: intf::hash128 { lo: 1, hi: 2 },
            ..Default::default()
        };
        names.origin_told(&told);
        assert_eq!(names.origin((5, 6)).len(), 2);
        assert_eq!(names.origin((5, 6))[0].site, Site::unknown());
    }

    #[test]
    fn of_names_without_end_the_first_and_the_last_are_known() {
        let mut told = Told::default();
        let all = (KEPT + 3 * PASSING) as u64;
        for n in 1..=all {
            told.insert((n, 0), n);
            told.insert((n, 0), n);
            assert_eq!(told.get((n, 0)), Some(&n));
        }
        assert_eq!(told.all.len(), KEPT + PASSING);
        assert_eq!(told.get((KEPT as u64, 0)), Some(&(KEPT as u64)));
        assert_eq!(told.get((all + 1 - PASSING as u64, 0)), Some(&(all + 1 - PASSING as u64)));
        assert_eq!(told.get((all - PASSING as u64, 0)), None);
        assert!(told.passing.len() <= PASSING);
    }
}
