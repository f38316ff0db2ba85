//! From a profile to what each architecture does with each call number.
//!
//! This is the meaning of a profile, as Docker and runc give it:
//!
//! - Docker drops rules by capabilities, architecture and kernel (moby,
//!   profiles/seccomp/seccomp_linux.go, `setupSeccomp`).
//! - runc drops a rule whose action is the default one, ignores unknown
//!   names, and takes a rule that compares one argument twice as several
//!   rules (libcontainer/seccomp/seccomp_linux.go, `matchCall`).
//! - libseccomp always has a section for the native architecture, translates
//!   names for each one, drops comparisons under an empty mask, adds
//!   `socketcall` and `ipc` on i386, and lets a rule without arguments replace
//!   the others of its call (src/db.c, `db_rule_add`).
//! - Among rules with arguments the first match counts, in the order of
//!   [`order`].
//! - runc answers ENOSYS for calls newer than the newest one that the profile
//!   knows, since a C library falls back on ENOSYS but gives up on EPERM
//!   (libcontainer/seccomp/patchbpf/enosys_linux.go, `generatePatch`). That
//!   holds for the architectures that the profile lists, and where the
//!   default action is none of allow, log and trace.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use super::arch::Arch;
use super::error::SeccompError;
use super::profile::{Architectures, Arg, Filter, Op, Profile, Rule};
use super::{MAX_INSTRUCTIONS, RET_ALLOW, RET_LOG, RET_TRACE};

/// A comparison, reduced to what the architecture compares. `mask` is all
/// ones for everything but `MaskedEq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Cond {
    pub(super) arg: u8,
    pub(super) op: Op,
    pub(super) mask: u64,
    pub(super) value: u64,
}

/// What happens to one call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Policy {
    /// Whatever its arguments.
    Always(u32),
    /// The first of these whose conditions all hold, else the default.
    When(Vec<(Vec<Cond>, u32)>),
}

/// One architecture's part.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) arch: Arch,
    pub(super) calls: BTreeMap<u32, Policy>,
    /// Calls above this number do not exist as far as the profile knows.
    pub(super) newest: Option<u32>,
}

/// The profile's meaning for a container on `host`.
pub(super) fn lower(
    profile: &Profile,
    host: Arch,
    caps: u64,
    kernel: (u32, u32),
) -> Result<Vec<Section>, SeccompError> {
    let rules: Vec<&Rule> = profile.rules.iter().filter(|rule| applies(rule, host, caps, kernel)).collect();
    let listed: Vec<Arch> = match &profile.architectures {
        Architectures::Plain(arches) => arches.clone(),
        Architectures::Map(map) => map
            .iter()
            .find(|(arch, _)| *arch == Some(host))
            .map(|(_, others)| std::iter::once(host).chain(others.iter().copied()).collect())
            .unwrap_or_default(),
    };
    // The default action's data is no part of the comparison.
    let permissive = matches!(profile.default_action & 0xffff_0000, RET_ALLOW | RET_LOG | RET_TRACE);

    let mut sections = Vec::new();
    for arch in Arch::ALL {
        let is_listed = listed.contains(&arch);
        if !arch.same_kernel(host) || !(is_listed || arch == host) {
            continue;
        }
        let newest = if is_listed && !permissive {
            rules.iter().flat_map(|rule| &rule.names).filter_map(|name| arch.number(name)).max()
        } else {
            None
        };
        let mut calls = calls(&rules, arch, profile.default_action)?;
        // runc's answer comes first: a multiplexer that no rule names may be above.
        calls.retain(|&number, _| newest.is_none_or(|newest| number <= newest));
        sections.push(Section { arch, calls, newest });
    }
    // The native one is the most used and comes first.
    sections.sort_by_key(|section| section.arch != host);
    Ok(sections)
}

fn applies(rule: &Rule, host: Arch, caps: u64, kernel: (u32, u32)) -> bool {
    let names_host = |filter: &Filter| filter.arches.iter().any(|name| name == host.docker_name());
    let new_enough = |filter: &Filter| filter.min_kernel.map(|least| kernel >= least);
    let excluded =
        names_host(&rule.excludes) || rule.excludes.caps & caps != 0 || new_enough(&rule.excludes) == Some(true);
    let included = (rule.includes.arches.is_empty() || names_host(&rule.includes))
        && rule.includes.caps & !caps == 0
        && new_enough(&rule.includes) != Some(false);
    included && !excluded
}

