//! The programs of Kubernetes, built once from pinned Go modules into the cache.
//!
//! Each program's `go.mod` and `go.sum` (under `e2e/kube/`) are compiled into this crate; a directory of the cache is named by
//! a hash of them, of the flags and of the architecture. It is built beside and renamed, under a lock: whatever
//! directory exists is whole, and two clones never build the same thing twice.

use std::fs;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::KubeError;
use super::process::tail;
use crate::image::archive::hex;

/// The version of Kubernetes the local cluster runs.
pub const KUBERNETES: &str = "v1.34.4";

/// One Go module whose `tool` lines name the packages to build.
struct Module {
    name: &'static str,
    pins: [(&'static str, &'static str); 2],
    packages: &'static [&'static str],
    ldflags: &'static str,
}

macro_rules! pins {
    ($dir:literal) => {
        [
            ("go.mod", include_str!(concat!("../../kube/", $dir, "/go.mod"))),
            ("go.sum", include_str!(concat!("../../kube/", $dir, "/go.sum"))),
        ]
    };
}

const ETCD: Module =
    Module { name: "etcd", pins: pins!("etcd"), packages: &["go.etcd.io/etcd/server/v3"], ldflags: "-s -w" };
const COREDNS: Module = Module {
    name: "coredns",
    pins: pins!("coredns"),
    packages: &["github.com/coredns/coredns"],
    ldflags: "-s -w",
};
const LOCAL_PATH: Module = Module {
    name: "local-path-provisioner",
    pins: pins!("local-path"),
    packages: &["github.com/rancher/local-path-provisioner"],
    ldflags: "-s -w",
};
const KUBE: Module = Module {
    name: "kubernetes",
    pins: pins!("kubernetes"),
    packages: &[
        "k8s.io/kubernetes/cmd/kube-apiserver",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-scheduler",
        "k8s.io/kubernetes/cmd/kubelet",
        "k8s.io/kubernetes/cmd/kube-proxy",
        "k8s.io/kubernetes/cmd/kubectl",
    ],
    // Without these it reports v0.0.0-master; they repeat KUBERNETES, which a test compares.
    ldflags: "-s -w -X k8s.io/component-base/version.gitVersion=v1.34.4 \
              -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34 \
              -X k8s.io/component-base/version.gitTreeState=clean",
};
const HELM: Module = Module {
    name: "helm",
    pins: pins!("helm"),
    packages: &["helm.sh/helm/v4/cmd/helm"],
    ldflags: "-s -w -X helm.sh/helm/v4/internal/version.version=v4.3.1",
};
/// Not part of the cluster: built when an engine is wanted.
const COMPOSE: Module = Module {
    name: "compose",
    pins: pins!("compose"),
    packages: &["github.com/docker/compose/v5/cmd"],
    ldflags: "-s -w -X github.com/docker/compose/v5/internal.Version=v5.0.2",
};
/// What `cargo bench-cluster` measures against. The etcd of the local Kubernetes is older and slower.
pub(crate) const PEER: &str = "v3.7.3";
const ETCD_PEER: Module = Module { name: "etcd-peer", pins: pins!("etcd-peer"), ..ETCD };
/// kind's module, whose sources hold the files of its node image.
pub(crate) const KIND_SOURCES: &str = "sigs.k8s.io/kind@v0.33.0";
const KIND: Module =
    Module { name: "kind", pins: pins!("kind"), packages: &["sigs.k8s.io/kind"], ldflags: "-s -w" };
const KUBEADM: Module = Module {
    name: "kubeadm",
    pins: pins!("kubeadm"),
    packages: &["k8s.io/kubernetes/cmd/kubeadm"],
    ldflags: KUBE.ldflags,
};
const MODULES: [&Module; 5] = [&ETCD, &KUBE, &COREDNS, &LOCAL_PATH, &HELM];

impl Module {
    fn key(&self) -> String {
        let mut hash = Sha256::new();
        for part in [self.pins[0].1, self.pins[1].1, self.ldflags, std::env::consts::ARCH] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        format!("{}-{}", self.name, &hex(&hash.finalize())[..16])
    }
}

/// Where the built programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    cache: PathBuf,
}

impl Programs {
    /// The programs below this cache directory, built or not.
    pub fn new(cache: &Path) -> Programs {
        Programs { cache: cache.join("kubernetes") }
    }

    /// Whether there is nothing to build.
    pub fn built(&self) -> bool {
        self.missing(&MODULES).is_empty()
    }

    /// A program of Kubernetes by its name.
    pub fn kubernetes(&self, program: &str) -> PathBuf {
        self.dir(&KUBE).join(program)
    }

