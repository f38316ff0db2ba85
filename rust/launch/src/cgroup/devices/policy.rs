//! What a list of device rules allows, as the kernel's v1 controller has it.
//!
//! security/device_cgroup.c keeps a default (allow or deny all) and a set of
//! exceptions to it. A rule on everything (`a`) sets the default and forgets
//! the exceptions; a rule that goes the default's way takes the exception with
//! its very numbers back; one that goes against it makes or widens one. Under
//! "deny all" an access needs one exception that covers all of it, under
//! "allow all" it is denied by any that covers part of it.

use std::collections::BTreeMap;

use crate::cgroup::v1::rule_line;
use crate::error::{LaunchError, Step};
use crate::spec::DeviceRule;

/// `BPF_DEVCG_ACC_MKNOD`, `_READ` and `_WRITE` of linux/bpf.h.
pub(super) const MKNOD: u8 = 1;
pub(super) const READ: u8 = 2;
pub(super) const WRITE: u8 = 4;
pub(super) const ALL: u8 = MKNOD | READ | WRITE;

/// Which devices an exception is for; `None` is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Devices {
    /// Block devices, otherwise character devices.
    pub block: bool,
    pub major: Option<u32>,
    pub minor: Option<u32>,
}

impl Devices {
    fn contains(&self, other: &Self) -> bool {
        self.block == other.block
            && self.major.is_none_or(|major| other.major == Some(major))
            && self.minor.is_none_or(|minor| other.minor == Some(minor))
    }
}

/// The default and the exceptions. Two lists of rules that mean the same have
/// equal ones, whatever their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Policy {
    pub allow: bool,
    pub exceptions: BTreeMap<Devices, u8>,
}

impl Policy {
    /// The rules' meaning, one after another. A group begins with all allowed.
    ///
    /// A deny beneath an exception that is wider is refused, as runc does
    /// (opencontainers/cgroups, devices/emulator): the v1 controller takes it,
    /// and denies nothing.
    pub fn of(rules: &[DeviceRule]) -> Result<Self, LaunchError> {
        let mut policy = Self { allow: true, exceptions: BTreeMap::new() };
        for rule in rules {
            policy.add(rule)?;
        }
        Ok(policy)
    }

    fn add(&mut self, rule: &DeviceRule) -> Result<(), LaunchError> {
        let refused = |why: &str| {
            let file = if rule.allow { "devices.allow" } else { "devices.deny" };
            Err(LaunchError::because(Step::Cgroup, format!("{file} = {}", rule_line(rule)), why))
        };
        let block = match rule.kind {
            'a' => {
                *self = Self { allow: rule.allow, exceptions: BTreeMap::new() };
                return Ok(());
            }
            'b' => true,
            'c' => false,
            _ => return refused("a rule is for a (all), b (block) or c (character) devices"),
        };
        let mut access = 0;
        for letter in rule.access.bytes() {
            access |= match letter {
                b'm' => MKNOD,
                b'r' => READ,
                b'w' => WRITE,
                _ => return refused("access is of the letters r, w and m"),
            };
        }
        if access == 0 {
            return refused("access is of the letters r, w and m");
        }
        let devices = Devices { block, major: rule.major, minor: rule.minor };
        if rule.allow != self.allow {
            *self.exceptions.entry(devices).or_default() |= access;
            return Ok(());
        }
        if let Some(had) = self.exceptions.get_mut(&devices) {
            *had &= !access;
            if *had == 0 {
                self.exceptions.remove(&devices);
            }
        }
        if self.exceptions.iter().any(|(wider, had)| wider.contains(&devices) && *wider != devices && had & access != 0)
        {
            return refused("a rule before it is on more devices than this one; such a rule cannot be undone in part");
        }
        Ok(())
    }

    /// All is allowed: there is nothing to enforce.
    pub fn is_open(&self) -> bool {
        self.allow && self.exceptions.is_empty()
    }

