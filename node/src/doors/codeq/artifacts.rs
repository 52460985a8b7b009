//! Files that workers made: told by a URL, or uploaded with the result.
//!
//! An upload is kept on the node that took it, as in codeQ, and only where a directory for it was named: other members have its URL,
//! not its bytes.

use super::error::CodeqError;
use super::wire::UploadJson;
use crate::queues::Settings;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schedia_apps::queue::{Artifact, TaskId};
use std::path::{Component, Path, PathBuf};

/// The artifacts of a result, uploads written to the disk.
pub(super) async fn kept(
    settings: &Settings,
    task: TaskId,
    uploads: Vec<UploadJson>,
) -> Result<Vec<Artifact>, CodeqError> {
    let mut kept = Vec::new();
    for UploadJson { name, url, content_base64, .. } in uploads {
        if !url.is_empty() {
            kept.push(Artifact { name, url });
        } else if !content_base64.is_empty() {
            let content = STANDARD.decode(&content_base64);
            let content = content.map_err(|e| refused(&name, &format!("base64 decode: {e}")))?;
            let file = place(settings.artifacts.as_deref(), task, &name)?;
            write(&file, &content).await.map_err(|e| refused(&name, &format!("upload: {e}")))?;
            kept.push(Artifact { name, url: format!("file://{}", file.display()) });
        }
    }
    Ok(kept)
}

fn refused(name: &str, why: &str) -> CodeqError {
    CodeqError::bad_request(format!("artifact {name} {why}"))
}

/// Where an upload goes: its name must be that of a file, and nothing else.
fn place(directory: Option<&Path>, task: TaskId, name: &str) -> Result<PathBuf, CodeqError> {
    let directory = directory
        .ok_or_else(|| refused(name, "upload: this node keeps none (--queue-artifacts-dir); send a url"))?;
    match Path::new(name).components().collect::<Vec<_>>().as_slice() {
        [Component::Normal(file)] if *file == name => {
            Ok(directory.join("results").join(task.to_string()).join(name))
        }
        _ => Err(refused(name, "upload: its name must be that of a file, without a path")),
    }
}

async fn write(file: &Path, content: &[u8]) -> std::io::Result<()> {
    if let Some(directory) = file.parent() {
        tokio::fs::create_dir_all(directory).await?;
    }
    tokio::fs::write(file, content).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_cannot_leave_its_directory() {
        let (directory, task) = (Path::new("/a"), TaskId([0; 16]));
        let place = |name: &str| place(Some(directory), task, name).map_err(CodeqError::into_text);
        assert_eq!(place("x.txt").unwrap(), directory.join("results").join(task.to_string()).join("x.txt"));
        for name in ["", ".", "..", "../x", "/x", "a/b", "x/"] {
            assert!(place(name).unwrap_err().contains("without a path"), "{name}");
        }
    }
}
