//! The container image of Schedia, made without a container engine.
//!
//! Owns two steps: [`build`] compiles `schedia` and `schedia-operator` statically with cargo and packs them into one
//! OCI archive; [`archive`] is the packing alone, used for the images of the local Kubernetes as well.
//!
//! Invariants:
//! * The same binaries give the same digest: no clock, user name, path or file order of this machine enters the archive.
//! * Nothing runs as root: the image's user is 65532.
//!
//! Not here: pushing to a registry, multi-platform indexes, `deploy/Dockerfile` (the same image by a container engine).

pub mod archive;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

pub use archive::{Archive, Entry, Image};

/// What manifests and tests call the image. The tag is not `latest`, so that a kubelet never tries to pull it.
pub const NAME: &str = "localhost/schedia:dev";

/// The user and group the image's processes run as.
pub const USER: u32 = 65532;

/// More than this and the image is not "small" any more: the build fails.
const BYTES_MAX: u64 = 40 << 20;

/// The binaries in the image, all under `/usr/bin`; the first one is its entry point.
const BINARIES: [&str; 2] = ["schedia", "schedia-operator"];

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file could not be read or written.
    #[error("failed to {doing}: {path}")]
    Io {
        /// What was tried: `read`, `write`.
        doing: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Cargo could not be started.
    #[error("failed to run cargo (is it on the PATH?)")]
    Cargo(#[source] std::io::Error),
    /// The compiler's own words are on stderr already.
    #[error("cargo build of the image's binaries failed, see its messages above: {0}")]
    Build(std::process::ExitStatus),
    /// Cargo succeeded without naming the executable.
    #[error("cargo built no executable named {0}")]
    NoExecutable(&'static str),
    /// The image is no longer "small".
    #[error("the image has grown beyond {} bytes: {bytes}", BYTES_MAX)]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
}

/// Builds both binaries in the workspace at `root` and packs them.
///
/// Needs the target `<arch>-unknown-linux-gnu` (a Linux toolchain has it) and a glibc of 2.34 or later to link with:
/// from there on a static program resolves names without loading libraries.
pub async fn build(root: &Path) -> Result<Archive, ImageError> {
    let [server, operator] = compile(root).await?;
    let archive = archive::write(&image(server, operator), &crate::paths::image_archive())?;
    if archive.bytes > BYTES_MAX {
        return Err(ImageError::TooLarge { bytes: archive.bytes });
    }
    Ok(archive)
}

fn image(server: PathBuf, operator: PathBuf) -> Image {
    Image {
        name: NAME.to_owned(),
        entrypoint: vec!["/usr/bin/schedia".to_owned()],
        command: vec!["serve".to_owned()],
        user: format!("{USER}:{USER}"),
        working_dir: "/data".to_owned(),
        entries: vec![
            Entry::file("/usr/bin/schedia", server),
            Entry::file("/usr/bin/schedia-operator", operator),
            Entry::text("/etc/passwd", format!("schedia:x:{USER}:{USER}::/data:/\n")),
            Entry::text("/etc/group", format!("schedia:x:{USER}:\n")),
            Entry::text("/etc/nsswitch.conf", "hosts: files dns\n"),
            Entry::owned_dir("/data", USER),
            // Where codeQ's compose file has its volume: a new one is owned as what it covers.
            Entry::owned_dir("/var/lib/codeq/pebble", USER),
        ],
    }
}

/// One line of cargo's `--message-format=json`, as far as it concerns us.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Static release builds; returns the executables in the order of [`BINARIES`]. Compiler messages go to stderr.
async fn compile(root: &Path) -> Result<[PathBuf; 2], ImageError> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    // The flags in cargo's own encoding, as the path may hold spaces. With --target they do not reach build scripts.
    let flags = format!("-Ctarget-feature=+crt-static\x1f--remap-path-prefix={}=.", root.display());
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args(["build", "--release", "--locked", "--target", &target]);
    for binary in BINARIES {
        cargo.args(["--bin", binary]);
    }
    cargo.args(["--package", "schedia-node", "--package", "schedia-operator"]);
    cargo.arg("--message-format=json-render-diagnostics").env("CARGO_ENCODED_RUSTFLAGS", flags);
    // What `cargo run` tells this tool about its own package is not meant for another build: build scripts look at it,
    // and everything that depends on them would be compiled again whenever the tool is called the other way.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"]
            .iter()
            .any(|own| name.as_encoded_bytes().starts_with(own.as_bytes()))
        {
            cargo.env_remove(name);
        }
    }
    cargo.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = cargo.spawn().map_err(ImageError::Cargo)?;

    let mut found = [None, None];
    if let Some(stdout) = child.stdout.take() {
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await.map_err(ImageError::Cargo)? {
            let Ok(Message { executable: Some(path), target: Some(target) }) = serde_json::from_str(&line)
            else {
                continue;
            };
            if let Some(i) = BINARIES.iter().position(|name| *name == target.name) {
                found[i] = Some(path);
            }
        }
    }
    let status = child.wait().await.map_err(ImageError::Cargo)?;
    if !status.success() {
        return Err(ImageError::Build(status));
    }
    let [server, operator] = found;
    Ok([
        server.ok_or(ImageError::NoExecutable(BINARIES[0]))?,
        operator.ok_or(ImageError::NoExecutable(BINARIES[1]))?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two ways to the image agree on what somebody who runs it can see.
    #[test]
    fn the_dockerfile_makes_the_same_image() {
        let dockerfile = include_str!("../../deploy/Dockerfile");
        let Image { name: _, entrypoint, command, user, working_dir, entries } =
            image("a".into(), "b".into());
        assert!(
            dockerfile.contains(&format!("ENTRYPOINT [\"{}\"]\nCMD [\"{}\"]\n", entrypoint[0], command[0]))
        );
        assert!(dockerfile.contains(&format!("USER {user}\nWORKDIR {working_dir}\n")));
        assert!(BINARIES.iter().all(|binary| dockerfile.contains(&format!("--bin {binary} "))));
        for (path, text) in entries.iter().filter_map(Entry::as_text) {
            assert!(dockerfile.contains(&format!("echo '{}' > /image{path} ", text.trim())), "{path}");
        }
        let owned: Vec<_> = entries.iter().filter_map(Entry::as_owned_dir).collect();
        assert_eq!(owned.len(), dockerfile.matches(" --chown=").count());
        for (path, owner) in owned {
            assert!(dockerfile.contains(&format!("--chown={owner}:{owner} /empty {path}\n")), "{path}");
        }
    }
}
