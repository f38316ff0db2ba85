//! The overlay at a container's root, by the quickest way that takes its
//! options.
//!
//! | way | when | measured on 6.18, 1 / 20 / 127 / 500 lowers |
//! |---|---|---|
//! | one mount(2) with paths | the options fit into a page | 47 / 110 / 450 µs / - |
//! | fsconfig(2), one `lowerdir+` for each | they do not, Linux 6.8 | 51 / 131 / 560 / 2,050 µs |
//! | one mount(2) with links named by numbers | they do not, before 6.8 | 54 / 177 / 850 / 3,600 µs |
//!
//! A lower by descriptor takes 6.13 and, detached as they come, 6.15; attached
//! for a moment it has a path on every kernel. Overlay keeps copies of its own.

use std::ffi::CString;

use core::ffi::CStr;

use crate::error::{LaunchError, Step};
use crate::home::c_path;
use crate::kernel::{Feature, Features};
use crate::plan::Tree;
use crate::process::Progress;
use crate::spec::Scratch;
use crate::sys;

/// `OVL_MAX_STACK` of fs/overlayfs.
const MOST_LOWERS: usize = 500;
/// Bytes of options that mount(2) takes, a NUL counted: a page, and the
/// smallest that a supported machine has.
const MOUNT_DATA: usize = 4096;
/// Bytes of a string that fsconfig(2) takes, a NUL counted.
const CONFIG_STRING: usize = 256;
/// Where the links are made.
const LINKS: &CStr = c"/stage/l";

#[derive(Debug)]
enum Way {
    /// mount(2) with this data.
    Data(CString),
    /// fsconfig(2) for each.
    Each { lowers: Vec<CString>, upper: CString, work: CString, volatile: bool },
    /// mount(2) with this data, in which the lowers are these links' names.
    Links { links: Vec<(CString, CString)>, data: CString },
}

/// Everything for the mount, as the kernel takes it.
#[derive(Debug)]
pub(crate) struct OverlayPlan {
    /// Detached trees and where they are attached first.
    trees: Vec<(i32, CString)>,
    make_upper: bool,
    way: Way,
}

