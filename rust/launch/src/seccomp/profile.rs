//! The policy as people write it: Docker's and OCI's JSON.
//!
//! Read as Docker reads it: names of fields without regard to case, fields
//! that it does not know ignored, system calls that nobody knows ignored.
//! Three things are stricter, because Docker's answer is to run without the
//! policy that was asked for: an empty profile, an unknown capability, and a
//! flag or action that would not be in force.

use std::sync::OnceLock;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::arch::Arch;
use super::error::SeccompError;

/// The longest profile that is read; Docker's own is 13 KB.
const MAX_JSON: usize = 1 << 20;

/// EPERM, what runc answers where a profile says no number.
const EPERM: u32 = 1;

/// The highest errno that the kernel passes on (`MAX_ERRNO`).
const MAX_ERRNO: u64 = 4095;

/// A parsed profile. It is plain data: what it means depends on the
/// container's capabilities, the kernel and the architecture.
#[derive(Debug, Clone)]
pub struct Profile {
    pub(super) hash: [u8; 32],
    pub(super) default_action: u32,
    pub(super) architectures: Architectures,
    pub(super) rules: Vec<Rule>,
    /// Capabilities that some rule asks for; no other changes the outcome.
    pub(super) caps: u64,
}

/// Which sections a filter gets beside the native one.
#[derive(Debug, Clone)]
pub(super) enum Architectures {
    /// OCI's list.
    Plain(Vec<Arch>),
    /// Docker's map from the host's architecture.
    Map(Vec<(Option<Arch>, Vec<Arch>)>),
}

#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) names: Vec<String>,
    pub(super) action: u32,
    pub(super) args: Vec<Arg>,
    pub(super) includes: Filter,
    pub(super) excludes: Filter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arg {
    pub(super) index: u8,
    pub(super) op: Op,
    pub(super) value: u64,
    pub(super) value_two: u64,
}

/// libseccomp's comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Op {
    Ne,
    Lt,
    Le,
    Eq,
    Ge,
    Gt,
    MaskedEq,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    pub(super) caps: u64,
    pub(super) arches: Vec<String>,
    pub(super) min_kernel: Option<(u32, u32)>,
}

impl Profile {
    /// Reads a profile in Docker's or OCI's format.
    pub fn parse(json: &[u8]) -> Result<Self, SeccompError> {
        if json.len() > MAX_JSON {
            return Err(SeccompError::Json { reason: format!("it is longer than {MAX_JSON} bytes") });
        }
        let value: Value =
            serde_json::from_slice(json).map_err(|error| SeccompError::Json { reason: error.to_string() })?;
        let top = At::top(&value)?;

        refuse_what_is_not_built(&top)?;
        let default_errno = top.errno("defaultErrnoRet")?;
        let action = top.required_str("defaultAction", "names the action for calls that no rule names")?;
        let default_action = parse_action(&top.path("defaultAction"), action, default_errno)?;
        let architectures = parse_architectures(&top)?;
        let mut rules = Vec::new();
        for item in top.list("syscalls")? {
            rules.push(parse_rule(&At::new(item.1, item.0)?)?);
        }
        let caps = rules.iter().fold(0, |all, rule| all | rule.includes.caps | rule.excludes.caps);
        Ok(Self { hash: Sha256::digest(json).into(), default_action, architectures, rules, caps })
    }

    /// The policy that containers get unless they ask for another.
    #[must_use]
    pub fn docker_default() -> &'static Self {
        static DEFAULT: OnceLock<Profile> = OnceLock::new();
        DEFAULT.get_or_init(|| match Self::parse(Self::docker_default_json().as_bytes()) {
            Ok(profile) => profile,
            Err(error) => unreachable!("the built-in profile is tested to parse: {error}"),
        })
    }

    /// Its text, in the format that `parse` reads.
    #[must_use]
    pub fn docker_default_json() -> &'static str {
        include_str!("default.json")
    }
}

