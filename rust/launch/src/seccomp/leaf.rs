//! Argument rules of one call as decisions.
//!
//! A 64-bit argument is two 32-bit words for BPF. Following the rules in
//! order, we remember what the tests so far have shown (a range for each
//! word, and which word the accumulator holds), so that neither a load nor a
//! test is made twice: Docker's five values for `personality` take eight
//! instructions, not twenty. What is remembered can multiply the paths; past
//! a bound the rules are laid out one by one instead.

use std::collections::HashMap;

use super::graph::{self, Graph, Id};
use super::lower::Cond;
use super::profile::Op;

/// Conditions that are followed with memory; each needs some stack.
const MAX_REMEMBERED: usize = 64;

/// Tests that may be tried with memory before it is given up for a call.
const MAX_TESTS: usize = 4096;

type Rules<'a> = &'a [(Vec<Cond>, u32)];

/// The entry of the decisions for `rules`; `default` where none matches.
pub(super) fn build(graph: &mut Graph, rules: Rules<'_>, is_64_bit: bool, default: u32) -> Id {
    let default = graph.ret(default);
    let one_by_one = one_by_one(graph, rules, is_64_bit, default);
    if rules.iter().map(|(conds, _)| conds.len()).sum::<usize>() > MAX_REMEMBERED {
        return one_by_one;
    }
    let mut build = Build { graph, rules, is_64_bit, default, budget: MAX_TESTS, known: HashMap::new() };
    match build.rule(0, State::EMPTY) {
        Some(remembered) if graph.size(remembered) <= graph.size(one_by_one) => remembered,
        _ => one_by_one,
    }
}

/// From the last rule, so that what follows a failed test stands already.
fn one_by_one(graph: &mut Graph, rules: Rules<'_>, is_64_bit: bool, default: Id) -> Id {
    let mut fail = default;
    for (conds, action) in rules.iter().rev() {
        let mut ok = graph.ret(*action);
        for cond in conds.iter().rev() {
            let mut build =
                Build { graph: &mut *graph, rules: &[], is_64_bit, default, budget: MAX_TESTS, known: HashMap::new() };
            ok = build.cond(cond, Next::Fixed { ok, fail }, State::EMPTY).expect("one condition is within the budget");
        }
        fail = ok;
    }
    fail
}

/// A word: argument times two, plus one for the upper half.
type Word = usize;

/// Where it is in `struct seccomp_data`, on little-endian machines.
fn offset(word: Word) -> u32 {
    16 + 4 * word as u32
}

/// What the path so far has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    /// The word in the accumulator, and the mask it went through.
    loaded: Option<(Word, u32)>,
    /// The lowest and highest value that each word can have.
    ranges: [(u32, u32); 12],
}

impl State {
    const EMPTY: Self = Self { loaded: None, ranges: [(0, u32::MAX); 12] };

    fn within(mut self, word: Word, low: u32, high: u32) -> Self {
        self.ranges[word] = (low, high);
        self
    }
}

/// Where a condition leads.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// The next condition of the rule, or the next rule.
    Rule { rule: usize, cond: usize },
    /// Two nodes that load what they need.
    Fixed { ok: Id, fail: Id },
}

/// A test of one word.
#[derive(Debug, Clone, Copy)]
enum Test {
    Eq(u32),
    Gt(u32),
    Ge(u32),
}

/// What comes after a test of a word.
#[derive(Debug, Clone, Copy)]
enum Then {
    Ok,
    Fail,
    /// The lower half decides, negated or not.
    Low(Word, Test, bool),
    /// The lower half decides, masked.
    LowMasked(Word, u32, u32),
}

struct Build<'a> {
    graph: &'a mut Graph,
    rules: Rules<'a>,
    is_64_bit: bool,
    default: Id,
    budget: usize,
    known: HashMap<(usize, State), Id>,
}

