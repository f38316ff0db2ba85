//! What every program gets last, a container's first and one joined by exec:
//! streams, limits, ids, capabilities, seccomp, execve.

use std::ffi::{CStr, CString};

use libc::c_char;

use crate::error::{LaunchError, Step};
use crate::home::c_path;
use crate::plan::Target;
use crate::spec::{Capabilities, Process};
use crate::sys;

/// Linux's default for argv and env together is a quarter of the stack limit;
/// one string may have 32 pages.
const MAX_STRING: usize = 128 * 1024;
/// The stack limit that execve counts against, at most (6 MiB of 8).
const MAX_STRINGS: usize = 6 * 1024 * 1024;
/// What a shell would use without PATH; Docker's default.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program's last steps, prepared.
pub(crate) struct ProcessPlan<'a> {
    strings: Vec<CString>,
    argv: Vec<*const c_char>,
    env: Vec<*const c_char>,
    candidates: Vec<CString>,
    candidate_pointers: Vec<*const c_char>,
    cwd: Option<Target>,
    uid: u32,
    gid: u32,
    groups: &'a [u32],
    umask: u32,
    capabilities: Capabilities,
    last_capability: u32,
    no_new_privileges: bool,
    seccomp: Option<&'a [libc::sock_filter]>,
    apparmor: Option<Vec<u8>>,
    rlimits: Vec<(u32, u64, u64)>,
    oom_score: Option<Vec<u8>>,
    streams: [i32; 3],
    terminal: bool,
}

impl std::fmt::Debug for ProcessPlan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessPlan").field("candidates", &self.candidates).finish_non_exhaustive()
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

fn strings(what: &str, from: &[serde_bytes::ByteBuf]) -> Result<Vec<CString>, LaunchError> {
    from.iter()
        .map(|bytes| {
            if bytes.len() >= MAX_STRING {
                let start = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
                return Err(LaunchError::because(
                    Step::Spec,
                    format!("{what} {start:?}..."),
                    format!("it is {} bytes long, the kernel takes {} at most", bytes.len(), MAX_STRING - 1),
                ));
            }
            c_path(Step::Spec, bytes.as_slice())
        })
        .collect()
}

/// The paths at which execve is tried, as execvp(3) does.
fn candidates(program: &CStr, env: &[CString]) -> Result<Vec<CString>, LaunchError> {
    let name = program.to_bytes();
    if name.is_empty() {
        let mut error = LaunchError::because(Step::Exec, "\"\"", "the command is empty");
        error.exit_code = 127;
        return Err(error);
    }
    if name.contains(&b'/') {
        return Ok(vec![program.to_owned()]);
    }
    let path = env.iter().find_map(|entry| entry.to_bytes().strip_prefix(b"PATH=")).unwrap_or(DEFAULT_PATH);
    path.split(|byte| *byte == b':')
        .map(|folder| {
            let folder = if folder.is_empty() { b".".as_slice() } else { folder };
            c_path(Step::Exec, [folder, b"/", name].concat())
        })
        .collect()
}

