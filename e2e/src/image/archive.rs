//! Writes an OCI archive (a tar of an OCI image layout) by hand: one uncompressed layer, no base image.
//!
//! `ctr images import`, `podman load`, `kind load image-archive` and `docker load` take it: the last one, before its
//! release 25, by the `manifest.json` of its own format, which names the same files.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::ImageError;

/// An image to be written.
#[derive(Debug, Clone)]
pub struct Image {
    /// `registry/name:tag`.
    pub name: String,
    /// The command, in exec form.
    pub entrypoint: Vec<String>,
    /// What follows it where nobody says otherwise.
    pub command: Vec<String>,
    /// `uid:gid`, or empty for root.
    pub user: String,
    /// Where the command starts.
    pub working_dir: String,
    /// What the file system holds besides `/etc` and `/tmp`.
    pub entries: Vec<Entry>,
}

/// One path in the image. Parent directories come by themselves.
#[derive(Debug, Clone)]
pub struct Entry {
    path: String,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    File(PathBuf),
    Text(String),
    Symlink(String),
    Dir { owner: u32, mode: u32 },
}

impl Entry {
    /// An executable copied from this machine.
    pub fn file(path: impl Into<String>, source: impl Into<PathBuf>) -> Entry {
        Entry { path: path.into(), content: Content::File(source.into()) }
    }

    /// A file anybody may read.
    pub fn text(path: impl Into<String>, text: impl Into<String>) -> Entry {
        Entry { path: path.into(), content: Content::Text(text.into()) }
    }

    #[cfg(test)]
    pub(super) fn as_text(&self) -> Option<(&str, &str)> {
        match &self.content {
            Content::Text(text) => Some((&self.path, text)),
            Content::File(_) | Content::Symlink(_) | Content::Dir { .. } => None,
        }
    }

    #[cfg(test)]
    pub(super) fn as_owned_dir(&self) -> Option<(&str, u32)> {
        match &self.content {
            Content::Dir { owner, mode: _ } => Some((&self.path, *owner)),
            Content::File(_) | Content::Text(_) | Content::Symlink(_) => None,
        }
    }

    /// A symbolic link.
    pub fn symlink(path: impl Into<String>, to: impl Into<String>) -> Entry {
        Entry { path: path.into(), content: Content::Symlink(to.into()) }
    }

    /// An empty directory of this user.
    pub fn owned_dir(path: impl Into<String>, owner: u32) -> Entry {
        Entry { path: path.into(), content: Content::Dir { owner, mode: 0o755 } }
    }
}

/// A written archive.
#[derive(Debug, Clone)]
pub struct Archive {
    /// The image's name.
    pub name: String,
    /// Where the archive lies.
    pub path: PathBuf,
    /// `sha256:...` of the manifest: what a registry would call the image's digest.
    pub digest: String,
    /// Size of the layer.
    pub bytes: u64,
}

/// Writes `image` to `path`, whole or not at all.
pub fn write(image: &Image, path: &Path) -> Result<Archive, ImageError> {
    let layer = layer(&image.entries)?;
    let layer_digest = digest(&layer);
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Entrypoint": image.entrypoint,
            "Cmd": image.command,
            "Env": ["PATH=/usr/bin:/bin"],
            "User": image.user,
            "WorkingDir": image.working_dir,
        },
        "rootfs": { "type": "layers", "diff_ids": [layer_digest] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "schedia" }],
    })
    .to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", config.as_bytes()),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    })
    .to_string();
    let mut listed = descriptor("application/vnd.oci.image.manifest.v1+json", manifest.as_bytes());
    listed["annotations"] = json!({
        "io.containerd.image.name": image.name,
        "org.opencontainers.image.ref.name": image.name.rsplit_once(':').map_or("dev", |(_, tag)| tag),
    });
    listed["platform"] = json!({ "architecture": architecture(), "os": "linux" });
    let index = json!({ "schemaVersion": 2, "manifests": [listed] }).to_string();

    let blob = |digest: &str| digest.replacen("sha256:", "blobs/sha256/", 1);
    let manifest_digest = digest(manifest.as_bytes());
    let docker = json!([{
        "Config": blob(&digest(config.as_bytes())),
        "RepoTags": [image.name],
        "Layers": [blob(&layer_digest)],
    }])
    .to_string();
    let mut tar = Tar::new();
    tar.file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#.as_bytes(), 0o644);
    tar.file("index.json", index.as_bytes(), 0o644);
    tar.file("manifest.json", docker.as_bytes(), 0o644);
    tar.file(&blob(&manifest_digest), manifest.as_bytes(), 0o644);
    tar.file(&blob(&digest(config.as_bytes())), config.as_bytes(), 0o644);
    tar.file(&blob(&layer_digest), &layer, 0o644);
    write_whole(path, &tar.finish())?;
    Ok(Archive {
        name: image.name.clone(),
        path: path.to_owned(),
        digest: manifest_digest,
        bytes: layer.len() as u64,
    })
}

