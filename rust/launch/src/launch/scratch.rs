//! The folder on disk that an overlay's writes go to.

use rustix::fs::Mode;

use crate::error::{LaunchError, Step};

/// Makes the scratch folder; `made` says so as soon as it is there.
pub(super) fn make<'a>(dir: &'a str, made: &mut Option<&'a str>) -> Result<(), LaunchError> {
    let failed = |errno: rustix::io::Errno| LaunchError::os(Step::Scratch, dir, errno.raw_os_error());
    rustix::fs::mkdir(dir, Mode::from_raw_mode(0o700)).map_err(failed)?;
    *made = Some(dir);
    rustix::fs::mkdir(format!("{dir}/u"), Mode::from_raw_mode(0o755)).map_err(failed)?;
    rustix::fs::mkdir(format!("{dir}/w"), Mode::from_raw_mode(0o700)).map_err(failed)
}

/// Makes what is not there yet of a scratch folder that is kept, and of the
/// folder that it lies in.
pub(super) fn make_kept(dir: &str) -> Result<(), LaunchError> {
    let parent = dir.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned();
    let own = [(dir.to_owned(), 0o700), (format!("{dir}/u"), 0o755), (format!("{dir}/w"), 0o700)];
    for (path, mode) in [(parent, 0o700)].into_iter().chain(own).filter(|(path, _)| !path.is_empty()) {
        match rustix::fs::mkdir(path.as_str(), Mode::from_raw_mode(mode)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(errno) => return Err(LaunchError::os(Step::Scratch, path, errno.raw_os_error())),
        }
    }
    Ok(())
}

/// Removes one with all in it. A missing one is no error.
pub(super) fn remove(dir: &str) -> Result<(), LaunchError> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(LaunchError::os(Step::Scratch, dir, error.raw_os_error().unwrap_or(0)))
        }
        _ => Ok(()),
    }
}
