//! Any bytes as an identity file, and as what a state file says it covers.

use super::base;
use super::identity::{Assigned, Former, Identity};
use super::log::Mark;
use super::seal::{seal, unseal};
use super::state::Checkpoint;
use crate::fuzz::{Target, again, postcard_again};
use bytes::Bytes;
use schedia_apps::{Epoch, Level, NodeId, ShardId, StoreId};

pub(crate) const TARGETS: [Target; 2] = [
    Target { name: "identity", memory: 16 << 10, run: identity, seeds: identity_seeds },
    Target { name: "checkpoint", memory: 16 << 10, run: checkpoint, seeds: checkpoint_seeds },
];

fn identity(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let encode = |identity: &Identity| identity.encode().expect("plain data");
    again(text.as_bytes(), decode_identity, encode);
    let line = text.lines().next().unwrap_or_default();
    let sealed = format!("{line}\n{:08x}\n", crc32c::crc32c(line.as_bytes()));
    again(sealed.as_bytes(), decode_identity, encode);
}

fn decode_identity(bytes: &[u8]) -> Result<Identity, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    Identity::decode(text).map_err(|error| error.to_string())
}

fn identity_seeds() -> Vec<Vec<u8>> {
    let store_id = |id: &str| StoreId::try_from(id.to_owned()).expect("an id");
    let cluster_id = "c1".parse().expect("an id");
    let blank = Identity { store_id: store_id("6e3c"), assigned: None, former: None };
    let seed = Some("{\"cluster_id\":\"c1\"}".to_owned());
    let assigned = Some(Assigned { cluster_id, node_id: NodeId(7), seed });
    let member = Identity { assigned, ..blank.clone() };
    let cluster_id = "c0".parse().expect("an id");
    let former = Former { store_id: store_id("77"), cluster_id, node_id: NodeId(3), moved: true };
    let reset = Identity { former: Some(former), ..blank.clone() };
    [blank, member, reset].map(|identity| identity.encode().expect("plain data").into_bytes()).to_vec()
}

fn checkpoint(input: &[u8]) {
    postcard_again::<Checkpoint>(input);
    let mut sealed = input.to_vec();
    seal(b"key", &mut sealed);
    assert_eq!(unseal(b"key", &sealed), Some(input));
    if let Some(value) = unseal(b"key", input) {
        assert_eq!(value.len() + 4, input.len());
    }
    for shard in [ShardId(0), ShardId(1)] {
        let is_of_it = base::check_format(shard, input).is_ok();
        assert!(!is_of_it || input[..8] == [1, 0, 0, 0, shard.0 as u8, 0, 0, 0]);
    }
}

fn checkpoint_seeds() -> Vec<Vec<u8>> {
    let mark = Mark { index: 300, id: Bytes::from_static(&[1, 3, 0xac, 2]) };
    let (membership, epoch, level) = (Bytes::from_static(&[1, 1, 1, 9]), Epoch(2), Some(Level(1)));
    let covered = Checkpoint { mark: Some(mark), membership, time_ms: 1_763_000_000_000, epoch, level };
    let encoded = [Checkpoint::default(), covered]
        .map(|checkpoint| postcard::to_stdvec(&checkpoint).expect("plain data"));
    let mut format = vec![1, 0, 0, 0, 0, 0, 0, 0];
    seal(b"format", &mut format);
    [&encoded[..], &[format]].concat()
}
