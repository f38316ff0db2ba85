//! What is there on the host, to be compared before and after. Everything is
//! read through /proc/self, which in any thread's home is the host's.

use std::collections::BTreeSet;

/// The mount table of the process (not of the thread, which has its own).
pub fn host_mounts() -> Vec<String> {
    lines("/proc/self/mountinfo")
}

/// The mount table of the calling thread's home.
pub fn home_mounts() -> Vec<String> {
    lines("/proc/thread-self/mountinfo")
}

fn lines(path: &str) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().map(String::from).collect()
}

/// The descriptors of this process.
pub fn descriptors() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Ok(to) = std::fs::read_link(entry.path()) {
            // The one that reads this folder.
            if !to.to_string_lossy().ends_with("/fd") {
                all.insert(format!("{name} {}", to.display()));
            }
        }
    }
    all
}

/// Child processes of the calling thread, zombies too.
pub fn children() -> Vec<String> {
    let list = std::fs::read_to_string("/proc/thread-self/children").unwrap();
    list.split_whitespace().map(String::from).collect()
}

/// A field of a process's status file.
pub fn status(pid: i32, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    field_of(&text, field)
}

/// A field of a status file's text.
pub fn field_of(text: &str, field: &str) -> String {
    let value = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:")));
    value.unwrap_or_else(|| panic!("no {field} in {text}")).trim().to_owned()
}

/// The control groups of a process, by controller.
pub fn groups(pid: i32) -> std::collections::BTreeMap<String, String> {
    lines(&format!("/proc/{pid}/cgroup"))
        .into_iter()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
        })
        .collect()
}