impl<'a> ProcessPlan<'a> {
    /// Prepares the last steps. `streams` are open descriptors above 2.
    pub fn new(
        process: &'a Process,
        seccomp: Option<&'a [libc::sock_filter]>,
        streams: [i32; 3],
        terminal: bool,
        make_cwd: bool,
        last_capability: u32,
    ) -> Result<Self, LaunchError> {
        if process.argv.is_empty() {
            return Err(LaunchError::because(Step::Spec, "", "no command was given"));
        }
        let mut all = strings("argument", &process.argv)?;
        let argv_count = all.len();
        all.extend(strings("environment entry", &process.env)?);
        let total: usize = all.iter().map(|string| string.as_bytes_with_nul().len() + size_of::<usize>()).sum();
        if total > MAX_STRINGS {
            return Err(LaunchError::because(
                Step::Spec,
                "",
                format!("arguments and environment are {total} bytes together, the kernel takes {MAX_STRINGS}"),
            ));
        }
        let candidates = candidates(&all[0], &all[argv_count..])?;
        let cwd = match process.cwd.as_str() {
            "/" | "" => None,
            path => {
                let mut target = Target::new(Step::Cwd, path)?;
                if !make_cwd {
                    target.prefixes.clear();
                }
                Some(target)
            }
        };
        if process.groups.len() > 65_536 {
            return Err(LaunchError::because(Step::Ids, "", "more than 65,536 supplementary groups"));
        }
        Ok(Self {
            argv: pointers(&all[..argv_count]),
            env: pointers(&all[argv_count..]),
            strings: all,
            candidate_pointers: pointers(&candidates),
            candidates,
            cwd,
            uid: process.uid,
            gid: process.gid,
            groups: &process.groups,
            umask: process.umask,
            capabilities: process.capabilities,
            last_capability,
            no_new_privileges: process.no_new_privileges,
            seccomp,
            apparmor: process.apparmor.as_ref().map(|profile| format!("exec {profile}").into_bytes()),
            rlimits: process.rlimits.iter().map(|limit| (limit.resource, limit.soft, limit.hard)).collect(),
            oom_score: process.oom_score_adj.map(|score| score.to_string().into_bytes()),
            streams,
            terminal,
        })
    }

    /// What is left to do in the program's own process, after
    /// [`become_program`]. `leads`: start its session there, too.
    pub fn last(&self, leads: bool) -> Last<'_> {
        Last {
            candidates: &self.candidate_pointers,
            argv: &self.argv,
            env: &self.env,
            seccomp: self.seccomp,
            no_new_privileges: self.no_new_privileges,
            leads,
            terminal: self.terminal,
        }
    }

    /// Takes CAP_MKNOD away: device rules cannot be enforced (DESIGN 3.4).
    pub fn without_mknod(&mut self) {
        const MKNOD: u64 = 1 << 27;
        let sets = &mut self.capabilities;
        for set in
            [&mut sets.bounding, &mut sets.effective, &mut sets.permitted, &mut sets.inheritable, &mut sets.ambient]
        {
            *set &= !MKNOD;
        }
    }

    /// The working directory, where it is to be made if it is missing.
    pub fn missing_cwd(&self) -> Option<&Target> {
        self.cwd.as_ref().filter(|cwd| !cwd.prefixes.is_empty())
    }

    /// User and group.
    pub fn owner(&self) -> (u32, u32) {
        (self.uid, self.gid)
    }

    /// What the step was about.
    pub fn subject(&self, step: Step, index: usize) -> Option<String> {
        match step {
            Step::Exec => self.strings.first().map(|name| format!("{:?}", name.to_string_lossy())),
            Step::Cwd => self.cwd.as_ref().map(|cwd| format!("/{}", cwd.path.to_string_lossy())),
            Step::Rlimit => self.rlimits.get(index).map(|(resource, soft, hard)| {
                let show = |limit: &u64| if *limit == u64::MAX { "unlimited".to_owned() } else { limit.to_string() };
                format!("{} to {}:{}", rlimit_name(*resource), show(soft), show(hard))
            }),
            Step::Ids => Some(format!("{}:{}", self.uid, self.gid)),
            Step::Apparmor => self.apparmor.as_ref().map(|p| String::from_utf8_lossy(&p[5..]).into_owned()),
            Step::OomScore => self.oom_score.as_ref().map(|score| format!("to {}", String::from_utf8_lossy(score))),
            _ => None,
        }
    }
}

/// A program's very last steps. Its lists of strings end with NULL and live
/// as long as what it borrows from.
#[derive(Clone, Copy)]
pub(crate) struct Last<'a> {
    pub candidates: &'a [*const c_char],
    pub argv: &'a [*const c_char],
    pub env: &'a [*const c_char],
    pub seccomp: Option<&'a [libc::sock_filter]>,
    pub no_new_privileges: bool,
    pub leads: bool,
    pub terminal: bool,
}

