//! `--user` and `--group-add` by the container's own passwd and group files.

use std::ffi::CStr;
use std::io::Read as _;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use crate::error::{LaunchError, Step};
use crate::sys;

/// A resolved user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups, sorted.
    pub groups: Vec<u32>,
    /// Home directory; `/` where the passwd file does not say.
    pub home: String,
}

/// The file is read whole; a larger one is not a passwd file.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// Resolves `user` (`name`, `uid`, `name:group`, `uid:gid`; empty is root) and
/// `extra` groups (names or numbers) by `etc/passwd` and `etc/group` of the
/// topmost of `layers` that has them. Semantics are Docker's
/// (`docker run --user`): a number needs no entry; without a group the
/// passwd entry's is used, and the groups that list the user are added.
pub fn resolve_user(layers: &[BorrowedFd<'_>], user: &str, extra: &[String]) -> Result<User, LaunchError> {
    let passwd = read_first(layers, c"etc/passwd")?;
    let group = read_first(layers, c"etc/group")?;
    resolve(&passwd, &group, user, extra)
}

fn read_first(layers: &[BorrowedFd<'_>], path: &CStr) -> Result<String, LaunchError> {
    for layer in layers {
        // Looked at before it is opened: an image may have a device node there,
        // and opening one can do anything.
        let how = sys::OpenHow {
            flags: (libc::O_PATH | libc::O_CLOEXEC) as u64,
            mode: 0,
            resolve: sys::RESOLVE_IN_ROOT | sys::RESOLVE_NO_MAGICLINKS,
        };
        let found = sys::openat2(layer.as_raw_fd(), path, &how).map_err(rustix::io::Errno::from_raw_os_error);
        let opened: Result<OwnedFd, _> = found.map(sys::owned).and_then(|place| {
            let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode);
            if kind != rustix::fs::FileType::RegularFile {
                return Err(rustix::io::Errno::NOENT);
            }
            let anew = format!("/proc/self/fd/{}", place.as_raw_fd());
            rustix::fs::open(anew, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        });
        match opened {
            Ok(fd) => {
                let mut bytes = Vec::new();
                std::fs::File::from(fd).take(MAX_FILE).read_to_end(&mut bytes).map_err(|error| {
                    LaunchError::os(
                        Step::Ids,
                        format!("/{}", path.to_string_lossy()),
                        error.raw_os_error().unwrap_or(0),
                    )
                })?;
                return Ok(String::from_utf8_lossy(&bytes).into_owned());
            }
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
            Err(errno) => {
                return Err(LaunchError::os(Step::Ids, format!("/{}", path.to_string_lossy()), errno.raw_os_error()))
            }
        }
    }
    Ok(String::new())
}

fn number(text: &str, what: &str) -> Result<Option<u32>, LaunchError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    // -1 as an unsigned number is "leave as it is" to the kernel.
    match text.parse::<u32>() {
        Ok(value) if value < u32::MAX => Ok(Some(value)),
        _ => Err(LaunchError::because(Step::Ids, format!("{what} {text:?}"), "it must lie between 0 and 4294967294")),
    }
}

fn unknown(what: &str, name: &str, file: &str) -> LaunchError {
    LaunchError::because(
        Step::Ids,
        format!("{what} {name:?}"),
        format!("the container's {file} has no such {what}; give its number, or one that is there"),
    )
}

/// gid of a group entry by name or number.
fn group_id(group: &str, wanted: &str) -> Result<u32, LaunchError> {
    if let Some(gid) = number(wanted, "group")? {
        return Ok(gid);
    }
    group
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() >= 3 && fields[0] == wanted)
        .and_then(|fields| fields[2].parse().ok())
        .ok_or_else(|| unknown("group", wanted, "/etc/group"))
}

fn resolve(passwd: &str, group: &str, user: &str, extra: &[String]) -> Result<User, LaunchError> {
    let (name, wanted_group) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (user, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let uid = number(name, "user")?;
    let entry = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| {
        fields.len() >= 4
            && match uid {
                Some(uid) => fields[2].parse() == Ok(uid),
                None => fields[0] == name,
            }
    });
    let uid = match (uid, &entry) {
        (Some(uid), _) => uid,
        (None, Some(fields)) => fields[2].parse().map_err(|_| unknown("user", name, "/etc/passwd"))?,
        (None, None) => return Err(unknown("user", name, "/etc/passwd")),
    };
    let mut groups = Vec::new();
    let gid = if let Some(wanted) = wanted_group.filter(|group| !group.is_empty()) {
        group_id(group, wanted)?
    } else {
        if let Some(fields) = &entry {
            // Groups that list the user count only where no group was asked
            // for.
            for line in group.lines() {
                let line: Vec<&str> = line.split(':').collect();
                if line.len() >= 4 && line[3].split(',').any(|member| member == fields[0]) {
                    groups.extend(line[2].parse::<u32>());
                }
            }
        }
        entry.as_ref().and_then(|fields| fields[3].parse().ok()).unwrap_or(0)
    };
    for wanted in extra {
        groups.push(group_id(group, wanted)?);
    }
    // As Docker has it since CVE-2022-36109: a group that denies must not be
    // shed by a setgroups of the program's.
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    let home = entry.and_then(|fields| fields.get(5).map(|home| (*home).to_owned())).filter(|home| !home.is_empty());
    Ok(User { uid, gid, groups, home: home.unwrap_or_else(|| "/".to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/var/www:/bin/false\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\naudio:x:29:root,web\nvideo:x:44:web\n";

    fn user(text: &str, extra: &[&str]) -> Result<User, LaunchError> {
        let extra: Vec<String> = extra.iter().map(|name| (*name).to_owned()).collect();
        resolve(PASSWD, GROUP, text, &extra)
    }

    #[test]
    fn nothing_is_root_with_its_groups_and_home() {
        assert_eq!(user("", &[]).unwrap(), User { uid: 0, gid: 0, groups: vec![0, 29], home: "/root".into() });
    }

    #[test]
    fn a_name_brings_its_group_its_groups_and_its_home() {
        let expected = User { uid: 33, gid: 34, groups: vec![29, 34, 44], home: "/var/www".into() };
        assert_eq!(user("web", &[]).unwrap(), expected);
        assert_eq!(user("33", &[]).unwrap(), expected);
    }

    #[test]
    fn a_group_that_is_asked_for_takes_the_place_of_the_users_own() {
        assert_eq!(
            user("web:video", &["audio", "7"]).unwrap(),
            User { uid: 33, gid: 44, groups: vec![7, 29, 44], home: "/var/www".into() }
        );
    }

    #[test]
    fn numbers_need_no_entry_and_names_do() {
        assert_eq!(
            user("1000:1001", &[]).unwrap(),
            User { uid: 1000, gid: 1001, groups: vec![1001], home: "/".into() }
        );
        assert!(user("nobody", &[]).unwrap_err().to_string().contains("\"nobody\""));
        assert!(user("web:wheel", &[]).unwrap_err().to_string().contains("\"wheel\""));
        assert!(user("4294967295", &[]).is_err());
    }
}