/// Things that change what a filter does and that are not supported.
fn refuse_what_is_not_built(top: &At<'_>) -> Result<(), SeccompError> {
    for (path, flag) in top.strings("flags")? {
        // Not more than one thread ever loads a container's filter.
        if flag != "SECCOMP_FILTER_FLAG_TSYNC" {
            return Err(SeccompError::field(path, format!("{flag:?} is not supported; remove it")));
        }
    }
    for field in ["listenerPath", "listenerMetadata"] {
        if top.get(field).is_some_and(|value| value.as_str() != Some("")) {
            return Err(SeccompError::field(top.path(field), "is not supported (no seccomp notifications); remove it"));
        }
    }
    Ok(())
}

fn parse_architectures(top: &At<'_>) -> Result<Architectures, SeccompError> {
    let plain = top.strings("architectures")?;
    let map = top.list("archMap")?;
    if !plain.is_empty() && !map.is_empty() {
        return Err(SeccompError::field("archMap", "and architectures are both given; use one of them"));
    }
    if map.is_empty() {
        let arches = plain.iter().map(|(path, name)| parse_arch(path, name)).collect::<Result<Vec<_>, _>>()?;
        return Ok(Architectures::Plain(arches.into_iter().flatten().collect()));
    }
    let mut out = Vec::new();
    for (path, value) in map {
        let entry = At::new(value, path)?;
        let host = entry.required_str("architecture", "names the host's architecture")?;
        let host = parse_arch(&entry.path("architecture"), host)?;
        let mut others = Vec::new();
        for (path, name) in entry.strings("subArchitectures")? {
            others.extend(parse_arch(&path, name)?);
        }
        out.push((host, others));
    }
    Ok(Architectures::Map(out))
}

/// `None` for those of other processors, which this host never runs.
fn parse_arch(at: &str, name: &str) -> Result<Option<Arch>, SeccompError> {
    const OTHERS: &[&str] = &[
        "LOONGARCH64",
        "M68K",
        "MIPS",
        "MIPS64",
        "MIPS64N32",
        "MIPSEL",
        "MIPSEL64",
        "MIPSEL64N32",
        "PARISC",
        "PARISC64",
        "PPC",
        "PPC64",
        "PPC64LE",
        "RISCV64",
        "S390",
        "S390X",
        "SHEB",
        "SH",
    ];
    if let Some(arch) = Arch::ALL.into_iter().find(|arch| arch.oci_name() == name) {
        return Ok(Some(arch));
    }
    if name.strip_prefix("SCMP_ARCH_").is_some_and(|name| OTHERS.contains(&name)) {
        return Ok(None);
    }
    Err(SeccompError::field(at, format!("{name:?} is not an architecture; it is written as in SCMP_ARCH_X86_64")))
}

fn parse_rule(rule: &At<'_>) -> Result<Rule, SeccompError> {
    let mut names: Vec<String> = Vec::new();
    for (path, name) in rule.strings("names")? {
        if name.is_empty() {
            return Err(SeccompError::field(path, "is empty; it is the name of a system call"));
        }
        names.push(name.to_owned());
    }
    // Docker's format before 1.13.
    if let Some(name) = rule.str("name")?.filter(|name| !name.is_empty()) {
        if !names.is_empty() {
            return Err(SeccompError::field(rule.path("name"), "and names are both given; use names"));
        }
        names.push(name.to_owned());
    }
    if names.is_empty() && rule.get("names").is_none() {
        return Err(SeccompError::field(rule.path("names"), "is missing; it lists the system calls of the rule"));
    }
    let action = rule.required_str("action", "says what happens to the rule's system calls")?;
    let action = parse_action(&rule.path("action"), action, rule.errno("errnoRet")?)?;
    let mut args = Vec::new();
    for (path, value) in rule.list("args")? {
        args.push(parse_arg(&At::new(value, path)?)?);
    }
    Ok(Rule {
        names,
        action,
        args,
        includes: parse_filter(rule, "includes")?,
        excludes: parse_filter(rule, "excludes")?,
    })
}

