//! How much of PHP's stack decides (`--context`): a site's callers, and which files user space knows on its chain.

use std::collections::HashMap;

use anyhow::Result;
use libbpf_rs::MapHandle;
use shared::intf;
use shared::policy::Policy;
use shared::profile::{Context, Profile};
use shared::site::{Name, Site};

use crate::cli::{Args, Attribution, Mode, hinted};
use crate::kernel::bytes_of;
use crate::maps::MapCalls;
use crate::names::{Id, Names, id};
use crate::session::from_profile;

/// What this session looks at. Errors: the profile was learnt with less; it cannot be looked at.
pub fn chosen(args: &Args, mode: Mode, profile: Option<&Profile>) -> Result<Context> {
    let chosen = match (mode, profile) {
        (Mode::Profile, Some(before)) => merged(args.context, before)?,
        (Mode::Profile, None) => args.context.unwrap_or_default(),
        (_, profile) => {
            let asked = args.context.unwrap_or_default();
            profile.map_or(Ok(()), |profile| profile.check_context(asked)).map_err(from_profile)?;
            asked
        }
    };
    if chosen != Context::Nearest && args.attribution == Attribution::Usdt {
        return Err(hinted(
            format!("--context {chosen} walks PHP's own stack, and --attribution usdt does not"),
            "use --attribution stack (the default)",
        ));
    }
    Ok(chosen)
}

/// Of two runs that looked at more and at less the profile could only say less.
fn merged(asked: Option<Context>, before: &Profile) -> Result<Context> {
    match asked.filter(|asked| *asked != before.context) {
        None => Ok(before.context),
        Some(asked) => Err(hinted(
            format!(
                "--merge with --context {asked}: the profile was learnt with --context {}",
                before.context
            ),
            "leave --context out, or learn again from the start: --force instead of --merge",
        )),
    }
}

/// What people may want to know: the profile could be asked for more.
pub fn unused(chosen: Context, profile: &Profile) -> Option<String> {
    (chosen != profile.context).then(|| {
        format!(
            "the profile was learnt with --context {}; this session looks at less: {chosen}",
            profile.context
        )
    })
}

/// A call of code that the profile does not know at every frame. Where no user frame is left, or the site is that of
/// a parent (a helper thread), there is none to be known.
pub fn has_unknown_context(record: &intf::rec_call, site: &Site) -> bool {
    let is_walked = site.file.is_some() && record.flags & intf::CALL_SITE_RECORDED == 0;
    is_walked && record.flags & intf::CALL_CONTEXT_UNKNOWN != 0
}

/// The ids of the site's callers that decide, too, nearest first.
pub fn callers(record: &intf::rec_call) -> impl Iterator<Item = Id> {
    let len = usize::from(record.callers_len).min(record.callers.len());
    record.callers[..len].iter().map(|caller| id(*caller))
}

/// Of the site as it was called. The kernel side's `add_caller()`.
pub fn context_id(record: &intf::rec_call) -> Id {
    let mixed = |(lo, hi): Id, (factor, caller): (u64, Id)| {
        (lo.wrapping_add(factor.wrapping_mul(caller.0)), hi.wrapping_add(factor.wrapping_mul(caller.1)))
    };
    (7..).step_by(2).zip(callers(record)).fold(id(record.site), mixed)
}

/// What one task's kernel side has asked since its last call.
#[derive(Default)]
struct Asked {
    count: u16,
    unknown: Option<Id>,
}

/// Files on chains, for a kernel side that asks about those that are not marked as known.
pub struct Files {
    /// They decide.
    demanded: bool,
    known: Option<MapHandle>,
    asked: HashMap<u32, Asked>,
}

impl Files {
    /// `known`: where the kernel side looks before it asks; `None` where it decides itself.
    pub fn new(context: Context, known: Option<MapHandle>) -> Self {
        Self { demanded: context == Context::KnownFiles, known, asked: HashMap::new() }
    }

    /// From now on the kernel side does not ask about this one, if the profile of this generation knows it.
    pub fn mark(&self, file: Id, name: &Name, policy: Option<&Policy>, generation: u32) {
        let (true, Some(known), Some(policy)) = (self.demanded, &self.known, policy) else { return };
        if policy.knows_file(name) {
            let hash = intf::hash128 { lo: file.0, hi: file.1 };
            // Not stored: it asks again.
            let _ = known.put(bytes_of(&hash), &generation.to_ne_bytes());
        }
    }

    /// One that the kernel side has not found marked, on the chain of this task's next call.
    pub fn asked_about(&mut self, record: &intf::rec_file, policy: Option<&Policy>, names: &Names) {
        let asked = self.asked.entry(record.tid).or_default();
        asked.count = asked.count.saturating_add(1);
        let known = |file: &Name| policy.is_some_and(|policy| policy.knows_file(file));
        if !names.file(id(record.file)).is_some_and(known) {
            asked.unknown.get_or_insert(id(record.file));
        }
    }

    /// What the answers make of the call that was asked for. One that did not arrive is no answer (fails closed).
    pub fn answer(&mut self, record: &mut intf::rec_call) {
        let asked = self.asked.remove(&record.who.tid).unwrap_or_default();
        if let Some((lo, hi)) = asked.unknown {
            record.context = intf::hash128 { lo, hi };
        }
        if asked.unknown.is_some() || asked.count != record.asked {
            record.flags |= intf::CALL_CONTEXT_UNKNOWN;
        }
    }

    /// For tests: the same once more for what the kernel side has decided, by the frames that were told, if those are
    /// all, and each of them could be told.
    pub fn check_again(&self, record: &mut intf::rec_call, policy: Option<&Policy>, names: &Names) {
        let frames = &record.chain[..usize::from(record.chain_len).min(record.chain.len())];
        let partly = record.flags & intf::CALL_CHAIN_TRUNCATED != 0 || frames.iter().any(|f| f.unknown != 0);
        let is_told = self.demanded && !frames.is_empty() && !partly && record.context_cause == 0;
        let Some(policy) = policy.filter(|_| is_told) else { return };
        let is_foreign = |file: &Name| !policy.knows_file(file);
        let foreign = frames.iter().any(|f| names.site(id(f.name)).file.as_ref().is_some_and(is_foreign));
        record.flags &= !intf::CALL_CONTEXT_UNKNOWN;
        if foreign {
            record.flags |= intf::CALL_CONTEXT_UNKNOWN;
        }
    }
}