/// `None`: the budget is used up.
impl Build<'_> {
    fn rule(&mut self, rule: usize, state: State) -> Option<Id> {
        if rule == self.rules.len() {
            return Some(self.default);
        }
        let state = self.forget(rule, state);
        if let Some(&id) = self.known.get(&(rule, state)) {
            return Some(id);
        }
        let id = self.conds(rule, 0, state)?;
        self.known.insert((rule, state), id);
        Some(id)
    }

    fn conds(&mut self, rule: usize, cond: usize, state: State) -> Option<Id> {
        match self.rules[rule].0.get(cond).copied() {
            None => Some(self.graph.ret(self.rules[rule].1)),
            Some(it) => self.cond(&it, Next::Rule { rule, cond: cond + 1 }, state),
        }
    }

    /// Drops what no later rule looks at, so that equal futures are one.
    fn forget(&self, rule: usize, mut state: State) -> State {
        let mut used = [false; 12];
        for cond in self.rules[rule..].iter().flat_map(|(conds, _)| conds) {
            used[2 * cond.arg as usize] = true;
            used[2 * cond.arg as usize + 1] = true;
        }
        for (range, used) in state.ranges.iter_mut().zip(used) {
            if !used {
                *range = (0, u32::MAX);
            }
        }
        state.loaded = state.loaded.filter(|&(word, _)| used[word]);
        state
    }

    fn cond(&mut self, cond: &Cond, next: Next, state: State) -> Option<Id> {
        let (low, high) = (2 * cond.arg as usize, 2 * cond.arg as usize + 1);
        let (value_low, value_high) = (cond.value as u32, (cond.value >> 32) as u32);
        let (mask_low, mask_high) = (cond.mask as u32, (cond.mask >> 32) as u32);
        // Less is not greater-or-equal, and so on.
        let (test, negated) = match cond.op {
            Op::Eq | Op::MaskedEq => (Test::Eq(value_low), false),
            Op::Ne => (Test::Eq(value_low), true),
            Op::Gt => (Test::Gt(value_low), false),
            Op::Le => (Test::Gt(value_low), true),
            Op::Ge => (Test::Ge(value_low), false),
            Op::Lt => (Test::Ge(value_low), true),
        };
        if cond.op == Op::MaskedEq {
            let then = if mask_low == 0 { Then::Ok } else { Then::LowMasked(low, mask_low, value_low) };
            return if self.is_64_bit && mask_high != 0 {
                self.masked(high, mask_high, value_high, then, next, state)
            } else {
                self.then(then, next, state)
            };
        }
        let then_low = Then::Low(low, test, negated);
        if !self.is_64_bit {
            return self.then(then_low, next, state);
        }
        let (yes, no) = if negated { (Then::Fail, Then::Ok) } else { (Then::Ok, Then::Fail) };
        match test {
            Test::Eq(_) => self.test(high, Test::Eq(value_high), then_low, no, next, state),
            // Nothing is below zero: one test tells "equal" from "greater".
            _ if value_high == 0 => self.test(high, Test::Eq(0), then_low, yes, next, state),
            _ => self.branch(
                high,
                Test::Gt(value_high),
                state,
                |build, state| build.then(yes, next, state),
                |build, state| build.test(high, Test::Eq(value_high), then_low, no, next, state),
            ),
        }
    }

    fn test(&mut self, word: Word, test: Test, yes: Then, no: Then, next: Next, state: State) -> Option<Id> {
        self.branch(
            word,
            test,
            state,
            |build, state| build.then(yes, next, state),
            |build, state| build.then(no, next, state),
        )
    }

    fn then(&mut self, then: Then, next: Next, state: State) -> Option<Id> {
        match then {
            Then::Low(word, test, false) => self.test(word, test, Then::Ok, Then::Fail, next, state),
            Then::Low(word, test, true) => self.test(word, test, Then::Fail, Then::Ok, next, state),
            Then::LowMasked(word, mask, value) => self.masked(word, mask, value, Then::Ok, next, state),
            Then::Ok => match next {
                Next::Rule { rule, cond } => self.conds(rule, cond, state),
                Next::Fixed { ok, .. } => Some(ok),
            },
            Then::Fail => match next {
                Next::Rule { rule, .. } => self.rule(rule + 1, state),
                Next::Fixed { fail, .. } => Some(fail),
            },
        }
    }

    /// One comparison, or none where the answer is known.
    fn branch(
        &mut self,
        word: Word,
        test: Test,
        state: State,
        yes: impl FnOnce(&mut Self, State) -> Option<Id>,
        no: impl FnOnce(&mut Self, State) -> Option<Id>,
    ) -> Option<Id> {
        self.budget = self.budget.checked_sub(1)?;
        let (low, high) = state.ranges[word];
        let (code, k, is, is_not) = match test {
            // The values that pass, and those that do not as far as they are one range.
            Test::Eq(k) => {
                let rest = if k == low && k < high {
                    (low + 1, high)
                } else if k == high && k > low {
                    (low, high - 1)
                } else {
                    (low, high)
                };
                let is_not = (!(k == low && k == high)).then_some(rest);
                (graph::JEQ, k, (low <= k && k <= high).then_some((k, k)), is_not)
            }
            Test::Ge(k) => {
                let is = (high >= k).then_some((low.max(k), high));
                (graph::JGE, k, is, (low < k).then(|| (low, high.min(k - 1))))
            }
            Test::Gt(k) => {
                let is = (high > k).then(|| (low.max(k + 1), high));
                (graph::JGT, k, is, (low <= k).then_some((low, high.min(k))))
            }
        };
        match (is, is_not) {
            (_, None) => yes(self, state),
            (None, _) => no(self, state),
            (Some(is), Some(is_not)) => {
                let is_loaded = state.loaded == Some((word, u32::MAX));
                let state = State { loaded: Some((word, u32::MAX)), ..state };
                let then = yes(self, state.within(word, is.0, is.1))?;
                let or = no(self, state.within(word, is_not.0, is_not.1))?;
                let jump = self.graph.jump(code, k, then, or);
                Some(self.load(jump, word, is_loaded))
            }
        }
    }

    /// Whether the bits under `mask` are `value`.
    fn masked(&mut self, word: Word, mask: u32, value: u32, yes: Then, next: Next, state: State) -> Option<Id> {
        if mask == u32::MAX {
            return self.test(word, Test::Eq(value), yes, Then::Fail, next, state);
        }
        self.budget = self.budget.checked_sub(1)?;
        let (low, high) = state.ranges[word];
        if low == high {
            return self.then(if low & mask == value { yes } else { Then::Fail }, next, state);
        }
        if value == 0 {
            let is_loaded = state.loaded == Some((word, u32::MAX));
            let state = State { loaded: Some((word, u32::MAX)), ..state };
            let then = self.then(Then::Fail, next, state)?;
            let or = self.then(yes, next, state)?;
            let jump = self.graph.jump(graph::JSET, mask, then, or);
            return Some(self.load(jump, word, is_loaded));
        }
        let is_masked = state.loaded == Some((word, mask));
        let is_loaded = state.loaded == Some((word, u32::MAX));
        let state = State { loaded: Some((word, mask)), ..state };
        let then = self.then(yes, next, state)?;
        let or = self.then(Then::Fail, next, state)?;
        let jump = self.graph.jump(graph::JEQ, value, then, or);
        if is_masked || self.graph.ignores_accumulator(jump) {
            return Some(jump);
        }
        let and = self.graph.step(graph::AND, mask, jump);
        Some(self.load(and, word, is_loaded))
    }

    fn load(&mut self, id: Id, word: Word, is_loaded: bool) -> Id {
        if is_loaded || self.graph.ignores_accumulator(id) {
            id
        } else {
            self.graph.step(graph::LOAD, offset(word), id)
        }
    }
}
