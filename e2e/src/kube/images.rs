//! The images of the cluster's own pods: pause, busybox, CoreDNS, the volume provisioner. Kept in the cache.
//!
//! Invariant: no name has the tag `latest`, so that a kubelet takes what is there and never tries to pull.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::process::Command;

use super::KubeError;
use super::process::run;
use super::programs::Programs;
use crate::image::archive::{Entry, Image, hex, write};

const PAUSE_SOURCE: &str = include_str!("../../kube/pause/pause.c");

/// What the busybox image answers to besides `busybox`.
const APPLETS: [&str; 25] = [
    "sh", "ls", "cat", "mkdir", "rm", "chmod", "sleep", "wget", "nslookup", "nc", "ps", "ip", "mount", "id",
    "echo", "touch", "dd", "df", "stat", "ping", "kill", "grep", "sync", "true", "test",
];

/// Makes the images that are missing and returns all archives, in the order a node needs them.
pub(crate) async fn make(programs: &Programs) -> Result<Vec<PathBuf>, KubeError> {
    let busybox = busybox().await?;
    let bytes = fs::read(&busybox).map_err(KubeError::io("read", &busybox))?;
    let mut key = Sha256::new();
    for part in [programs.image_key().as_bytes(), PAUSE_SOURCE.as_bytes(), &bytes] {
        key.update(part);
    }
    let dir = programs.cache().join(format!("images-{}", &hex(&key.finalize())[..16]));
    let archives = ["pause", "coredns", "busybox", "local-path"].map(|name| dir.join(format!("{name}.tar")));
    if dir.is_dir() {
        return Ok(archives.to_vec());
    }
    let work = tempfile::tempdir_in(programs.cache()).map_err(KubeError::io("write", programs.cache()))?;
    let pause = compile_pause(work.path()).await?;
    let at = |name: &str| work.path().join(name);
    write(
        &image("pause", "65535:65535", "/pause", vec![Entry::file("/pause", pause.clone())]),
        &at("pause.tar"),
    )?;
    let coredns = vec![Entry::file("/coredns", programs.coredns())];
    write(&image("coredns", "", "/coredns", coredns), &at("coredns.tar"))?;
    let mut shell = vec![Entry::file("/bin/busybox", busybox)];
    shell.extend(APPLETS.map(|applet| Entry::symlink(format!("/bin/{applet}"), "busybox")));
    write(&image("busybox", "", "/bin/sh", shell), &at("busybox.tar"))?;
    let provisioner = vec![Entry::file("/local-path-provisioner", programs.local_path_provisioner())];
    write(&image("local-path", "", "/local-path-provisioner", provisioner), &at("local-path.tar"))?;

    fs::remove_file(&pause).map_err(KubeError::io("remove", pause))?;
    match fs::rename(work.keep(), &dir) {
        // Another run was faster: its images are the same.
        Err(_) if dir.is_dir() => {}
        done => done.map_err(KubeError::io("rename to", &dir))?,
    }
    Ok(archives.to_vec())
}

fn image(name: &str, user: &str, command: &str, entries: Vec<Entry>) -> Image {
    Image {
        name: format!("localhost/{name}:1"),
        entrypoint: vec![command.to_owned()],
        command: Vec::new(),
        user: user.to_owned(),
        working_dir: "/".to_owned(),
        entries,
    }
}

async fn compile_pause(dir: &Path) -> Result<PathBuf, KubeError> {
    let (source, pause) = (dir.join("pause.c"), dir.join("pause"));
    fs::write(&source, PAUSE_SOURCE).map_err(KubeError::io("write", &source))?;
    let mut cc = Command::new("cc");
    cc.args(["-Os", "-static", "-s", "-o"]).arg(&pause).arg(&source);
    run(&mut cc, "compiling pause.c").await?;
    fs::remove_file(&source).map_err(KubeError::io("remove", source))?;
    Ok(pause)
}

/// A busybox that needs no libraries.
async fn busybox() -> Result<PathBuf, KubeError> {
    let hint = "install a statically linked busybox (Debian: busybox-static)";
    let missing = || KubeError::Missing { program: "busybox".to_owned(), hint };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::split_paths(&path).map(|dir| dir.join("busybox")).find(|file| file.is_file());
    let path = path.ok_or_else(missing)?;
    let bytes = fs::read(&path).map_err(KubeError::io("read", &path))?;
    if !is_static(&bytes) {
        return Err(KubeError::Missing {
            program: format!("a static busybox ({} is not)", path.display()),
            hint,
        });
    }
    Ok(path)
}

/// Whether a 64-bit ELF file asks for no interpreter (no program header of type PT_INTERP).
fn is_static(elf: &[u8]) -> bool {
    let number = |at: usize, bytes: usize| {
        let field = elf.get(at..at + bytes)?;
        Some(field.iter().rev().fold(0usize, |value, byte| value << 8 | usize::from(*byte)))
    };
    let headers = || {
        let (start, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        (0..count).map(|i| number(start + i * size, 4)).collect::<Option<Vec<usize>>>()
    };
    elf.starts_with(b"\x7fELF\x02\x01") && headers().is_some_and(|types| !types.contains(&3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamically_linked_program_and_a_script_are_not_static() {
        let shell = fs::canonicalize("/bin/sh").expect("a shell");
        assert!(!is_static(&fs::read(shell).expect("read")));
        assert!(!is_static(b"#!/bin/sh"));
    }
}
