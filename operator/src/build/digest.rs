//! A short digest of anything that serializes, the same in every release and process.

use serde::Serialize;
use sha2::{Digest, Sha256};

/// 64 bits in hexadecimal: enough to tell two configurations of one object apart.
pub fn digest<T: Serialize>(content: &T) -> String {
    // Through `Value`, whose maps are sorted: the order of fields in our structs is no part of it.
    let value = serde_json::to_value(content).expect("Kubernetes objects have text keys and finite numbers");
    let hash = Sha256::digest(value.to_string().as_bytes());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::digest;
    use serde_json::json;

    #[test]
    fn a_digest_is_the_same_in_every_release() {
        assert_eq!(digest(&json!({"a": 1, "b": [true, null]})), "1cc69c7fa23616ca");
        assert_ne!(digest(&json!({"a": 1})), digest(&json!({"a": 2})));
    }
}
