//! The programs under test: those of the profile that the tests themselves were built in.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The top of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the workspace")
}

/// `frith`, as fresh as its sources.
pub fn frith() -> &'static Path {
    static FRITH: OnceLock<PathBuf> = OnceLock::new();
    FRITH.get_or_init(|| fresh("frith", "node"))
}

/// `frith-sim`, as fresh as its sources.
pub fn frith_sim() -> &'static Path {
    static FRITH_SIM: OnceLock<PathBuf> = OnceLock::new();
    FRITH_SIM.get_or_init(|| fresh("frith-sim", "simulator"))
}

/// `frith-sim` of the release profile, if somebody built it, and since the sources changed.
pub fn frith_sim_released() -> Option<PathBuf> {
    let path = target().join("release/frith-sim");
    is_fresh(&path, "simulator").then_some(path)
}

fn target() -> PathBuf {
    // This program lies in target/PROFILE/deps.
    let exe = std::env::current_exe().expect("a test knows where it is");
    exe.ancestors().nth(3).expect("tests lie in target/PROFILE/deps").to_path_buf()
}

/// `cargo test --workspace` has built it already; for `cargo test -p frith-tests` it is built here.
fn fresh(name: &str, package: &str) -> PathBuf {
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let path = target().join(profile).join(name);
    if !is_fresh(&path, package) {
        let mut build = Command::new(env!("CARGO"));
        build.args([
            "build",
            "--offline",
            "--locked",
            "--package",
            &format!("frith-{package}"),
            "--bin",
            name,
        ]);
        build.arg("--target-dir").arg(target()).current_dir(workspace());
        if profile == "release" {
            build.arg("--release");
        }
        let status = build.status().expect("cargo runs");
        assert!(status.success(), "{name} cannot be built");
    }
    path
}

fn is_fresh(path: &Path, package: &str) -> bool {
    let Ok(built) = path.metadata().and_then(|metadata| metadata.modified()) else { return false };
    let sources = ["protocol/src", "protocol/Cargo.toml", "Cargo.toml"].map(|of| workspace().join(of));
    let own = ["src", "Cargo.toml"].map(|of| workspace().join(package).join(of));
    sources.iter().chain(&own).all(|source| newest(source) <= built)
}

fn newest(path: &Path) -> SystemTime {
    let own = path.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let Ok(entries) = path.read_dir() else { return own };
    entries
        .flatten()
        .filter(|entry| entry.path().is_dir() || is_source(&entry.path()))
        .map(|entry| newest(&entry.path()))
        .max()
        .unwrap_or(own)
}

fn is_source(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs" || extension == "toml")
}
