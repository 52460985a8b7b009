//! Where dockerd comes from: this machine's own program, else Debian's package, unpacked into the cache.
//!
//! The package is not installed: that would start a daemon that takes over the machine's firewall and comes back at each
//! boot. Unpacked it is three programs that nobody else sees.

use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::kube::KubeError;
use crate::kube::process::run;
use crate::preflight::facts::on_path;

/// The programs of one engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Docker {
    /// On the search path.
    Installed,
    /// Below this directory, once [`unpack`] has been called.
    Unpacked(PathBuf),
}

impl Docker {
    /// Which one is used with this cache.
    pub(crate) fn find(cache: &Path) -> Docker {
        match on_path("dockerd") {
            Some(_) => Docker::Installed,
            None => Docker::Unpacked(cache.join("docker.io")),
        }
    }

    /// One of its programs: `dockerd`, `docker`, `docker-proxy`.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        match self {
            Docker::Installed => on_path(name).unwrap_or_else(|| name.into()),
            Docker::Unpacked(dir) if name == "docker" => dir.join("usr/bin").join(name),
            Docker::Unpacked(dir) => dir.join("usr/sbin").join(name),
        }
    }
}

/// Brings the programs into the cache, if this machine has none and they are not there.
pub(super) async fn unpack(cache: &Path, say: impl Fn(&str)) -> Result<(), KubeError> {
    let Docker::Unpacked(dir) = Docker::find(cache) else { return Ok(()) };
    if dir.is_dir() {
        return Ok(());
    }
    say("unpacking Debian's docker.io into the cache (it is not installed)");
    fs::create_dir_all(cache).map_err(KubeError::io("create", cache))?;
    let work = tempfile::tempdir_in(cache).map_err(KubeError::io("write", cache))?;
    let root = work.path().join("root");
    package("docker.io", work.path(), &root).await?;
    if !root.join("usr/bin/docker").is_file() {
        // Newer releases have the client in a package of its own.
        package("docker-cli", work.path(), &root).await?;
    }
    match fs::rename(&root, &dir) {
        // Another run was faster.
        Err(_) if dir.is_dir() => Ok(()),
        done => done.map_err(KubeError::io("rename to", dir)),
    }
}

/// Fetches one package, whose signature apt checks, and unpacks it over `root`.
async fn package(name: &str, work: &Path, root: &Path) -> Result<(), KubeError> {
    let what = format!("fetching Debian's package {name}");
    let download = || {
        let mut apt = Command::new("apt-get");
        apt.args(["download", name]).current_dir(work);
        apt
    };
    if run(&mut download(), &what).await.is_err() {
        // A stale package list is the usual reason.
        run(Command::new("apt-get").arg("update"), "updating the list of packages").await?;
        run(&mut download(), &what).await?;
    }
    let entries = fs::read_dir(work).map_err(KubeError::io("read", work))?.flatten();
    let begins = format!("{name}_");
    let deb = entries.map(|entry| entry.path()).find(|path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(&begins))
    });
    let deb =
        deb.ok_or_else(|| KubeError::Refused(format!("apt-get download {name} brought no such file")))?;
    let mut dpkg = Command::new("dpkg-deb");
    run(dpkg.arg("--extract").arg(deb).arg(root), &format!("unpacking {name}")).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacked_programs_are_where_the_package_has_them() {
        let docker = Docker::Unpacked("/c/docker.io".into());
        assert_eq!(docker.program("dockerd"), Path::new("/c/docker.io/usr/sbin/dockerd"));
        assert_eq!(docker.program("docker"), Path::new("/c/docker.io/usr/bin/docker"));
    }
}
