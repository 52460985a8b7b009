//! kind's node image, made without a registry: Debian's packages, kind's own files, the programs of Kubernetes built here.
//!
//! It differs from the published one in what that gets from elsewhere: containerd and runc are Debian's, there is no kindnetd
//! (`pods`), and the control plane's images are single programs. They are imported at a node's first boot.
//!
//! Invariant: a node writes no kernel setting that is not its own: those kubelet and Debian would write are covered or
//! removed.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tokio::process::Command;

use crate::image::archive::{Entry, Image, hex, write};
use crate::kube::KUBERNETES;
use crate::kube::KubeError;
use crate::kube::init::SYSCTLS;
use crate::kube::process::run;
use crate::kube::programs::{KIND_SOURCES, Programs};

/// What the image is called in the engine.
pub(super) const NAME: &str = "localhost/schedia-kind-node:dev";
/// Where kubeadm is told to take images from, with the tags it wants; the programs under these names are ours.
pub(super) const REPOSITORY: &str = "localhost";
const ETCD_TAG: &str = "3.6.5-0";
const COREDNS_TAG: &str = "v1.12.1";
const PAUSE_TAG: &str = "3.10.1";

const RELEASE: &str = "bookworm";
const PACKAGES: &str = "systemd,systemd-sysv,dbus,containerd,runc,containernetworking-plugins,iptables,nftables,iproute2,\
    kmod,ethtool,conntrack,socat,procps,jq,hostname,libseccomp2,openssl,ca-certificates,curl,ebtables,util-linux,mount,\
    bash,e2fsprogs";
/// Targets of Debian whose wishes make no sense in a container; kind's image empties them too.
const EMPTIED: [&str; 3] = [
    "lib/systemd/system/multi-user.target.wants",
    "lib/systemd/system/local-fs.target.wants",
    "lib/systemd/system/basic.target.wants",
];
const UNWANTED: [&str; 4] = [
    "lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service",
    "lib/systemd/system/sockets.target.wants/systemd-udevd-control.socket",
    "lib/systemd/system/sockets.target.wants/systemd-udevd-kernel.socket",
    "lib/systemd/system/sockets.target.wants/systemd-initctl.socket",
];

const CONTAINERD: &str = r#"version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:3.10.1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"#;

/// The tar of the root file system, made if it is not in the cache: minutes the first time.
pub(super) async fn make(programs: &Programs, say: fn(&str)) -> Result<PathBuf, KubeError> {
    let mut key = Sha256::new();
    for part in [include_str!("node_image.rs"), &programs.node_key()] {
        key.update(part);
    }
    let tar = programs.cache().join(format!("kind-node-{}.tar", &hex(&key.finalize())[..16]));
    if tar.is_file() {
        return Ok(tar);
    }
    say("making kind's node image from Debian's packages, once: a minute on two idle cores");
    let work = tempfile::tempdir_in(programs.cache()).map_err(KubeError::io("write", programs.cache()))?;
    let root = Root(work.path().join("root"));
    root.debian().await?;
    root.kind(&kind_files(work.path()).await?).await?;
    root.kubernetes(programs)?;
    root.images(programs).await?;
    root.units().await?;
    let beside = work.path().join("node.tar");
    let mut pack = Command::new("tar");
    pack.arg("--create")
        .arg("--file")
        .arg(&beside)
        .arg("--directory")
        .arg(&root.0)
        .args(["--numeric-owner", "."]);
    run(&mut pack, "packing the node image").await?;
    fs::rename(&beside, &tar).map_err(KubeError::io("rename to", &tar))?;
    Ok(tar)
}

/// The directory in kind's module that its own image is made from.
async fn kind_files(work: &Path) -> Result<PathBuf, KubeError> {
    let mut go = Command::new("go");
    go.args(["mod", "download", "-json", KIND_SOURCES]).current_dir(work);
    let answer = run(&mut go, "looking for kind's sources").await?;
    let answer: serde_json::Value =
        serde_json::from_str(&answer).map_err(KubeError::api("read go's answer"))?;
    let dir = answer["Dir"].as_str().map(|dir| Path::new(dir).join("images/base/files"));
    dir.filter(|dir| dir.is_dir())
        .ok_or_else(|| KubeError::Refused(format!("{KIND_SOURCES} has no images/base/files")))
}

/// The root file system of a node while it is made.
struct Root(PathBuf);