    /// The kernel's answer on v1, which the compiled program must give.
    #[cfg(test)]
    pub fn allows(&self, block: bool, major: u32, minor: u32, access: u8) -> bool {
        let device = Devices { block, major: Some(major), minor: Some(minor) };
        let mut hits = self.exceptions.iter().filter(|(devices, _)| devices.contains(&device));
        if self.allow {
            hits.all(|(_, denied)| denied & access == 0)
        } else {
            hits.any(|(_, allowed)| access & !allowed == 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> DeviceRule {
        let (sign, rest) = text.split_at(1);
        let words: Vec<&str> = rest.split([' ', ':']).collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse().ok());
        DeviceRule {
            allow: sign == "+",
            kind: words[0].chars().next().unwrap(),
            major: number(1),
            minor: number(2),
            access: words.get(3).unwrap_or(&"rwm").to_string(),
        }
    }

    fn policy(rules: &[&str]) -> Result<Policy, LaunchError> {
        Policy::of(&rules.iter().map(|text| rule(text)).collect::<Vec<_>>())
    }

    #[test]
    fn after_deny_all_one_rule_must_cover_all_of_an_access() {
        let some = policy(&["-a", "+c 1:3 r", "+c 1:* w", "+b 8:0 rm"]).unwrap();
        assert!(some.allows(false, 1, 3, READ) && some.allows(false, 1, 3, WRITE) && some.allows(false, 1, 9, WRITE));
        assert!(!some.allows(false, 1, 3, READ | WRITE), "two rules together are not one");
        assert!(some.allows(true, 8, 0, READ | MKNOD) && !some.allows(true, 8, 0, WRITE));
        assert!(!some.allows(false, 8, 0, READ) && !some.allows(true, 8, 1, READ));
    }

    #[test]
    fn rules_on_the_same_numbers_add_up_and_are_taken_back() {
        let some = policy(&["-a", "+c 1:3 r", "+c 1:3 w", "+c 5:0 rwm", "-c 5:0 w"]).unwrap();
        assert!(some.allows(false, 1, 3, READ | WRITE));
        assert!(some.allows(false, 5, 0, READ | MKNOD) && !some.allows(false, 5, 0, WRITE));
        assert_eq!(policy(&["-a", "+c 1:3 r", "-c 1:3 rwm"]).unwrap(), policy(&["-a"]).unwrap());
    }

    #[test]
    fn after_allow_all_any_rule_that_covers_part_of_an_access_denies_it() {
        let some = policy(&["-a", "+c 1:3 r", "+a", "-b *:* w"]).unwrap();
        assert!(some.allows(false, 9, 9, ALL) && some.allows(true, 8, 0, READ));
        assert!(!some.allows(true, 8, 0, READ | WRITE));
        assert!(policy(&["-a", "+c 1:3 r", "+a"]).unwrap().is_open());
        assert!(policy(&[]).unwrap().is_open() && !some.is_open());
    }

    #[test]
    fn a_hole_in_a_wider_rule_and_what_is_no_rule_are_refused_by_name() {
        for (bad, named) in [
            (["-a", "+c 1:* rwm", "-c 1:3 r"], "devices.deny = c 1:3 r"),
            (["-a", "+a", "+c 1:3 q"], "devices.allow = c 1:3 q"),
            (["-a", "+a", "+p 1:3 r"], "devices.allow = p 1:3 r"),
        ] {
            let error = policy(&bad).unwrap_err();
            assert_eq!(error.subject, named, "{error}");
        }
        // Nothing of it is allowed: nothing is undone.
        policy(&["-a", "+c 1:* w", "-c 1:3 r"]).unwrap();
    }

    #[test]
    fn the_order_of_rules_that_mean_the_same_does_not_matter() {
        let one = policy(&["-a", "+c 1:3 rw", "+b 8:* r"]).unwrap();
        assert_eq!(one, policy(&["+a", "-a", "+b 8:* r", "+c 1:3 w", "+c 1:3 r"]).unwrap());
    }
}
