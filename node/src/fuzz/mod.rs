//! What decodes bytes of a disk or of the network, each with a target that bears any bytes: for the fuzzer and for tests.
//!
//! A target lies beside its decoder, in a file `fuzz.rs`. It asserts that
//! * nothing panics, and an error is in words;
//! * what was accepted is what its encoder makes of it, or decodes to the same again;
//! * memory is bounded by the length of the input: a length that is only claimed takes none.
//!
//! Where bytes are sealed by a checksum a target seals them itself: no fuzzer guesses one.
//!
//! Not here: the engine that counts coverage (`node/fuzz/engine.rs`), the corpora (`node/fuzz/corpus`), who runs both
//! (`cargo fuzz-all`). No product has this module.

mod apps;
pub mod corpus;
mod input;
mod queue;
#[cfg(test)]
mod tests;

pub(crate) use input::Input;

use serde::{Serialize, de::DeserializeOwned};

/// What an input may cost for each of its bytes, besides what its target may cost for none.
const MEMORY_PER_BYTE: u64 = 512;

/// One decoder, or some of a kind.
#[derive(Clone, Copy)]
pub struct Target {
    /// Of its corpus: `node/fuzz/corpus/<name>.hex`.
    pub name: &'static str,
    /// Bytes of memory that it may take for an empty input.
    pub(crate) memory: u64,
    /// Panics if a decoder, or what it decoded, is not as it should be.
    pub(crate) run: fn(&[u8]),
    /// Inputs made of what is encoded in earnest.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
}

/// Every target.
pub fn targets() -> Vec<Target> {
    [
        &crate::storage::log_fuzz::TARGETS[..],
        &crate::storage::fuzz::TARGETS,
        &crate::storage::snapshot::fuzz::TARGETS,
        &crate::raft::fuzz::TARGETS,
        &crate::peer::fuzz::TARGETS,
        &crate::shards::fuzz::TARGETS,
        &crate::doors::native::fuzz::TARGETS,
        &crate::auth::fuzz::TARGETS,
        &apps::TARGETS,
    ]
    .concat()
}

impl Target {
    /// Inputs made of what is encoded in earnest.
    pub fn seeds(&self) -> Vec<Vec<u8>> {
        (self.seeds)()
    }

    /// Panics if a decoder, or what it decoded, is not as it should be, or costs more memory than it should.
    pub fn check(&self, input: &[u8]) {
        let used = allocation_counter::measure(|| (self.run)(input)).bytes_max;
        let allowed = self.memory + MEMORY_PER_BYTE * input.len() as u64;
        assert!(used <= allowed, "{}: {} bytes of input took {used} bytes of memory", self.name, input.len());
    }
}

/// Of what is encoded by serde in postcard: what is decoded is encoded to the same again.
pub(crate) fn postcard_again<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    again(
        bytes,
        |bytes| postcard::from_bytes::<T>(bytes),
        |value| postcard::to_stdvec(value).expect("plain data"),
    );
}

/// What is decoded is encoded to bytes that decode to the same. `bytes` need not be those: a number has longer forms.
pub(crate) fn again<T, E: std::fmt::Display, B: AsRef<[u8]>>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, E>,
    encode: impl Fn(&T) -> B,
) {
    match decode(bytes) {
        Ok(value) => {
            let encoded = encode(&value);
            match decode(encoded.as_ref()) {
                Ok(value) => assert_eq!(encode(&value).as_ref(), encoded.as_ref()),
                Err(error) => panic!("what was encoded is not decoded: {error}"),
            }
        }
        Err(error) => assert!(!error.to_string().is_empty(), "an error without words"),
    }
}
