//! The program as a graph of decisions, and its layout as classic BPF.
//!
//! Nodes are shared where they are equal. The layout goes from the last
//! instruction to the first: jumps only go forward, so every target stands
//! already and each distance is known when a jump is made. Conditional jumps
//! reach 255 instructions; a target beyond gets an island behind the jump: a
//! copy where it is a return, else an unconditional jump (32 bits).

use std::collections::{HashMap, HashSet};

use super::error::SeccompError;
use super::interpret::Insn;
use super::MAX_INSTRUCTIONS;

/// `BPF_LD | BPF_W | BPF_ABS`
pub(super) const LOAD: u16 = 0x20;
/// `BPF_ALU | BPF_AND | BPF_K`
pub(super) const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JA`
pub(super) const JA: u16 = 0x05;
/// `BPF_JMP | BPF_JEQ | BPF_K`
pub(super) const JEQ: u16 = 0x15;
/// `BPF_JMP | BPF_JGT | BPF_K`
pub(super) const JGT: u16 = 0x25;
/// `BPF_JMP | BPF_JGE | BPF_K`
pub(super) const JGE: u16 = 0x35;
/// `BPF_JMP | BPF_JSET | BPF_K`
pub(super) const JSET: u16 = 0x45;
/// `BPF_RET | BPF_K`
pub(super) const RET: u16 = 0x06;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id(usize);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Node {
    /// Give the kernel this answer.
    Ret(u32),
    /// `LOAD` or `AND` with a constant, then go on.
    Step { code: u16, k: u32, next: Id },
    /// Compare the accumulator with a constant.
    Jump { code: u16, k: u32, then: Id, or: Id },
}

#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    ids: HashMap<Node, Id>,
}

impl Graph {
    pub(super) fn ret(&mut self, value: u32) -> Id {
        self.node(Node::Ret(value))
    }

    pub(super) fn step(&mut self, code: u16, k: u32, next: Id) -> Id {
        self.node(Node::Step { code, k, next })
    }

    pub(super) fn jump(&mut self, code: u16, k: u32, then: Id, or: Id) -> Id {
        if then == or {
            then
        } else {
            self.node(Node::Jump { code, k, then, or })
        }
    }

    /// Whether a node is right whatever the accumulator holds.
    pub(super) fn ignores_accumulator(&self, id: Id) -> bool {
        matches!(self.nodes[id.0], Node::Ret(_) | Node::Step { code: LOAD, .. })
    }

    /// How many nodes can be reached from one.
    pub(super) fn size(&self, id: Id) -> usize {
        let mut seen = HashSet::new();
        let mut stack = vec![id];
        while let Some(id) = stack.pop() {
            if seen.insert(id) {
                match self.nodes[id.0] {
                    Node::Ret(_) => {}
                    Node::Step { next, .. } => stack.push(next),
                    Node::Jump { then, or, .. } => stack.extend([then, or]),
                }
            }
        }
        seen.len()
    }

    fn node(&mut self, node: Node) -> Id {
        let next = Id(self.nodes.len());
        let id = *self.ids.entry(node).or_insert(next);
        if id == next {
            self.nodes.push(node);
        }
        id
    }

    /// The program that starts at `root`.
    pub(super) fn assemble(&self, root: Id) -> Result<Vec<Insn>, SeccompError> {
        let mut layout = Layout { graph: self, code: Vec::new(), placed: vec![None; self.nodes.len()] };
        // An explicit stack: a chain of rules is as deep as it is long.
        let mut stack = vec![(root, false)];
        while let Some((id, children_are_placed)) = stack.pop() {
            if layout.placed[id.0].is_some() {
                continue;
            }
            if children_are_placed {
                layout.place(id);
            } else {
                stack.push((id, true));
                match self.nodes[id.0] {
                    Node::Ret(_) => {}
                    Node::Step { next, .. } => stack.push((next, false)),
                    Node::Jump { then, or, .. } => {
                        stack.push((or, false));
                        stack.push((then, false));
                    }
                }
            }
            if layout.code.len() > MAX_INSTRUCTIONS {
                return Err(SeccompError::TooLong);
            }
        }
        let mut code = layout.code;
        code.reverse();
        Ok(code)
    }
}

struct Layout<'a> {
    graph: &'a Graph,
    /// The program, last instruction first.
    code: Vec<Insn>,
    /// Where a node's nearest copy or island stands, counted from the end.
    placed: Vec<Option<usize>>,
}

impl Layout<'_> {
    fn place(&mut self, id: Id) {
        match self.graph.nodes[id.0] {
            // Placed where first jumped to, so that it is near.
            Node::Ret(_) => return,
            Node::Step { code, k, next } => {
                // It runs into the instruction behind it, which must be its next one.
                if self.distance(next) != Some(0) {
                    self.island(next);
                }
                self.code.push(Insn { code, jt: 0, jf: 0, k });
            }
            Node::Jump { code, k, then, or } => {
                let (jt, jf) = loop {
                    // An island moves the jump away from its other target.
                    match (self.reach(then), self.reach(or)) {
                        (Some(jt), Some(jf)) => break (jt, jf),
                        (None, _) => self.island(then),
                        (_, None) => self.island(or),
                    }
                };
                self.code.push(Insn { code, jt, jf, k });
            }
        }
        self.placed[id.0] = Some(self.code.len() - 1);
    }

    /// How many instructions lie between the next one placed and a node.
    fn distance(&self, id: Id) -> Option<usize> {
        self.placed[id.0].map(|at| self.code.len() - at - 1)
    }

    fn reach(&self, id: Id) -> Option<u8> {
        self.distance(id).and_then(|distance| u8::try_from(distance).ok())
    }

    fn island(&mut self, id: Id) {
        let insn = match (self.graph.nodes[id.0], self.distance(id)) {
            (Node::Ret(value), _) => Insn { code: RET, jt: 0, jf: 0, k: value },
            (_, Some(distance)) => Insn { code: JA, jt: 0, jf: 0, k: distance as u32 },
            (_, None) => unreachable!("nodes are placed after those that they jump to"),
        };
        self.code.push(insn);
        self.placed[id.0] = Some(self.code.len() - 1);
    }
}
