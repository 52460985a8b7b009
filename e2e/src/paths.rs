//! Where things are: the workspace, its build directory, the cache that outlives a clone.

use std::path::{Path, PathBuf};

/// The top of the workspace this binary was built from.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate e2e lies in the workspace")
}

/// Cargo's build directory: `CARGO_TARGET_DIR`, else `target` of the workspace.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) if !dir.is_empty() => workspace().join(dir),
        _ => workspace().join("target"),
    }
}

/// The static `schedia` that the image holds, once `cargo cluster image` has built it.
pub fn static_schedia() -> PathBuf {
    target().join(format!("{}-unknown-linux-gnu/release/schedia", std::env::consts::ARCH))
}

/// The archive of the image, once `cargo cluster image` has written it.
pub fn image_archive() -> PathBuf {
    static_schedia().with_file_name("schedia.oci.tar")
}

/// What may be kept between clones: `E2E_CACHE`, else `schedia` in the user's cache directory.
pub fn cache() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("E2E_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| dir.join("schedia")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/schedia")))
        .unwrap_or_else(|| std::env::temp_dir().join("schedia-cache"))
}