/// The kernel's return value for an action (linux/seccomp.h). `errno` is for
/// ERRNO and TRACE; with others runc ignores it.
fn parse_action(at: &str, name: &str, errno: Option<u32>) -> Result<u32, SeccompError> {
    let data = errno.unwrap_or(EPERM);
    Ok(match name {
        "SCMP_ACT_ALLOW" => super::RET_ALLOW,
        "SCMP_ACT_ERRNO" => super::RET_ERRNO | data,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => super::RET_KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => 0x8000_0000,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_TRACE" => super::RET_TRACE | data,
        "SCMP_ACT_LOG" => super::RET_LOG,
        "SCMP_ACT_NOTIFY" => {
            return Err(SeccompError::field(at, "\"SCMP_ACT_NOTIFY\" is not supported; use another action"));
        }
        _ => {
            return Err(SeccompError::field(
                at,
                format!(
                    "{name:?} is not an action; use SCMP_ACT_ALLOW, SCMP_ACT_ERRNO, SCMP_ACT_LOG, SCMP_ACT_TRAP, \
                     SCMP_ACT_TRACE, SCMP_ACT_KILL, SCMP_ACT_KILL_THREAD or SCMP_ACT_KILL_PROCESS"
                ),
            ));
        }
    })
}

fn parse_arg(arg: &At<'_>) -> Result<Arg, SeccompError> {
    let index = arg.number("index")?.unwrap_or(0);
    let op = match arg.required_str("op", "compares the argument with value")? {
        "SCMP_CMP_NE" => Op::Ne,
        "SCMP_CMP_LT" => Op::Lt,
        "SCMP_CMP_LE" => Op::Le,
        "SCMP_CMP_EQ" => Op::Eq,
        "SCMP_CMP_GE" => Op::Ge,
        "SCMP_CMP_GT" => Op::Gt,
        "SCMP_CMP_MASKED_EQ" => Op::MaskedEq,
        other => {
            return Err(SeccompError::field(
                arg.path("op"),
                format!(
                    "{other:?} is not a comparison; use SCMP_CMP_EQ, SCMP_CMP_NE, SCMP_CMP_LT, SCMP_CMP_LE, \
                     SCMP_CMP_GT, SCMP_CMP_GE or SCMP_CMP_MASKED_EQ"
                ),
            ));
        }
    };
    let index = u8::try_from(index).ok().filter(|&index| index < 6).ok_or_else(|| {
        SeccompError::field(arg.path("index"), format!("is {index}; a system call has the arguments 0 to 5"))
    })?;
    let value = arg.number("value")?.unwrap_or(0);
    Ok(Arg { index, op, value, value_two: arg.number("valueTwo")?.unwrap_or(0) })
}

fn parse_filter(rule: &At<'_>, field: &str) -> Result<Filter, SeccompError> {
    let Some(value) = rule.get(field) else { return Ok(Filter::default()) };
    let filter = At::new(value, rule.path(field))?;
    let mut caps = 0;
    for (path, name) in filter.strings("caps")? {
        let number = capability(name).ok_or_else(|| {
            SeccompError::field(path, format!("{name:?} is not a capability; it is written as in CAP_SYS_ADMIN"))
        })?;
        caps |= 1 << number;
    }
    let arches = filter.strings("arches")?.into_iter().map(|(_, name)| name.to_owned()).collect();
    let min_kernel = match filter.str("minKernel")?.filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => {
            let version = text.split_once('.').and_then(|(major, minor)| Some((digits(major)?, digits(minor)?)));
            Some(version.ok_or_else(|| {
                SeccompError::field(
                    filter.path("minKernel"),
                    format!("{text:?} is not a kernel version; it is written as in \"4.8\""),
                )
            })?)
        }
    };
    Ok(Filter { caps, arches, min_kernel })
}