impl Root {
    fn at(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    fn dir(&self, path: &str) -> Result<(), KubeError> {
        fs::create_dir_all(self.at(path)).map_err(KubeError::io("create", self.at(path)))
    }

    fn write(&self, path: &str, text: &str) -> Result<(), KubeError> {
        fs::write(self.at(path), text).map_err(KubeError::io("write", self.at(path)))
    }

    fn copy(&self, from: &Path, to: &str) -> Result<(), KubeError> {
        fs::copy(from, self.at(to)).map(drop).map_err(KubeError::io("copy", from))
    }

    /// Empties a directory that may not be there.
    fn empty(&self, path: &str) -> Result<(), KubeError> {
        for entry in fs::read_dir(self.at(path)).into_iter().flatten().flatten() {
            fs::remove_file(entry.path()).map_err(KubeError::io("remove", entry.path()))?;
        }
        Ok(())
    }

    async fn debian(&self) -> Result<(), KubeError> {
        let mut debootstrap = Command::new("debootstrap");
        debootstrap.arg("--variant=minbase").arg(format!("--include={PACKAGES}")).arg(RELEASE).arg(&self.0);
        run(&mut debootstrap, "debootstrap").await?;
        for dir in EMPTIED {
            self.empty(dir)?;
        }
        let wishes = fs::read_dir(self.at("etc/systemd/system")).into_iter().flatten().flatten();
        for wish in wishes.filter(|entry| entry.file_name().to_string_lossy().ends_with(".wants")) {
            fs::remove_dir_all(wish.path()).map_err(KubeError::io("remove", wish.path()))?;
        }
        for file in UNWANTED.map(|file| self.at(file)) {
            if file.symlink_metadata().is_ok() {
                fs::remove_file(&file).map_err(KubeError::io("remove", file))?;
            }
        }
        // Settings that all containers of the machine share.
        self.empty("usr/lib/sysctl.d")?;
        self.empty("etc/sysctl.d")?;
        let journald = self.at("etc/systemd/journald.conf");
        let text = fs::read_to_string(&journald).map_err(KubeError::io("read", &journald))?;
        self.write("etc/systemd/journald.conf", &format!("{text}ReadKMsg=no\n"))?;
        for program in ["containerd", "ctr", "containerd-shim-runc-v2"] {
            let link = self.at("usr/local/bin").join(program);
            let to = Path::new("/usr/bin").join(program);
            std::os::unix::fs::symlink(to, &link).map_err(KubeError::io("link", link))?;
        }
        self.dir("opt/cni")?;
        run(
            Command::new("cp").arg("-r").arg(self.at("usr/lib/cni")).arg(self.at("opt/cni/bin")),
            "copying plugins",
        )
        .await
        .map(drop)
    }

    async fn kind(&self, files: &Path) -> Result<(), KubeError> {
        // A module's files are read-only.
        let mut copy = Command::new("cp");
        copy.args(["-r", "--no-preserve=mode"]).arg(files.join(".")).arg(&self.0);
        run(&mut copy, "copying kind's files").await?;
        let mut chmod = Command::new("chmod");
        chmod.args(["-R", "a+x"]).arg(self.at("usr/local/bin/entrypoint")).arg(self.at("kind/bin"));
        run(&mut chmod, "making kind's programs programs").await?;
        self.write("etc/containerd/config.toml", CONTAINERD)?;
        for dir in ["etc/kubernetes/manifests", "etc/cni/net.d", "kind/images", "kind/manifests"] {
            self.dir(dir)?;
        }
        self.write("kind/manifests/default-cni.yaml", "# none: see docs/kind.md\n")?;
        let volumes = include_str!("../../kube/manifests/local-path.yaml");
        self.write("kind/manifests/default-storage.yaml", volumes)
    }

    fn kubernetes(&self, programs: &Programs) -> Result<(), KubeError> {
        self.copy(&programs.kubeadm(), "usr/bin/kubeadm")?;
        self.copy(&programs.kubernetes("kubelet"), "usr/bin/kubelet")?;
        self.copy(&programs.kubectl(), "usr/bin/kubectl")?;
        self.write("kind/version", KUBERNETES)?;
        for (name, value) in SYSCTLS {
            let file = format!("kind/sysctl/{name}");
            self.dir(file.rsplit_once('/').map_or("kind/sysctl", |(dir, _)| dir))?;
            self.write(&file, value)?;
        }
        Ok(())
    }

    /// The images of every node in `kind/images`, those of the control plane in a directory below.
    async fn images(&self, programs: &Programs) -> Result<(), KubeError> {
        self.dir("kind/images/control-plane")?;
        let image = |to: &str, name: &str, tag: &str, entries: Vec<Entry>| {
            let image = Image {
                name: format!("{REPOSITORY}/{name}:{tag}"),
                entrypoint: vec![format!("/usr/bin/{name}")],
                command: Vec::new(),
                user: String::new(),
                working_dir: "/".to_owned(),
                entries,
            };
            write(&image, &self.at(&format!("kind/images/{to}{name}.tar"))).map(drop)
        };
        let program = |name: &str, from: PathBuf| vec![Entry::file(format!("/usr/bin/{name}"), from)];
        for name in ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
            image("control-plane/", name, KUBERNETES, program(name, programs.kubernetes(name)))?;
        }
        image("control-plane/", "etcd", ETCD_TAG, program("etcd", programs.etcd()))?;
        image("", "coredns", COREDNS_TAG, program("coredns", programs.coredns()))?;
        let mut proxy = program("kube-proxy", programs.kubernetes("kube-proxy"));
        // kubeadm calls this one by its path.
        proxy.push(Entry::symlink("/usr/local/bin/kube-proxy", "/usr/bin/kube-proxy"));
        proxy.extend(self.nft().await?);
        image("", "kube-proxy", KUBERNETES, proxy)?;
        let pods = crate::kube::images::make(programs).await?;
        let [pause, _, busybox, local_path] = &pods[..] else {
            return Err(KubeError::Refused("the cluster's own images are four".to_owned()));
        };
        for (from, to) in [(pause, "pause"), (busybox, "busybox"), (local_path, "local-path")] {
            self.copy(from, &format!("kind/images/{to}.tar"))?;
        }
        Ok(())
    }

