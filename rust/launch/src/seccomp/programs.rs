//! Programs by name, and profiles compiled once.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::error::SeccompError;
use super::profile::Profile;
use super::program::{self, Program};
use super::MAX_INSTRUCTIONS;

/// Programs that a process holds. A keeper that is sent more refuses them;
/// each is at most 32 KiB.
const MAX_PROGRAMS: usize = 256;

/// What a launcher holds: filters by hash, ready for seccomp(2).
#[derive(Debug, Default)]
pub struct Programs {
    programs: HashMap<String, Vec<libc::sock_filter>>,
}

impl Programs {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a program that came from elsewhere, after checking that it is
    /// one and that it is the one that its name says. Known ones are no error.
    pub fn insert(&mut self, hash: &str, code: &[u8]) -> Result<(), SeccompError> {
        let refuse = |problem| Err(SeccompError::Program { hash: hash.to_owned(), problem });
        if self.programs.contains_key(hash) {
            return Ok(());
        }
        if code.is_empty() || !code.len().is_multiple_of(8) {
            return refuse("its length is not a multiple of 8 bytes");
        }
        if code.len() / 8 > MAX_INSTRUCTIONS {
            return refuse("it has more than 4096 instructions");
        }
        if program::hash(code) != hash {
            return refuse("its bytes have another hash");
        }
        if self.programs.len() == MAX_PROGRAMS {
            return refuse("256 programs are held already; remove one or use another keeper");
        }
        let filters = code.chunks_exact(8).map(|insn| {
            let [c0, c1, jt, jf, k0, k1, k2, k3] =
                [insn[0], insn[1], insn[2], insn[3], insn[4], insn[5], insn[6], insn[7]];
            libc::sock_filter { code: u16::from_ne_bytes([c0, c1]), jt, jf, k: u32::from_ne_bytes([k0, k1, k2, k3]) }
        });
        self.programs.insert(hash.to_owned(), filters.collect());
        Ok(())
    }

    /// A program, for `struct sock_fprog`.
    #[must_use]
    pub fn get(&self, hash: &str) -> Option<&[libc::sock_filter]> {
        self.programs.get(hash).map(Vec::as_slice)
    }

    /// Forgets a program. Containers that run under it keep it.
    pub fn remove(&mut self, hash: &str) -> bool {
        self.programs.remove(hash).is_some()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.programs.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.programs.is_empty()
    }
}

/// What decides a program: the profile's bytes, those capabilities that it
/// asks for, and the kernel.
type Key = ([u8; 32], u64, (u32, u32));

/// Compiles each profile once for each set of capabilities that matters to it.
#[derive(Debug, Default)]
pub struct Compiler {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    programs: HashMap<Key, Arc<Program>>,
    /// In the order of their making; the oldest goes when there are too many.
    order: VecDeque<Key>,
    compilations: u64,
}

impl Compiler {
    /// One that has compiled nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The process's own.
    #[must_use]
    pub fn global() -> &'static Self {
        static GLOBAL: OnceLock<Compiler> = OnceLock::new();
        GLOBAL.get_or_init(Self::new)
    }

    /// As [`super::compile`], from memory where that was done before.
    pub fn compile_cached(
        &self,
        profile: &Profile,
        caps: u64,
        kernel: (u32, u32),
    ) -> Result<Arc<Program>, SeccompError> {
        let key = (profile.hash, caps & profile.caps, kernel);
        // Held while compiling (some 100 us), so that two callers do not
        // compile the same. A panic leaves nothing half done in it.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = state.programs.get(&key) {
            return Ok(Arc::clone(program));
        }
        let program = Arc::new(super::compile(profile, caps, kernel)?);
        state.compilations += 1;
        if state.order.len() == MAX_PROGRAMS {
            if let Some(oldest) = state.order.pop_front() {
                state.programs.remove(&oldest);
            }
        }
        state.order.push_back(key);
        state.programs.insert(key, Arc::clone(&program));
        Ok(program)
    }

    /// How often something was really compiled.
    #[must_use]
    pub fn compilations(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).compilations
    }
}