/// Digits only: `parse` alone would take "+4".
fn digits(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

/// linux/capability.h, in the order of their numbers.
fn capability(name: &str) -> Option<usize> {
    const NAMES: [&str; 41] = [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "MKNOD",
        "LEASE",
        "AUDIT_WRITE",
        "AUDIT_CONTROL",
        "SETFCAP",
        "MAC_OVERRIDE",
        "MAC_ADMIN",
        "SYSLOG",
        "WAKE_ALARM",
        "BLOCK_SUSPEND",
        "AUDIT_READ",
        "PERFMON",
        "BPF",
        "CHECKPOINT_RESTORE",
    ];
    let name = name.strip_prefix("CAP_")?;
    NAMES.iter().position(|&known| known == name)
}

/// An object of the document and where it stands, for errors.
struct At<'a> {
    fields: &'a Map<String, Value>,
    path: String,
}

impl<'a> At<'a> {
    fn top(value: &'a Value) -> Result<Self, SeccompError> {
        let fields = value
            .as_object()
            .ok_or_else(|| SeccompError::Json { reason: "the document is not an object".to_owned() })?;
        Ok(Self { fields, path: String::new() })
    }

    fn new(value: &'a Value, path: String) -> Result<Self, SeccompError> {
        match value.as_object() {
            Some(fields) => Ok(Self { fields, path }),
            None => Err(SeccompError::field(path, "is not an object")),
        }
    }

    fn path(&self, field: &str) -> String {
        if self.path.is_empty() {
            field.to_owned()
        } else {
            format!("{}.{field}", self.path)
        }
    }

    /// The field, compared as Go's JSON does; null is absence.
    fn get(&self, field: &str) -> Option<&'a Value> {
        let found = self
            .fields
            .get(field)
            .or_else(|| self.fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(field)).map(|(_, value)| value));
        found.filter(|value| !value.is_null())
    }

    fn str(&self, field: &str) -> Result<Option<&'a str>, SeccompError> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(SeccompError::field(self.path(field), "is not a string")),
        }
    }

    fn required_str(&self, field: &str, purpose: &str) -> Result<&'a str, SeccompError> {
        self.str(field)?
            .filter(|text| !text.is_empty())
            .ok_or_else(|| SeccompError::field(self.path(field), format!("is missing; it {purpose}")))
    }

    fn number(&self, field: &str) -> Result<Option<u64>, SeccompError> {
        match self.get(field) {
            None => Ok(None),
            Some(value) => value
                .as_u64()
                .map(Some)
                .ok_or_else(|| SeccompError::field(self.path(field), "is not a whole number from 0 to 2^64-1")),
        }
    }

    fn errno(&self, field: &str) -> Result<Option<u32>, SeccompError> {
        match self.number(field)? {
            None => Ok(None),
            Some(number @ 0..=MAX_ERRNO) => Ok(Some(number as u32)),
            Some(number) => {
                Err(SeccompError::field(self.path(field), format!("is {number}; an errno is at most {MAX_ERRNO}")))
            }
        }
    }

    fn list(&self, field: &str) -> Result<Vec<(String, &'a Value)>, SeccompError> {
        match self.get(field) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                let path = self.path(field);
                Ok(items.iter().enumerate().map(|(index, item)| (format!("{path}[{index}]"), item)).collect())
            }
            Some(_) => Err(SeccompError::field(self.path(field), "is not a list")),
        }
    }

    fn strings(&self, field: &str) -> Result<Vec<(String, &'a str)>, SeccompError> {
        self.list(field)?
            .into_iter()
            .map(|(path, value)| match value.as_str() {
                Some(text) => Ok((path, text)),
                None => Err(SeccompError::field(path, "is not a string")),
            })
            .collect()
    }
}
