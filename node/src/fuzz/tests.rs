//! Every target bears its corpus, and a bounded number of mutations of it. No coverage is counted here: see `cargo fuzz-all`.

use super::{Target, corpus, targets};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// For each target, whatever the machine makes of it.
const MUTATIONS: usize = 3_000;
const MUTATIONS_FULL: usize = 200_000;
const TIME: Duration = Duration::from_secs(1);
const TIME_FULL: Duration = Duration::from_secs(20);

fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let path = corpus::path(target.name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    corpus::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names the input that a target did not bear.
fn check(target: &Target, input: &[u8]) {
    let borne = std::panic::catch_unwind(|| target.check(input));
    assert!(borne.is_ok(), "{} does not bear {}", target.name, corpus::line(input));
}

#[test]
fn every_decoder_bears_its_corpus() {
    for target in targets() {
        inputs(&target).iter().for_each(|input| check(&target, input));
        check(&target, b"");
    }
}

#[test]
fn every_corpus_has_what_is_encoded_in_earnest() {
    for target in targets() {
        let kept: BTreeSet<_> = inputs(&target).into_iter().collect();
        let missing = target.seeds().into_iter().find(|seed| !kept.contains(seed));
        assert_eq!(
            missing.map(|seed| corpus::line(&seed)),
            None,
            "{}: run `cargo fuzz-all --keep`",
            target.name
        );
        assert!(!target.seeds().is_empty(), "{} has no seeds", target.name);
    }
}

#[test]
fn every_decoder_bears_mutations_of_its_corpus() {
    let full = std::env::var_os("E2E_FULL").is_some();
    let (count, time) = if full { (MUTATIONS_FULL, TIME_FULL) } else { (MUTATIONS, TIME) };
    let mut random = fastrand::Rng::new();
    for target in targets() {
        let (inputs, end) = (inputs(&target), Instant::now() + time);
        for _ in 0..count {
            check(&target, &mutated(&inputs, &mut random));
            if Instant::now() > end {
                break;
            }
        }
    }
}

/// One or two inputs, cut, put together, and changed at some places.
fn mutated(inputs: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut input = random.choice(inputs).cloned().unwrap_or_default();
    if random.u8(..) < 64 {
        let other = random.choice(inputs).map_or(&[][..], Vec::as_slice);
        input.truncate(random.usize(..=input.len()));
        input.extend_from_slice(&other[random.usize(..=other.len())..]);
    }
    for _ in 0..random.usize(1..6) {
        let at = random.usize(..=input.len());
        match random.u8(..6) {
            0 => input.insert(at, random.u8(..)),
            1 => input.truncate(at.max(1)),
            2 => input.insert(at, *random.choice(&[0, 1, 0x7f, 0x80, 0xff]).unwrap_or(&0)),
            3 if at < input.len() => drop(input.remove(at)),
            _ if at < input.len() => input[at] ^= 1 << random.u8(..8),
            _ => {}
        }
    }
    input
}

#[test]
fn a_corpus_is_read_as_it_was_written() {
    let text = format!("# found by a flipped bit\n{}\n\n{} # the shortest\n", corpus::line(&[0, 255]), "0a");
    assert_eq!(corpus::parse(&text), Ok(vec![vec![0, 255], vec![10]]));
    assert_eq!(corpus::parse("00\n0g"), Err("line 2: no hexadecimal digits".to_owned()));
    assert!(corpus::parse("123").is_err());
}
