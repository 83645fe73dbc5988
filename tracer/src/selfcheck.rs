//! Whether the offsets fit: each image is checked on a process of it that runs PHP code.
//!
//! Patch releases do change PHP's structures. Where the check fails, every site of the image is `{unknown}` from
//! then on: its processes are not released (fails closed). Each walk checks types, lengths and ranges besides, so
//! a process too short for this check is not believed blindly.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use introspect::{Image, SelfCheck};
use libbpf_rs::MapHandle;

use crate::images::{Images, processes};

/// What a check came to.
#[derive(Debug, PartialEq, Eq)]
enum Checked {
    /// The structures are what they must be.
    Fits,
    /// It ended, or no PHP code ran at that moment.
    NotYet,
    /// They are not.
    Fails(String),
}

/// The checks of a session.
#[derive(Default)]
pub struct SelfChecks {
    done: HashSet<u32>,
    /// Processes in which an image's check failed.
    suspects: HashMap<u32, HashSet<u32>>,
    /// The last look for such processes, and how long until the next one.
    looked: Option<Instant>,
    pause: Duration,
}

/// Between two looks, at most: an image may have no process for days, and each look is system calls on maps, amid
/// which newer kernels skip programs of perf's tracepoints.
const PAUSE: Duration = Duration::from_millis(100);

/// As many processes must fail, and none pass, before an image is given up: one may be broken by itself.
const PROOF: usize = 2;

impl SelfChecks {
    /// Checks images that have a process and were not checked yet; what people should know.
    pub fn run(&mut self, images: &Images, procs: &MapHandle) -> Vec<String> {
        if images.known().iter().all(|k| self.done.contains(&k.id)) {
            return Vec::new();
        }
        if self.looked.is_some_and(|looked| looked.elapsed() < self.pause) {
            return Vec::new();
        }
        self.looked = Some(Instant::now());
        self.pause = (self.pause * 2).clamp(Duration::from_millis(20), PAUSE);
        let mut told = Vec::new();
        for (pid, process) in processes(procs) {
            let Some(known) = images.get(process.image) else { continue }; // 0 is none's number
            if self.done.contains(&known.id) {
                continue;
            }
            match check(&known.image, pid) {
                Checked::NotYet => {}
                Checked::Fits => {
                    self.done.insert(known.id);
                }
                Checked::Fails(why) => {
                    let suspects = self.suspects.entry(known.id).or_default();
                    suspects.insert(pid);
                    if suspects.len() < PROOF {
                        continue;
                    }
                    self.done.insert(known.id);
                    let path = known.image.path.display();
                    told.push(format!("warning: the self-check of {path} failed: {why}; its sites are {{unknown}} from now on"));
                    if let Err(error) = images.fail(known.id) {
                        told.push(format!("warning: the kernel side was not told: {error:#}"));
                    }
                }
            }
        }
        told
    }
}

fn check(image: &Image, pid: u32) -> Checked {
    if image.zts {
        return Checked::NotYet; // would stop its threads; each walk checks what it reads
    }
    let pid = pid as i32;
    let Ok(Some(bias)) = introspect::load_bias(pid, image) else { return Checked::NotYet };
    match introspect::verify_live(pid, image, bias) {
        Ok(SelfCheck::Ok { .. }) => Checked::Fits,
        Ok(SelfCheck::Idle) => Checked::NotYet,
        Err(_) if !Path::new(&format!("/proc/{pid}/exe")).exists() => Checked::NotYet,
        Err(why) => Checked::Fails(why),
    }
}