    /// `nft` of this root with its libraries: kube-proxy calls it.
    async fn nft(&self) -> Result<Vec<Entry>, KubeError> {
        let mut ldd = Command::new("chroot");
        ldd.arg(&self.0).args(["ldd", "/usr/sbin/nft"]);
        let libraries = run(&mut ldd, "looking for the libraries of nft").await?;
        let mut entries = vec![Entry::file("/usr/bin/nft", self.at("usr/sbin/nft"))];
        for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
            // A link's target is relative to its own directory here: it is followed within the root.
            let from = self.at(library.trim_start_matches('/'));
            entries.push(Entry::file(library, fs::canonicalize(&from).map_err(KubeError::io("find", from))?));
        }
        Ok(entries)
    }

    async fn units(&self) -> Result<(), KubeError> {
        let covers: String = SYSCTLS
            .iter()
            .map(|(name, _)| format!("ExecStart=/bin/mount --bind /kind/sysctl/{name} /proc/sys/{name}\n"))
            .collect();
        let retag = format!("ctr -n k8s.io images tag localhost/pause:1 localhost/pause:{PAUSE_TAG}");
        let import =
            |dir: &str| format!("for image in {dir}/*.tar; do ctr -n k8s.io images import $$image; done");
        let once = "touch /var/lib/containerd/.loaded";
        let all = format!("ExecStart=/bin/sh -ec '{}; {retag}; {once}'\n", import("/kind/images"));
        let control_plane = format!("ExecStart=/bin/sh -ec '{}'\n", import("/kind/images/control-plane"));
        for (name, condition, starts) in [
            ("cover-sysctls", "", &covers),
            ("load-images", "ConditionPathExists=!/var/lib/containerd/.loaded\n", &all),
            ("load-control-plane", "ConditionHost=*-control-plane\n", &control_plane),
        ] {
            let unit = format!(
                "[Unit]\nAfter=containerd.service\nBefore=kubelet.service\n{condition}\
                 [Service]\nType=oneshot\nRemainAfterExit=yes\n{starts}\
                 [Install]\nWantedBy=multi-user.target\n"
            );
            self.write(&format!("etc/systemd/system/{name}.service"), &unit)?;
        }
        let enabled = [
            "kubelet",
            "containerd",
            "undo-mount-hacks",
            "cover-sysctls",
            "load-images",
            "load-control-plane",
        ];
        self.systemctl("enable", &enabled).await?;
        self.systemctl("mask", &["systemd-binfmt", "systemd-udevd"]).await
    }

    async fn systemctl(&self, verb: &str, units: &[&str]) -> Result<(), KubeError> {
        let mut systemctl = Command::new("chroot");
        systemctl
            .arg(&self.0)
            .args(["systemctl", verb])
            .args(units.iter().map(|unit| format!("{unit}.service")));
        run(&mut systemctl, &format!("systemctl {verb}")).await.map(drop)
    }
}