/// A call's rules while they are collected.
#[derive(Default)]
struct Collected {
    always: Option<u32>,
    when: Vec<(Vec<Cond>, u32)>,
    seen: HashMap<Vec<Cond>, u32>,
}

fn calls(rules: &[&Rule], arch: Arch, default: u32) -> Result<BTreeMap<u32, Policy>, SeccompError> {
    let mut collected: BTreeMap<u32, Collected> = BTreeMap::new();
    for rule in rules.iter().filter(|rule| rule.action != default) {
        for conds in alternatives(&rule.args) {
            for name in &rule.names {
                if let Some((number, code)) = arch.multiplexed(name) {
                    let selector = Arg { index: 0, op: Op::Eq, value: u64::from(code), value_two: 0 };
                    let others = conds.iter().copied().filter(|arg| arg.index != 0);
                    let conds: Vec<Arg> = std::iter::once(selector).chain(others).collect();
                    add(collected.entry(number).or_default(), reduce(&conds, arch), rule.action, name, arch)?;
                }
                if let Some(number) = arch.number(name) {
                    add(collected.entry(number).or_default(), reduce(&conds, arch), rule.action, name, arch)?;
                }
            }
        }
    }
    Ok(collected.into_iter().map(|(number, collected)| (number, finish(collected))).collect())
}

/// The sets of conditions of one rule: one set that must hold together, or,
/// where an argument comes twice, each condition by itself.
fn alternatives(args: &[Arg]) -> Vec<Vec<Arg>> {
    let twice = args.iter().enumerate().any(|(at, arg)| args[..at].iter().any(|other| other.index == arg.index));
    if twice {
        args.iter().map(|&arg| vec![arg]).collect()
    } else {
        vec![args.to_vec()]
    }
}

fn reduce(args: &[Arg], arch: Arch) -> Vec<Cond> {
    let width = if arch.is_64_bit() { u64::MAX } else { u64::from(u32::MAX) };
    let mut conds: Vec<Cond> = args
        .iter()
        .map(|arg| match arg.op {
            Op::MaskedEq => {
                let mask = arg.value & width;
                Cond { arg: arg.index, op: arg.op, mask, value: arg.value_two & mask }
            }
            op => Cond { arg: arg.index, op, mask: u64::MAX, value: arg.value & width },
        })
        .filter(|cond| cond.mask != 0)
        .collect();
    conds.sort_by_key(|cond| cond.arg);
    conds
}

fn add(call: &mut Collected, conds: Vec<Cond>, action: u32, name: &str, arch: Arch) -> Result<(), SeccompError> {
    if call.always.is_some() {
        return Ok(());
    }
    if conds.is_empty() {
        call.always = Some(action);
        call.when.clear();
        return Ok(());
    }
    match call.seen.get(&conds) {
        Some(&other) if other == action => Ok(()),
        Some(_) => Err(SeccompError::Conflict { syscall: name.to_owned(), arch }),
        // Each takes at least one instruction.
        None if call.when.len() == MAX_INSTRUCTIONS => Err(SeccompError::TooLong),
        None => {
            call.seen.insert(conds.clone(), action);
            call.when.push((conds, action));
            Ok(())
        }
    }
}

fn finish(call: Collected) -> Policy {
    if let Some(action) = call.always {
        return Policy::Always(action);
    }
    let mut when = call.when;
    when.sort_by(|a, b| order(&a.0, &b.0));
    Policy::When(when)
}

/// Which rule of a call is tried first: libseccomp's order (src/db.c,
/// `_db_chain_lt`), which does not depend on the order in the file. Later
/// arguments before earlier ones; equality before "less" before "greater";
/// then the larger value, or for "less" the smaller one; and a rule before
/// those that only add conditions to it.
fn order(a: &[Cond], b: &[Cond]) -> Ordering {
    let class = |op: Op| match op {
        Op::MaskedEq | Op::Eq | Op::Ne => 0,
        Op::Le | Op::Lt => 1,
        Op::Ge | Op::Gt => 2,
    };
    for (x, y) in a.iter().zip(b) {
        let by_value = match x.op {
            Op::Le | Op::Lt => x.value.cmp(&y.value),
            _ => y.value.cmp(&x.value),
        };
        let ordering = y.arg.cmp(&x.arg).then(class(x.op).cmp(&class(y.op))).then(by_value);
        if ordering != Ordering::Equal {
            return ordering;
        }
    }
    a.len().cmp(&b.len())
}