    /// The command line client, for people.
    pub fn kubectl(&self) -> PathBuf {
        self.kubernetes("kubectl")
    }

    /// The package manager, for people and for the chart's tests.
    pub fn helm(&self) -> PathBuf {
        self.dir(&HELM).join(HELM.name)
    }

    pub(crate) fn kind(&self) -> PathBuf {
        self.dir(&KIND).join(KIND.name)
    }

    pub(crate) fn kubeadm(&self) -> PathBuf {
        self.dir(&KUBEADM).join(KUBEADM.name)
    }

    /// The command `docker compose`, as a program of its own.
    pub(crate) fn compose(&self) -> PathBuf {
        self.dir(&COMPOSE).join(COMPOSE.name)
    }

    pub(crate) fn etcd(&self) -> PathBuf {
        self.dir(&ETCD).join(ETCD.name)
    }

    /// The etcd of version `PEER`.
    pub fn etcd_peer(&self) -> PathBuf {
        self.dir(&ETCD_PEER).join(ETCD_PEER.name)
    }

    pub(crate) fn coredns(&self) -> PathBuf {
        self.dir(&COREDNS).join(COREDNS.name)
    }

    pub(crate) fn local_path_provisioner(&self) -> PathBuf {
        self.dir(&LOCAL_PATH).join(LOCAL_PATH.name)
    }

    /// Changes whenever a program that goes into an image does.
    pub(crate) fn image_key(&self) -> String {
        format!("{}-{}", COREDNS.key(), LOCAL_PATH.key())
    }

    /// Changes whenever a program that goes into a node of kind does.
    pub(crate) fn node_key(&self) -> String {
        [&KUBE, &KUBEADM, &ETCD, &COREDNS, &LOCAL_PATH, &KIND].map(Module::key).join(" ")
    }

    pub(crate) fn cache(&self) -> &Path {
        &self.cache
    }

    fn dir(&self, module: &Module) -> PathBuf {
        self.cache.join(module.key())
    }

