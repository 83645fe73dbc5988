//! The kernel sides: opened, configured, loaded.

use std::ffi::{CStr, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result};
use libbpf_rs::btf::{Btf, types};
use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{Link, Object, OpenObject, ProgramAttachType, ProgramMut, ProgramType, libbpf_sys};
use shared::op::lsm::{ALLOCATION, BY_FUNCTION, HOOKS, by_capability, functions_for, hooks_for};
use tracer::cli::hinted;
use tracer::kernel::{Loaded, ReadOnly, has_functions, prepare_maps, replace_function, share_maps};
use tracer::probe::{LsmState, lockdown_mode, lsm_state, memfd_is_named};

#[allow(clippy::all, clippy::pedantic, clippy::undocumented_unsafe_blocks, missing_docs)] // generated
mod rewrite {
    include!(concat!(env!("OUT_DIR"), "/phase3_rewrite.rs"));
}

#[allow(clippy::all, clippy::pedantic, clippy::undocumented_unsafe_blocks, missing_docs)] // generated
mod lsm {
    include!(concat!(env!("OUT_DIR"), "/phase3_lsm.rs"));
}

#[allow(clippy::all, clippy::pedantic, clippy::undocumented_unsafe_blocks, missing_docs)] // generated
mod decider {
    include!(concat!(env!("OUT_DIR"), "/phase3_lsm_decider.rs"));
}

struct RewriteObject(rewrite::Phase3RewriteSkel<'static>);

struct LsmObject {
    hooks: lsm::Phase3LsmSkel<'static>,
    decider: decider::Phase3LsmDeciderSkel<'static>,
}

impl Loaded for RewriteObject {
    fn object(&mut self) -> &mut Object {
        self.0.object_mut()
    }
}

impl Loaded for LsmObject {
    fn object(&mut self) -> &mut Object {
        self.hooks.object_mut()
    }

    fn callees(&mut self) -> Option<&mut Object> {
        Some(self.decider.object_mut())
    }

    fn complete(&mut self, program: &str) -> Result<Option<Link>> {
        let mut hooks = self.hooks.object_mut().progs_mut();
        let hook = hooks.find(|p| p.name() == program).context("the object has no such program")?;
        if !asks_decider(&hook)? {
            return Ok(None);
        }
        let decider = match hook.prog_type() {
            ProgramType::Lsm => &mut self.decider.progs.decider_of_hooks,
            _ => &mut self.decider.progs.decider_of_functions,
        };
        let link = replace_function(decider, hook.as_fd(), DECIDER);
        Ok(Some(link.context("let the decider take a function's place (freplace)")?))
    }
}

/// What the hooks' programs call.
const DECIDER: &CStr = c"decider";

/// Whether it is loaded and calls that: not where what it would ask about is not policed.
fn asks_decider(program: &ProgramMut<'_>) -> Result<bool> {
    let name = program.name();
    let is_at_hook = HOOKS.iter().any(|hook| name == hook.name) || is_at_function(name);
    Ok(is_at_hook && program.autoload() && has_functions(program.as_fd())?)
}

/// Kernel lockdown takes the helper away that writes into a process' memory.
fn check_helper() -> Result<()> {
    let (program, helper) = (libbpf_sys::BPF_PROG_TYPE_RAW_TRACEPOINT, libbpf_sys::BPF_FUNC_probe_write_user);
    // SAFETY: it loads a program of two instructions, and takes no options.
    if unsafe { libbpf_sys::libbpf_probe_bpf_helper(program, helper, std::ptr::null()) } != 0 {
        return Ok(()); // an error of the probe itself: loading tells more
    }
    let level = lockdown_mode().unwrap_or_else(|| "which level is not shown here".into());
    Err(hinted(
        format!("kernel lockdown ({level}) forbids rewriting (bpf_probe_write_user)"),
        "use phase2-kernel-kill, or phase3-lsm --lsm; or boot without lockdown=",
    ))
}

/// Loads the programs that rewrite; nothing is attached.
pub fn load_rewrite(config: &ReadOnly) -> Result<Box<dyn Loaded>> {
    check_helper()?;
    // One for the life of the program.
    let storage = Box::leak(Box::new(MaybeUninit::uninit()));
    let mut open = rewrite::Phase3RewriteSkelBuilder::default().open(storage).context("open the object")?;
    tracer::fill_read_only!(open, config);
    tracer::fill_decision_data!(open, config);
    let data = open.maps.rodata_data.as_deref_mut().expect("the object has read-only data");
    data.action_deny = u32::from(config.actions.deny);
    prepare_maps(open.open_object_mut(), config)?;
    Ok(Box::new(RewriteObject(open.load()?)))
}

/// Loads the programs of the hooks that are needed; nothing is attached.
pub fn load_lsm(config: &ReadOnly) -> Result<Box<dyn Loaded>> {
    // One for the life of the program.
    let storage = Box::leak(Box::new(MaybeUninit::uninit()));
    let kind = hook_kind()?;
    let mut open = lsm::Phase3LsmSkelBuilder::default().open(storage).context("open the object")?;
    tracer::fill_read_only!(open, config);
    tracer::fill_decision_data!(open, config);
    let kernel = Btf::from_vmlinux().context("read the kernel's types")?;
    let by_allocation = hooks_for(&config.policed).any(|hook| hook.name == ALLOCATION) && !memfd_is_named();
    let data = open.maps.rodata_data.as_deref_mut().expect("the object has read-only data");
    data.by_capability = by_capability();
    data.setattr_third = u32::from(parameters(&kernel, &kind.function("inode_setattr")) == Some(3));
    data.by_allocation = u32::from(by_allocation);
    choose_hooks(open.open_object_mut(), &kernel, kind, by_allocation, config)?;
    prepare_maps(open.open_object_mut(), config)?;
    let mut hooks = open.load()?;
    let decider = load_decider(hooks.object_mut(), config)?;
    Ok(Box::new(LsmObject { hooks, decider }))
}

/// Loads what decides for these hooks, over the same maps.
fn load_decider(hooks: &mut Object, config: &ReadOnly) -> Result<decider::Phase3LsmDeciderSkel<'static>> {
    // One for the life of the program.
    let storage = Box::leak(Box::new(MaybeUninit::uninit()));
    let mut open =
        decider::Phase3LsmDeciderSkelBuilder::default().open(storage).context("open the decider's object")?;
    tracer::fill_read_only!(open, config);
    tracer::fill_decision_data!(open, config);
    let data = open.maps.rodata_data.as_deref_mut().expect("the object has read-only data");
    data.action_deny = u32::from(config.actions.deny);
    data.action_kill = u32::from(config.actions.kill);
    share_maps(hooks, open.open_object_mut())?;
    open.progs.decider_of_hooks.set_autoload(false);
    open.progs.decider_of_functions.set_autoload(false);
    for hook in hooks.progs_mut() {
        let decider = match hook.prog_type() {
            ProgramType::Lsm => &mut open.progs.decider_of_hooks,
            _ => &mut open.progs.decider_of_functions,
        };
        // Any of those that it goes into.
        if !decider.autoload() && asks_decider(&hook)? {
            decider.set_autoload(true);
            let function = DECIDER.to_string_lossy().into_owned();
            decider.set_attach_target(hook.as_fd().as_raw_fd(), Some(function))?;
        }
    }
    open.load().context("load the decider (freplace)")
}

