//! Bodies and requests up to their bounds, and one beyond.

use super::*;
use futures::stream::{self, StreamExt};
use std::convert::Infallible;

const LARGEST: usize = 1 << 20;

fn declared(bytes: usize) -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_LENGTH, bytes.into())])
}

async fn read(bounds: &Bounds, bytes: usize) -> Result<Counted, DoorError> {
    bounds.body(&declared(bytes), Body::from(vec![7; bytes]), LARGEST, "a value").await
}

fn status(refused: Result<Counted, DoorError>) -> String {
    let error = refused.err().expect("refused");
    format!("{} {}: {}", error.status().as_u16(), error.code(), error.message())
}

/// Paused: time runs on as soon as everybody waits for it.
#[tokio::test(start_paused = true)]
async fn a_body_that_stops_coming_is_given_up_and_its_room_given_back() {
    let bounds = Bounds::new();
    let begun = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"beg"))]);
    let body = Body::from_stream(begun.chain(stream::pending()));
    let refused = bounds.body(&declared(1_000), body, LARGEST, "a value").await;
    assert_eq!(status(refused), "408 timeout: the body did not arrive within 10s");
    assert_eq!(bounds.bodies_kib.available_permits(), BODIES_KIB_MAX);
}

#[tokio::test]
async fn bodies_beyond_the_bound_are_refused_until_one_is_done_with() {
    let bounds = Bounds::new();
    let mut held = Vec::new();
    for _ in 0..BODIES_KIB_MAX / 1024 {
        held.push(read(&bounds, LARGEST).await.expect("64 MiB fit"));
    }
    let busy = "429 busy: too many bytes of requests are under way on this node, try again later";
    assert_eq!(status(read(&bounds, 1).await), busy);
    assert_eq!(read(&bounds, 0).await.expect("nothing needs no room").bytes.len(), 0);
    held.pop();
    assert_eq!(read(&bounds, LARGEST).await.expect("there is room again").bytes.len(), LARGEST);
}

#[tokio::test]
async fn a_body_of_unknown_length_takes_the_room_of_the_largest_until_it_has_arrived() {
    let bounds = Bounds::new();
    let chunks = stream::iter((0..3).map(|_| Ok::<_, Infallible>(Bytes::from_static(b"abc"))));
    let body = bounds.body(&HeaderMap::new(), Body::from_stream(chunks), LARGEST, "a value").await;
    assert_eq!(body.expect("it fits").bytes, "abcabcabc");
    let chunks = stream::iter((0..3).map(|_| Ok::<_, Infallible>(Bytes::from(vec![0; LARGEST / 2]))));
    let refused = bounds.body(&HeaderMap::new(), Body::from_stream(chunks), LARGEST, "a value").await;
    assert_eq!(status(refused), "413 too_large: a value has at most 1048576 bytes");
    assert_eq!(bounds.bodies_kib.available_permits(), BODIES_KIB_MAX);
}

#[tokio::test]
async fn requests_beyond_the_bound_are_refused_until_one_is_answered() {
    let bounds = Bounds::new();
    let mut held: Vec<_> = (0..REQUESTS_MAX).map(|_| bounds.admit().expect("they fit")).collect();
    let refused = bounds.admit().expect_err("one too many");
    assert_eq!((refused.status().as_u16(), refused.code()), (429, "busy"));
    held.pop();
    assert!(bounds.admit().is_ok());
}