    fn missing(&self, modules: &[&'static Module]) -> Vec<&'static Module> {
        modules.iter().copied().filter(|module| !self.dir(module).is_dir()).collect()
    }

    /// Builds what is missing. The first time takes ten minutes on two cores; `say` hears how far it is.
    pub async fn build(&self, say: fn(&str)) -> Result<(), KubeError> {
        self.build_all(&MODULES, say).await
    }

    /// Builds compose, if it is missing: two minutes.
    pub(crate) async fn build_compose(&self, say: fn(&str)) -> Result<(), KubeError> {
        self.build_all(&[&COMPOSE], say).await
    }

    /// Whether [`Programs::etcd_peer`] is there.
    pub fn peer_built(&self) -> bool {
        self.missing(&[&ETCD_PEER]).is_empty()
    }

    /// Builds [`Programs::etcd_peer`], if it is missing: a minute.
    pub async fn build_peer(&self, say: fn(&str)) -> Result<(), KubeError> {
        self.build_all(&[&ETCD_PEER], say).await
    }

    /// Builds kind and kubeadm, if they are missing: a minute after Kubernetes.
    pub(crate) async fn build_kind(&self, say: fn(&str)) -> Result<(), KubeError> {
        self.build_all(&[&KIND, &KUBEADM], say).await
    }

    async fn build_all(&self, modules: &[&'static Module], say: fn(&str)) -> Result<(), KubeError> {
        if self.missing(modules).is_empty() {
            return Ok(());
        }
        let (this, modules) = (self.clone(), modules.to_vec());
        let build = tokio::task::spawn_blocking(move || this.build_blocking(&modules, say));
        build.await.map_err(KubeError::api("build programs from Go modules"))?
    }

    fn build_blocking(&self, modules: &[&'static Module], say: fn(&str)) -> Result<(), KubeError> {
        fs::create_dir_all(&self.cache).map_err(KubeError::io("create", &self.cache))?;
        let lock = fs::File::open(&self.cache).map_err(KubeError::io("open", &self.cache))?;
        if lock.try_lock().is_err() {
            say("another build of the same programs is under way: waiting for it");
            lock.lock().map_err(KubeError::io("lock", &self.cache))?;
        }
        for (i, module) in self.missing(modules).into_iter().enumerate() {
            if i == 0 {
                say(
                    "building what is missing of the pinned programs from Go modules, once: up to twelve minutes on two cores",
                );
            }
            self.build_module(module, say)?;
        }
        Ok(())
    }

    fn build_module(&self, module: &Module, say: fn(&str)) -> Result<(), KubeError> {
        let started = Instant::now();
        let work = tempfile::tempdir_in(&self.cache).map_err(KubeError::io("write", &self.cache))?;
        for (file, text) in module.pins {
            fs::write(work.path().join(file), text).map_err(KubeError::io("write", work.path()))?;
        }
        let out = work.path().join("bin");
        fs::create_dir(&out).map_err(KubeError::io("create", &out))?;
        // With one package the file is named here, with several each by its package.
        let output = if module.packages.len() == 1 { out.join(module.name) } else { out.clone() };
        let mut go = Command::new("nice");
        go.args([
            "-n",
            "5",
            "go",
            "build",
            "-v",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags",
            module.ldflags,
            "-o",
        ]);
        go.arg(&output).args(module.packages).current_dir(work.path()).env("CGO_ENABLED", "0");
        go_build(&mut go, module.name, started, say)?;
        let dir = self.dir(module);
        fs::rename(&out, &dir).map_err(KubeError::io("rename to", &dir))?;
        say(&format!("built {} in {} s", module.name, started.elapsed().as_secs()));
        Ok(())
    }
}

/// Runs go, which names each package it compiles on its standard error; says how far it is every ten seconds.
fn go_build(go: &mut Command, name: &str, started: Instant, say: fn(&str)) -> Result<(), KubeError> {
    let mut child =
        go.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(KubeError::io("run", "nice go"))?;
    let stderr =
        child.stderr.take().ok_or_else(|| KubeError::Refused("go has no standard error".to_owned()))?;
    let packages = Arc::new(AtomicUsize::new(0));
    let text = Arc::new(Mutex::new(String::new()));
    let reader = std::thread::spawn({
        let (packages, text) = (packages.clone(), text.clone());
        move || {
            for line in std::io::BufReader::new(stderr).lines().map_while(Result::ok) {
                let is_package = line.contains('/') && !line.contains(' ');
                packages.fetch_add(usize::from(is_package), Ordering::Relaxed);
                if let (false, Ok(mut text)) = (is_package, text.lock()) {
                    text.push_str(&line);
                    text.push('\n');
                }
            }
        }
    });
    let mut said = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(KubeError::io("await", "go"))? {
            break status;
        }
        if said.elapsed() >= Duration::from_secs(10) {
            said = Instant::now();
            let (packages, seconds) = (packages.load(Ordering::Relaxed), started.elapsed().as_secs());
            say(&format!("building {name}: {packages} packages compiled, {seconds} s"));
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let _ = reader.join();
    if status.success() {
        return Ok(());
    }
    let output = text.lock().map_or_else(|_| String::new(), |text| tail(&text, 30));
    Err(KubeError::Command { what: format!("building {name}"), status, output })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_kubernetes_is_the_same_in_the_pins_and_in_the_flags() {
        assert!(KUBE.pins[0].1.contains(&format!("k8s.io/kubernetes {KUBERNETES} ")));
        assert!(KUBE.ldflags.contains(&format!("gitVersion={KUBERNETES} ")));
    }

    #[test]
    fn the_version_of_helm_is_the_same_in_the_pins_and_in_the_flags() {
        let version = HELM.ldflags.rsplit('=').next().expect("its flags end in it");
        assert!(HELM.pins[0].1.contains(&format!("helm.sh/helm/v4 {version} ")));
    }

    #[test]
    fn the_version_of_compose_is_the_same_in_the_pins_and_in_the_flags() {
        let version = COMPOSE.ldflags.rsplit('=').next().expect("its flags end in it");
        assert!(COMPOSE.pins[0].1.contains(&format!("github.com/docker/compose/v5 {version} ")));
    }

    #[test]
    fn kind_and_kubeadm_are_of_the_versions_that_are_said() {
        assert!(KIND.pins[0].1.contains(&KIND_SOURCES.replace('@', " ")));
        assert!(KUBEADM.pins[0].1.contains(&format!("k8s.io/kubernetes {KUBERNETES} ")));
    }

    #[test]
    fn the_peer_is_of_the_version_that_is_said() {
        assert!(ETCD_PEER.pins[0].1.contains(&format!("go.etcd.io/etcd/server/v3 {PEER} ")));
    }

    #[test]
    fn every_package_to_be_built_is_a_pinned_tool() {
        for module in MODULES.into_iter().chain([&COMPOSE, &KIND, &KUBEADM, &ETCD_PEER]) {
            for package in module.packages {
                assert!(module.pins[0].1.contains(package), "{package}");
            }
        }
    }

    #[test]
    fn a_changed_pin_changes_the_directory() {
        assert_ne!(ETCD.key(), Module { pins: pins!("coredns"), ..ETCD }.key());
    }
}