/// How the programs are attached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As an LSM of the kernel.
    Lsm,
    /// To the functions that ask the LSMs.
    Function,
}

impl Kind {
    /// The kernel's function that a hook's program is attached to.
    fn function(self, hook: &str) -> String {
        match self {
            Self::Lsm => format!("bpf_lsm_{hook}"),
            Self::Function if hook == "settime" => "security_settime64".into(),
            Self::Function if hook == "userns_create" => "security_create_user_ns".into(),
            Self::Function => match hook.strip_suffix("_alloc_security") {
                Some(object) => format!("security_{object}_alloc"),
                None => format!("security_{hook}"),
            },
        }
    }
}

/// What works here, by trying. Errors: nothing does; attached programs that never run would block nothing.
fn hook_kind() -> Result<Kind> {
    match lsm_state() {
        LsmState::Works => Ok(Kind::Lsm),
        LsmState::FallbackWorks(reason) => {
            tracer::say(&format!("notice: {}; attached to the functions security_* instead", reason.why));
            Ok(Kind::Function)
        }
        LsmState::NeverRuns(reason) | LsmState::Refused(reason) => Err(hinted(reason.why, reason.hint)),
    }
}

/// Leaves out what is not policed, and what this kernel has not where it does not matter.
fn choose_hooks(
    object: &mut OpenObject,
    kernel: &Btf<'_>,
    kind: Kind,
    by_allocation: bool,
    config: &ReadOnly,
) -> Result<()> {
    let wanted: Vec<&str> = hooks_for(&config.policed).map(|hook| hook.name).collect();
    for hook in HOOKS {
        let needed = wanted.contains(&hook.name) && (by_allocation || hook.name != ALLOCATION);
        let function = kind.function(hook.name);
        let there = parameters(kernel, &function).is_some();
        if needed && !there && hook.optional.is_none() {
            return Err(hinted(
                format!("this kernel has no {function}"),
                "Linux 6.1 or later with CONFIG_BPF_LSM, CONFIG_SECURITY_PATH and CONFIG_SECURITY_NETWORK is needed",
            ));
        }
        let mut program = object
            .progs_mut()
            .find(|program| program.name() == hook.name)
            .with_context(|| format!("the object has no program {}", hook.name))?;
        program.set_autoload(needed && there);
        if kind == Kind::Function && needed && there {
            program.set_prog_type(ProgramType::Tracing);
            program.set_attach_type(ProgramAttachType::ModifyReturn);
            program.set_attach_target(0, Some(function))?;
        }
    }
    let functions: Vec<&str> = functions_for(&config.policed).collect();
    for mut program in object.progs_mut().filter(|program| is_at_function(program.name())) {
        let needed = functions.iter().any(|name| program.name() == *name);
        program.set_autoload(needed);
    }
    Ok(())
}

fn is_at_function(name: &OsStr) -> bool {
    BY_FUNCTION.iter().any(|(_, program)| name == *program)
}

/// How many parameters a function of the kernel has; `None` where it has no such function.
fn parameters(kernel: &Btf<'_>, function: &str) -> Option<usize> {
    let found: types::Func<'_> = kernel.type_by_name(function)?;
    let prototype = types::FuncProto::try_from(found.next_type()?).ok()?;
    Some(prototype.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_what_each_hook_is_attached_to() {
        let kernel = Btf::from_vmlinux().expect("read the kernel's types");
        for hook in HOOKS.iter().filter(|hook| hook.optional.is_none()) {
            for kind in [Kind::Lsm, Kind::Function] {
                let function = kind.function(hook.name);
                assert!(parameters(&kernel, &function).is_some(), "{}: no {function}", hook.name);
            }
        }
    }
}