/// `nofile` and the like, Docker's `--ulimit` names.
fn rlimit_name(resource: u32) -> &'static str {
    const NAMES: [&str; 16] = [
        "cpu",
        "fsize",
        "data",
        "stack",
        "core",
        "rss",
        "nproc",
        "nofile",
        "memlock",
        "as",
        "locks",
        "sigpending",
        "msgqueue",
        "nice",
        "rtprio",
        "rttime",
    ];
    NAMES.get(resource as usize).copied().unwrap_or("number unknown")
}

/// Where a launch of a child stands; see [`crate::slot::Slot`]. `at` is called
/// before each step; it also is the failpoint.
pub(crate) trait Progress {
    fn at(&self, step: Step, index: usize) -> Result<(), i32>;

    /// Failure is told through a descriptor, which has to live until execve.
    fn keeps_pipe(&self) -> bool {
        false
    }
}

/// Steps that need the launcher's own /proc, before the root changes.
pub(crate) fn before_pivot(plan: &ProcessPlan<'_>, progress: &impl Progress) -> Result<(), i32> {
    if let Some(score) = &plan.oom_score {
        progress.at(Step::OomScore, 0)?;
        put(c"/proc/self/oom_score_adj", score)?;
    }
    if let Some(profile) = &plan.apparmor {
        progress.at(Step::Apparmor, 0)?;
        // The newer name first; it is missing where AppArmor does not stack.
        match put(c"/proc/thread-self/attr/apparmor/exec", profile) {
            Err(libc::ENOENT) => put(c"/proc/thread-self/attr/exec", profile)?,
            other => other?,
        }
    }
    Ok(())
}

/// The launcher's session keyring is the host's, or its user's; each program
/// gets one of its own, as with runc. Kernels without keyrings have none to
/// share.
pub(crate) fn new_keyring() -> Result<(), i32> {
    match sys::new_session_keyring() {
        Ok(_) | Err(libc::ENOSYS) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn put(path: &CStr, value: &[u8]) -> Result<(), i32> {
    let fd = sys::openat(libc::AT_FDCWD, path, libc::O_WRONLY, 0)? as i32;
    sys::write(fd, value)?;
    sys::close(fd).map(|_| ())
}

/// From inside the container's root to just before the program is what it
/// will be: everything but the death signal and execve. `root` must be above
/// 2; `leads`: this is the program's own process, which starts its session.
/// System calls only.
pub(crate) fn become_program(
    plan: &ProcessPlan<'_>,
    root: i32,
    leads: bool,
    progress: &impl Progress,
) -> Result<(), i32> {
    progress.at(Step::Streams, 0)?;
    for (number, stream) in plan.streams.iter().enumerate() {
        sys::dup2(*stream, number as i32)?;
    }
    if leads {
        lead(plan.terminal, progress)?;
    }
    for (index, (resource, soft, hard)) in plan.rlimits.iter().enumerate() {
        progress.at(Step::Rlimit, index)?;
        sys::setrlimit(*resource, *soft, *hard)?;
    }
    sys::umask(plan.umask)?;

    // Not by chdir: a link such as /proc/self/fd/N would lead it out of the
    // root through a descriptor of the launcher's (CVE-2024-21626).
    progress.at(Step::Cwd, 0)?;
    if let Some(cwd) = &plan.cwd {
        let how = sys::OpenHow {
            flags: (libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC) as u64,
            mode: 0,
            resolve: sys::RESOLVE_IN_ROOT | sys::RESOLVE_NO_MAGICLINKS,
        };
        let fd = sys::openat2(root, &cwd.path, &how)? as i32;
        sys::fchdir(fd)?;
    }

    if !plan.no_new_privileges {
        // Loading a filter without no_new_privs takes CAP_SYS_ADMIN, which
        // the next steps drop; the engine has made sure that the profile
        // allows them.
        load_seccomp(plan.seccomp, progress)?;
    }

    progress.at(Step::Capabilities, 0)?;
    for capability in 0..=plan.last_capability {
        if plan.capabilities.bounding & (1 << capability) == 0 {
            sys::prctl(libc::PR_CAPBSET_DROP, capability as usize, 0)?;
        }
    }
    progress.at(Step::Ids, 0)?;
    sys::setgroups(plan.groups)?;
    sys::setgid(plan.gid)?;
    if plan.uid != 0 {
        // Permitted capabilities outlive the change of user; the exact sets
        // are set below.
        sys::prctl(libc::PR_SET_KEEPCAPS, 1, 0)?;
        sys::setuid(plan.uid)?;
        sys::prctl(libc::PR_SET_KEEPCAPS, 0, 0)?;
    }
    progress.at(Step::Capabilities, 1)?;
    let sets = &plan.capabilities;
    sys::capset(sets.effective, sets.permitted, sets.inheritable)?;
    if sets.ambient != 0 {
        for capability in 0..=plan.last_capability {
            if sets.ambient & (1 << capability) != 0 {
                sys::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as usize, capability as usize)?;
            }
        }
    }
    if plan.no_new_privileges {
        progress.at(Step::NoNewPrivileges, 0)?;
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0)?;
    }
    Ok(())
}