/// With the characters that overlay's parser would split at made harmless.
fn escaped(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for byte in path {
        if b",:\\".contains(byte) {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out
}

impl OverlayPlan {
    /// Plans the mount of `layers`, the topmost first.
    pub fn new(kernel: Features, layers: Vec<Tree>, scratch: &Scratch) -> Result<Self, LaunchError> {
        let (upper, work, volatile) = match scratch {
            Scratch::None => {
                return Err(LaunchError::because(Step::Root, "", "several layers need scratch space"));
            }
            Scratch::Memory { .. } => ("/stage/u".to_owned(), "/stage/w".to_owned(), false),
            Scratch::Disk { dir, volatile, keep } => {
                if dir.contains([',', ':', '\\']) {
                    return Err(LaunchError::because(Step::Scratch, dir.clone(), "it must hold no ',', ':' or '\\'"));
                }
                (format!("{dir}/u"), format!("{dir}/w"), *volatile && !keep)
            }
        };
        if !kernel.has(Feature::Overlay) {
            return Err(LaunchError::os(Step::Root, "", libc::ENODEV).hint(
                "the kernel has no overlay file system (CONFIG_OVERLAY_FS; modprobe overlay), which layers and scratch \
                 need; a single folder runs without by --scratch none",
            ));
        }
        if layers.len() > MOST_LOWERS {
            return Err(LaunchError::because(
                Step::Root,
                "",
                format!("it has {} layers, and overlay takes {MOST_LOWERS} lower directories at most", layers.len()),
            ));
        }
        let mut trees = Vec::new();
        let mut lowers = Vec::with_capacity(layers.len());
        for (number, layer) in layers.into_iter().enumerate() {
            lowers.push(match layer {
                Tree::Path(path) => path,
                Tree::Fd(fd) => {
                    let at = c_path(Step::Root, format!("/stage/l{number}"))?;
                    trees.push((fd, at.clone()));
                    at
                }
            });
        }
        let options = format!(",upperdir={upper},workdir={work}{}", if volatile { ",volatile" } else { "" });
        let way = way(kernel, lowers, &options, upper, work, volatile)?;
        Ok(Self { trees, make_upper: matches!(scratch, Scratch::Memory { .. }), way })
    }

    /// Mounts it at a path. System calls only.
    pub fn mount(&self, at: &CStr, progress: &impl Progress) -> Result<(), i32> {
        for (index, (tree, place)) in self.trees.iter().enumerate() {
            progress.at(Step::Root, index + 1)?;
            sys::mkdirat(libc::AT_FDCWD, place, 0o700)?;
            sys::attach(*tree, libc::AT_FDCWD, place)?;
        }
        progress.at(Step::Root, 0)?;
        if self.make_upper {
            sys::mkdirat(libc::AT_FDCWD, c"/stage/u", 0o755)?;
            sys::mkdirat(libc::AT_FDCWD, c"/stage/w", 0o700)?;
        }
        match &self.way {
            Way::Data(data) => sys::mount(c"overlay", at, c"overlay", 0, Some(data)).map(|_| ()),
            Way::Each { lowers, upper, work, volatile } => {
                let context = sys::fsopen(c"overlay")? as i32;
                sys::fsconfig_string(context, c"source", c"overlay")?;
                for lower in lowers {
                    sys::fsconfig_string(context, c"lowerdir+", lower)?;
                }
                sys::fsconfig_string(context, c"upperdir", upper)?;
                sys::fsconfig_string(context, c"workdir", work)?;
                if *volatile {
                    sys::fsconfig_flag(context, c"volatile")?;
                }
                sys::fsconfig_create(context)?;
                let tree = sys::fsmount(context, 0)? as i32;
                sys::close(context)?;
                sys::attach(tree, libc::AT_FDCWD, at)?;
                sys::close(tree).map(|_| ())
            }
            Way::Links { links, data } => {
                sys::mkdirat(libc::AT_FDCWD, LINKS, 0o700)?;
                sys::chdir(LINKS)?;
                for (path, name) in links {
                    sys::symlinkat(path, libc::AT_FDCWD, name)?;
                }
                sys::mount(c"overlay", at, c"overlay", 0, Some(data))?;
                // They are memory of the container's for as long as it runs.
                for (_, name) in links {
                    sys::unlinkat(libc::AT_FDCWD, name, 0)?;
                }
                sys::chdir(c"/").map(|_| ())
            }
        }
    }
}

/// The quickest way that takes the options.
fn way(
    kernel: Features,
    lowers: Vec<CString>,
    options: &str,
    upper: String,
    work: String,
    volatile: bool,
) -> Result<Way, LaunchError> {
    let paths: Vec<Vec<u8>> = lowers.iter().map(|path| escaped(path.to_bytes())).collect();
    let data = [b"lowerdir=", paths.join(&b':').as_slice(), options.as_bytes()].concat();
    if data.len() < MOUNT_DATA {
        return Ok(Way::Data(c_path(Step::Root, data)?));
    }
    let short = |length: usize| length < CONFIG_STRING;
    if kernel.has(Feature::LowerdirAdd)
        && lowers.iter().all(|path| short(path.to_bytes().len()))
        && short(upper.len())
        && short(work.len())
    {
        let (upper, work) = (c_path(Step::Root, upper)?, c_path(Step::Root, work)?);
        return Ok(Way::Each { lowers, upper, work, volatile });
    }
    let names: Vec<String> = (0..lowers.len()).map(|number| number.to_string()).collect();
    let data = format!("lowerdir={}{options}", names.join(":"));
    if data.len() >= MOUNT_DATA {
        return Err(LaunchError::because(Step::Scratch, upper, "its path is too long for a mount option"));
    }
    let names = names.into_iter().map(|name| c_path(Step::Root, name)).collect::<Result<Vec<_>, _>>()?;
    Ok(Way::Links { links: lowers.into_iter().zip(names).collect(), data: c_path(Step::Root, data)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(kernel: Features, lowers: Vec<String>) -> Result<Way, LaunchError> {
        let layers = lowers.into_iter().map(|path| Tree::Path(CString::new(path).unwrap())).collect();
        OverlayPlan::new(kernel, layers, &Scratch::Memory { size: 0 }).map(|plan| plan.way)
    }

    fn roots(count: usize) -> Vec<String> {
        (0..count).map(|key| format!("/roots/{key}")).collect()
    }

    #[test]
    fn options_that_fit_go_by_mount_and_others_by_what_the_kernel_has() {
        let old = Features::default().with(Feature::Overlay);
        let new = old.with(Feature::LowerdirAdd);
        for kernel in [old, new] {
            assert!(matches!(planned(kernel, roots(127)), Ok(Way::Data(_))));
        }
        assert!(matches!(planned(new, roots(500)), Ok(Way::Each { lowers, .. }) if lowers.len() == 500));
        assert!(matches!(planned(old, roots(500)), Ok(Way::Links { links, .. }) if links.len() == 500));
        // Longer than a string of fsconfig's.
        let long: Vec<String> = (0..30).map(|number| format!("/{number}{}", "x".repeat(300))).collect();
        assert!(matches!(planned(new, long), Ok(Way::Links { .. })));
    }

    #[test]
    fn more_than_overlay_takes_is_told_with_its_limit() {
        let error = planned(Features::default().with(Feature::Overlay), roots(501)).unwrap_err().to_string();
        assert!(error.contains("501 layers") && error.contains("500 lower directories"), "{error}");
    }
}
