//! Finding a call's leaf by its number.
//!
//! A policy is constant over long runs of numbers (Docker's allows nearly
//! all), so the tree searches runs, not numbers, and a single number within a
//! run costs one test for equality. For the default profile that is an eighth
//! of libseccomp's program, which makes loading cheaper: the kernel checks
//! and translates the program each time, and since 5.11 evaluates it for each
//! number (`seccomp_cache_prepare`) to have a bitmap of plain allows. It
//! follows loads of number and architecture, constants and jumps only, so
//! nothing else is used before a leaf.

use std::collections::BTreeMap;

use super::arch::{Arch, X32_BIT};
use super::graph::{Graph, Id, JEQ, JGE, LOAD};
use super::leaf;
use super::lower::{Policy, Section};
use super::{RET_ENOSYS, RET_KILL_THREAD};

/// Exceptions that are tested one after another below one entry of the tree.
const CHAIN: usize = 3;

/// Offsets in `struct seccomp_data`.
const NR: u32 = 0;
const ARCH: u32 = 4;

/// The whole program's entry. Architectures without a section get the action
/// that libseccomp has for them: the thread is killed.
pub(super) fn build(graph: &mut Graph, sections: &[Section], default: u32) -> Id {
    let mut audits: Vec<u32> = Vec::new();
    for section in sections {
        if !audits.contains(&section.arch.audit()) {
            audits.push(section.arch.audit());
        }
    }
    let mut next = graph.ret(RET_KILL_THREAD);
    for audit in audits.into_iter().rev() {
        let runs = runs(graph, sections, audit, default);
        let tree = tree(graph, &chains(&runs));
        let entry = graph.step(LOAD, NR, tree);
        next = graph.jump(JEQ, audit, entry, next);
    }
    graph.step(LOAD, ARCH, next)
}

/// Numbers from `first` to the next run's lead to `leaf`.
#[derive(Debug, Clone, Copy)]
struct Run {
    first: u32,
    leaf: Id,
}

fn runs(graph: &mut Graph, sections: &[Section], audit: u32, default: u32) -> Vec<Run> {
    let section = |arch: Arch| sections.iter().find(|section| section.arch == arch);
    let mut special: BTreeMap<u32, Id> = BTreeMap::new();
    for section in sections.iter().filter(|section| section.arch.audit() == audit) {
        for (&number, policy) in &section.calls {
            let leaf = match policy {
                Policy::Always(action) => graph.ret(*action),
                Policy::When(rules) => leaf::build(graph, rules, section.arch.is_64_bit(), default),
            };
            special.insert(number, leaf);
        }
    }

    // What holds from a number on where no rule names one.
    let default_leaf = graph.ret(default);
    let enosys = graph.ret(RET_ENOSYS);
    let mut bases: BTreeMap<u32, Id> = BTreeMap::new();
    if audit == Arch::X86_64.audit() {
        let (native, x32) = (section(Arch::X86_64), section(Arch::X32));
        let newest = |section: Option<&Section>| section.and_then(|section| section.newest);
        // The kernel knows x32 by bit 30; so does runc's stub.
        bases.insert(0, default_leaf);
        bases.insert(X32_BIT, default_leaf);
        if x32.is_none() {
            // libseccomp refuses all from the bit on, but not the number -1,
            // which a tracer sets to skip a call.
            bases.insert(X32_BIT, graph.ret(RET_KILL_THREAD));
            bases.insert(u32::MAX, default_leaf);
        }
        if let Some(newest) = newest(native) {
            bases.insert(newest + 1, enosys);
            let above = bases[&X32_BIT];
            bases.insert(2 * X32_BIT, enosys);
            bases.insert(3 * X32_BIT, above);
        }
        if let Some(newest) = newest(x32) {
            bases.insert(newest + 1, enosys);
            let between = if bases.contains_key(&(2 * X32_BIT)) { enosys } else { default_leaf };
            bases.insert(2 * X32_BIT, between);
            bases.insert(3 * X32_BIT, enosys);
        }
    } else {
        bases.insert(0, default_leaf);
        let newest = sections.iter().find(|section| section.arch.audit() == audit).and_then(|section| section.newest);
        if let Some(newest) = newest {
            bases.insert(newest + 1, enosys);
        }
    }

    let mut firsts: Vec<u32> = bases.keys().copied().collect();
    firsts.extend(special.keys().flat_map(|&number| [Some(number), number.checked_add(1)]).flatten());
    firsts.sort_unstable();
    firsts.dedup();
    let mut runs: Vec<Run> = Vec::new();
    for first in firsts {
        let base = bases.range(..=first).next_back().map_or(default_leaf, |(_, &leaf)| leaf);
        let leaf = special.get(&first).copied().unwrap_or(base);
        if runs.last().is_none_or(|run| run.leaf != leaf) {
            runs.push(Run { first, leaf });
        }
    }
    runs
}

/// A stretch of numbers with one answer and a few single exceptions.
#[derive(Debug)]
struct Chain {
    first: u32,
    base: Option<Id>,
    exceptions: Vec<(u32, Id)>,
}

/// Cuts the runs into chains, each as long as it can be; no cutting has fewer.
fn chains(runs: &[Run]) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    let mut open = false;
    for (index, run) in runs.iter().enumerate() {
        let is_single = runs.get(index + 1).is_some_and(|next| next.first - run.first == 1);
        if open {
            if let Some(chain) = chains.last_mut() {
                if chain.base == Some(run.leaf) {
                    continue;
                }
                if chain.base.is_none() && !is_single {
                    chain.base = Some(run.leaf);
                    // A number met before as an exception may be none after all.
                    chain.exceptions.retain(|exception| exception.1 != run.leaf);
                    continue;
                }
                if is_single && chain.exceptions.len() < CHAIN {
                    chain.exceptions.push((run.first, run.leaf));
                    continue;
                }
            }
        }
        open = true;
        chains.push(if is_single {
            Chain { first: run.first, base: None, exceptions: vec![(run.first, run.leaf)] }
        } else {
            Chain { first: run.first, base: Some(run.leaf), exceptions: Vec::new() }
        });
    }
    chains
}

fn tree(graph: &mut Graph, chains: &[Chain]) -> Id {
    match chains {
        [] => unreachable!("the runs cover all numbers"),
        [chain] => {
            let mut exceptions = chain.exceptions.clone();
            // Without a base the last number needs no test.
            let base = chain.base.or_else(|| exceptions.pop().map(|exception| exception.1));
            let mut next = base.unwrap_or_else(|| unreachable!("a chain has a base or an exception"));
            for (number, leaf) in exceptions.into_iter().rev() {
                next = graph.jump(JEQ, number, leaf, next);
            }
            next
        }
        _ => {
            let (low, high) = chains.split_at(chains.len() / 2);
            let first = high[0].first;
            let (low, high) = (tree(graph, low), tree(graph, high));
            graph.jump(JGE, first, high, low)
        }
    }
}
