//! What the API server refused, in words for whoever can change it.

use kube::runtime::watcher;

/// The API server's own words; it names verb, resource and namespace when a permission is missing.
pub(crate) fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.is_forbidden() => {
            format!("not allowed, add it to the operator's role: {}", status.message)
        }
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// A watch that is refused, in the same words as a refused request.
pub(crate) fn watch_words(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(cause) | watcher::Error::WatchStartFailed(cause) => words(cause),
        watcher::Error::WatchError(status) => words(&kube::Error::Api(status.clone())),
        other => other.to_string(),
    }
}
