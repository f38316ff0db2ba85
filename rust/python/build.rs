//! Builds the keeper as a static binary into this crate's `OUT_DIR`, from
//! where maturin takes it into the wheel (`include` in pyproject.toml).
//!
//! The keeper is run from a sealed memfd in a mount namespace that holds no
//! library, so it must be static; the extension must not be. Cargo has one
//! set of flags a run, hence a run of its own.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{exit, Command};

/// What cargo tells its build scripts, or the user tells cargo, about *this*
/// build; inherited, it would make the nested one a wrong or a different one
/// (clippy, for example, puts its driver into `RUSTC_WORKSPACE_WRAPPER`).
const NOT_INHERITED: [&str; 8] = [
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
];

fn main() {
    let workspace = Path::new(&variable("CARGO_MANIFEST_DIR")).join("../..");
    for source in ["rust/keeper", "rust/launch"] {
        println!("cargo::rerun-if-changed={}", workspace.join(source).join("src").display());
        println!("cargo::rerun-if-changed={}", workspace.join(source).join("Cargo.toml").display());
    }
    for file in ["Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", workspace.join(file).display());
    }
    println!("cargo::rerun-if-changed=build.rs");

    let out = PathBuf::from(variable("OUT_DIR"));
    let target = variable("TARGET");
    let folder = target_folder(&out);
    let mut cargo = Command::new(variable("CARGO"));
    for name in NOT_INHERITED {
        cargo.env_remove(name);
    }
    // A target is named even where it is the host's, since then the flags do
    // not reach build scripts and procedural macros, which cannot be static.
    cargo
        .current_dir(&workspace)
        .env("RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .args(["build", "--release", "--locked", "--package", "ardock-keeper", "--bin", "ardock-keeper"])
        .arg("--target")
        .arg(&target)
        .arg("--target-dir")
        .arg(&folder);
    match cargo.status() {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!("the keeper could not be built (see above): cargo ended with {status}")),
        Err(error) => fail(&format!("cannot start {cargo:?}: {error}")),
    }

    let built = folder.join(&target).join("release/ardock-keeper");
    let result = out.join("ardock-keeper");
    let copied =
        fs::copy(&built, &result).and_then(|_| fs::set_permissions(&result, fs::Permissions::from_mode(0o755)));
    if let Err(error) = copied {
        fail(&format!("cannot copy {} to {}: {error}", built.display(), result.display()));
    }
}

/// A target folder for the nested build: the outer one's is locked while this
/// script runs. It lies beside the outer profiles' folders
/// (`target/<profile>/build/<crate>/out` is `OUT_DIR`), so that debug, release
/// and clippy builds share one keeper; where cargo lays things out otherwise,
/// in `OUT_DIR` itself, which is only slower.
fn target_folder(out: &Path) -> PathBuf {
    let mut above = out.ancestors().skip(2);
    let (build, _profile, target) = (above.next(), above.next(), above.next());
    match (build.and_then(Path::file_name), target) {
        (Some(name), Some(target)) if name == "build" => target.join("keeper"),
        _ => out.join("target"),
    }
}

fn variable(name: &str) -> OsString {
    env::var_os(name).unwrap_or_else(|| fail(&format!("cargo did not set {name}")))
}

/// Ends the build with one sentence, where a panic would add a trace of this
/// script, which is not at fault.
fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(1)
}
