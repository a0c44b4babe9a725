//! The binaries under test. Cargo tells a test where the binaries of its own package are, and no other's.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The `chat-server` of the profile that the running test was built with, brought up to date once a process.
///
/// # Panics
/// It can't be built: with what the compiler says.
pub fn chat_server() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    // With what the image has, so that it can be every node of a cluster.
    let features = ["--features", "kafka-tls"];
    PATH.get_or_init(|| build("chat-server", "chat-server", &features))
}

/// The terminal client `chat`, likewise.
///
/// # Panics
/// It can't be built: with what the compiler says.
pub fn chat() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| build("chat-cli", "chat", &[]))
}

fn build(package: &str, binary: &str, features: &[&str]) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    // target/<profile>/deps/<test>
    let profile_folder = test
        .ancestors()
        .nth(2)
        .expect("tests lie in target/<profile>/deps");
    let profile = match profile_folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => panic!("{} is no profile's folder", profile_folder.display()),
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--quiet", "-p", package, "--bin", binary])
        .args(features)
        .args(["--profile", profile, "--target-dir"])
        .arg(
            profile_folder
                .parent()
                .expect("a profile's folder has a parent"),
        )
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{binary} can't be built:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    profile_folder.join(binary)
}