/// The layer's tar: directories and files in the order of their paths.
fn layer(entries: &[Entry]) -> Result<Vec<u8>, ImageError> {
    let mut all = BTreeMap::new();
    // A kubelet mounts /etc/hosts and /etc/resolv.conf, and programs expect a /tmp.
    all.insert("etc".to_owned(), Content::Dir { owner: 0, mode: 0o755 });
    all.insert("tmp".to_owned(), Content::Dir { owner: 0, mode: 0o1777 });
    for entry in entries {
        let path = entry.path.trim_matches('/');
        for (i, _) in path.match_indices('/') {
            all.entry(path[..i].to_owned()).or_insert(Content::Dir { owner: 0, mode: 0o755 });
        }
        all.insert(path.to_owned(), entry.content.clone());
    }
    let mut tar = Tar::new();
    for (path, content) in &all {
        match content {
            Content::Dir { owner, mode } => tar.dir(path, *owner, *mode),
            Content::Symlink(to) => tar.symlink(path, to),
            Content::Text(text) => tar.file(path, text.as_bytes(), 0o644),
            Content::File(source) => {
                let bytes = fs::read(source).map_err(|e| ImageError::Io {
                    doing: "read",
                    path: source.clone(),
                    source: e,
                })?;
                tar.file(path, &bytes, 0o755);
            }
        }
    }
    Ok(tar.finish())
}

/// A tar in memory, with nothing of this machine in its headers.
struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Tar {
        Tar(tar::Builder::new(Vec::new()))
    }

    fn dir(&mut self, path: &str, owner: u32, mode: u32) {
        let mut header = header(tar::EntryType::Directory, mode, 0);
        header.set_uid(owner.into());
        header.set_gid(owner.into());
        self.0.append_data(&mut header, format!("{path}/"), std::io::empty()).expect("a tar in memory grows");
    }

    fn symlink(&mut self, path: &str, to: &str) {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        self.0.append_link(&mut header, path, to).expect("a tar in memory grows");
    }

    fn file(&mut self, path: &str, bytes: &[u8], mode: u32) {
        let mut header = header(tar::EntryType::Regular, mode, bytes.len() as u64);
        self.0.append_data(&mut header, path, bytes).expect("a tar in memory grows");
    }

    fn finish(self) -> Vec<u8> {
        self.0.into_inner().expect("a tar in memory grows")
    }
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name Go, and with it every container tool, has for this machine's architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Written beside and renamed: a reader never sees half an archive.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
    let error = |source| ImageError::Io { doing: "write", path: path.to_owned(), source };
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(error)?;
    file.write_all(bytes).map_err(error)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644)).map_err(error)?;
    file.persist(path).map_err(|e| error(e.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(entries: Vec<Entry>) -> Image {
        Image {
            name: "localhost/x:1".to_owned(),
            entrypoint: vec!["/bin/x".to_owned()],
            command: Vec::new(),
            user: String::new(),
            working_dir: "/".to_owned(),
            entries,
        }
    }

    fn names(tar: &[u8]) -> Vec<String> {
        let mut archive = tar::Archive::new(tar);
        let entries = archive.entries().expect("entries");
        entries.map(|e| e.expect("entry").path().expect("path").display().to_string()).collect()
    }

    #[test]
    fn a_layer_holds_every_parent_directory_before_its_children() {
        let entries = [Entry::text("/usr/bin/x", "x"), Entry::symlink("/usr/bin/a", "x")];
        let layer = layer(&entries).expect("layer");
        assert_eq!(names(&layer), ["etc/", "tmp/", "usr/", "usr/bin/", "usr/bin/a", "usr/bin/x"]);
    }

    #[test]
    fn the_same_content_gives_the_same_digest_whatever_the_order_and_the_archive_path() {
        let dir = tempfile::tempdir().expect("dir");
        let (a, b) = (Entry::text("/a", "1"), Entry::text("/b", "2"));
        let one = write(&image(vec![a.clone(), b.clone()]), &dir.path().join("one.tar")).expect("write");
        let two = write(&image(vec![b, a]), &dir.path().join("two.tar")).expect("write");
        let other =
            write(&image(vec![Entry::text("/a", "1")]), &dir.path().join("three.tar")).expect("write");
        assert_eq!(one.digest, two.digest);
        assert_ne!(one.digest, other.digest);
    }

    #[test]
    fn every_blob_of_an_archive_is_named_by_its_content() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("x.tar");
        write(&image(vec![Entry::text("/a", "1")]), &path).expect("write");
        let mut blobs = 0;
        let mut archive = tar::Archive::new(fs::File::open(&path).expect("open"));
        for entry in archive.entries().expect("entries") {
            let mut entry = entry.expect("entry");
            let name = entry.path().expect("path").display().to_string();
            let mut bytes = Vec::new();
            std::io::copy(&mut entry, &mut bytes).expect("read");
            if let Some(hex) = name.strip_prefix("blobs/sha256/") {
                assert_eq!(digest(&bytes), format!("sha256:{hex}"));
                blobs += 1;
            }
        }
        assert_eq!(blobs, 3, "manifest, config, layer");
    }
}
