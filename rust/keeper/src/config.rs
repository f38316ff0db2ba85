//! What a keeper is started with: its command line.
//!
//! `ardock-keeper --engine 0123abcd --number 1 --root /var/lib/ardock --run /run/ardock/0123abcd/keepers/1 [--ready FD] [--without FEATURES]`

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

use ardock_launch::Features;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The engine's id: 8 hexadecimal digits.
    pub engine: String,
    /// The keeper's number in its engine.
    pub number: u32,
    /// The engine's root folder, which containers' paths call `/store`.
    pub root: PathBuf,
    /// The keeper's run folder; exists, and is its own.
    pub run: PathBuf,
    /// A pipe on which to say `ready`, or why not.
    pub ready: Option<RawFd>,
    /// Features of the kernel that are not to be used.
    pub absent: Features,
    /// How far the OOM score is above the lowest, -1000, for `info`.
    pub oom_score_above_lowest: u64,
}

/// What is wrong with a command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not one of ours.
    #[error("unknown option {0:?}")]
    Unknown(String),
    /// The value is missing or bad.
    #[error("option {0} needs {1}")]
    Value(&'static str, &'static str),
}

/// The error of a bad `--without`.
const WITHOUT: ConfigError = ConfigError::Value("--without", "names of kernel features");

/// Whether a text is an engine's id.
#[must_use]
pub fn is_engine_id(id: &str) -> bool {
    id.len() == 8 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl Config {
    /// From the arguments after the program's name.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, ConfigError> {
        let mut absent = Features::default();
        let (mut engine, mut number, mut root, mut run, mut ready) = (None, None, None, None, None);
        let mut arguments = arguments.into_iter();
        while let Some(option) = arguments.next() {
            let value = arguments.next();
            let text = || value.as_ref().and_then(|value| value.to_str());
            let path = || value.as_ref().map(PathBuf::from).filter(|path| path.is_absolute());
            match option.to_str() {
                Some("--engine") => engine = text().filter(|id| is_engine_id(id)).map(str::to_string),
                Some("--number") => number = text().and_then(|text| text.parse().ok()),
                Some("--root") => root = path(),
                Some("--run") => run = path(),
                Some("--ready") => ready = text().and_then(|text| text.parse().ok()).filter(|fd| *fd > 2),
                Some("--without") => {
                    absent = text().and_then(|names| Features::parse(names).ok()).ok_or(WITHOUT)?;
                }
                _ => return Err(ConfigError::Unknown(option.to_string_lossy().into_owned())),
            }
        }
        Ok(Self {
            engine: engine.ok_or(ConfigError::Value("--engine", "8 hexadecimal digits"))?,
            number: number.ok_or(ConfigError::Value("--number", "a number"))?,
            root: root.ok_or(ConfigError::Value("--root", "an absolute path"))?,
            run: run.ok_or(ConfigError::Value("--run", "an absolute path"))?,
            ready,
            absent,
            oom_score_above_lowest: 0,
        })
    }

    /// The engine's control group, beneath each hierarchy's root.
    #[must_use]
    pub fn engine_cgroup(&self) -> String {
        format!("ardock-{}", self.engine)
    }

    /// The parent of its containers' control groups.
    #[must_use]
    pub fn cgroup_parent(&self) -> String {
        format!("{}/{}", self.engine_cgroup(), self.containers_cgroup())
    }

    /// That parent's name beneath [`Self::engine_cgroup`].
    #[must_use]
    pub fn containers_cgroup(&self) -> String {
        format!("k{}", self.number)
    }

    /// Whether a control group is this engine's.
    #[must_use]
    pub fn owns_cgroup(&self, parent: &str) -> bool {
        parent.strip_prefix(&self.engine_cgroup()).is_some_and(|rest| rest.starts_with('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Config, ConfigError> {
        Config::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn a_command_line_is_read_or_refused() {
        let config = parse("--engine 0123abcd --number 7 --root /r --run /k --ready 3").unwrap();
        assert_eq!((config.number, config.ready), (7, Some(3)));
        assert_eq!(config.cgroup_parent(), "ardock-0123abcd/k7");
        assert!(config.owns_cgroup("ardock-0123abcd/k7"));
        assert!(!config.owns_cgroup("ardock-0123abcde/k7"));
        assert!(!config.owns_cgroup("system.slice"));
        let without = parse("--engine 0123abcd --number 7 --root /r --run /k --without lowerdir+,memfd").unwrap();
        assert_eq!(without.absent.names(), "lowerdir+,memfd");
        assert!(parse("--engine 0123abcd --number 7 --root /r --run /k --without lowerdir").is_err());
        assert!(parse("--engine 0123abcd --number 7 --root r --run /k").is_err());
        assert!(parse("--engine ../x --number 7 --root /r --run /k").is_err());
        assert!(parse("--engine 0123abcd --number 7 --root /r --run /k --more x").is_err());
    }
}