/// Its own session, and the terminal as the controlling one. By the program's
/// own process: a leader that ends takes the terminal from its session and
/// sends SIGHUP to it.
fn lead(terminal: bool, progress: &impl Progress) -> Result<(), i32> {
    progress.at(Step::Session, 0)?;
    sys::setsid()?;
    if terminal {
        progress.at(Step::Session, 1)?;
        sys::ioctl_number(0, libc::TIOCSCTTY, 0)?;
    }
    Ok(())
}

/// The last steps of the program's own process. `keeper` is a pidfd whose
/// readability means that the one to die with is dead already.
pub(crate) fn execute(last: &Last<'_>, keeper: Option<i32>, progress: &impl Progress) -> i32 {
    match last_steps(last, keeper, progress) {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}

fn last_steps(last: &Last<'_>, keeper: Option<i32>, progress: &impl Progress) -> Result<std::convert::Infallible, i32> {
    if last.leads {
        lead(last.terminal, progress)?;
    }
    // After the ids: changing them clears it.
    progress.at(Step::DeathSignal, 0)?;
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as usize, 0)?;
    if let Some(keeper) = keeper {
        // It may have died before the signal was asked for.
        if sys::is_readable(keeper)? {
            return Err(libc::ESRCH);
        }
    }
    progress.at(Step::CloseFds, 0)?;
    // Close-on-exec alone would do for the launcher's own descriptors; a
    // Python process has others. CVE-2024-21626 again: nothing of the host's
    // may be open while PATH is searched.
    sys::close_range(3, if progress.keeps_pipe() { libc::CLOSE_RANGE_CLOEXEC } else { 0 })?;
    if last.no_new_privileges {
        load_seccomp(last.seccomp, progress)?;
    }
    progress.at(Step::Exec, 0)?;
    let mut reason = libc::ENOENT;
    for path in last.candidates.iter().take_while(|path| !path.is_null()) {
        match sys::execve(*path, last.argv, last.env) {
            libc::ENOENT | libc::ENOTDIR => {}
            // A later folder may hold one that can be run.
            libc::EACCES => reason = libc::EACCES,
            errno => return Err(errno),
        }
    }
    Err(reason)
}

fn load_seccomp(code: Option<&[libc::sock_filter]>, progress: &impl Progress) -> Result<(), i32> {
    if let Some(code) = code {
        progress.at(Step::Seccomp, 0)?;
        sys::seccomp_filter(code)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(program: &CStr, env: &[&CStr]) -> Vec<String> {
        let env: Vec<CString> = env.iter().map(|entry| (*entry).to_owned()).collect();
        candidates(program, &env).unwrap().iter().map(|path| path.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_command_with_a_slash_is_not_searched() {
        assert_eq!(search(c"./run", &[c"PATH=/bin"]), ["./run"]);
    }

    #[test]
    fn a_command_without_is_tried_in_each_folder_in_order() {
        assert_eq!(search(c"sh", &[c"A=1", c"PATH=/x::/bin"]), ["/x/sh", "./sh", "/bin/sh"]);
        assert_eq!(search(c"sh", &[]).len(), 6);
    }

    #[test]
    fn an_empty_command_is_not_found() {
        assert_eq!(candidates(c"", &[]).unwrap_err().exit_code, 127);
    }
}
