//! An issuer for tests: keys of all three kinds, tokens signed with them, and a real server that publishes them.

use super::keys::Method;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPairComponents, PublicKeyComponents};
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// The key of RFC 7515, A.2.1: everybody has it. ring makes none of RSA.
const RSA: [(&str, &str); 7] = [
    (
        "n",
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    ),
    (
        "d",
        "Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ",
    ),
    (
        "p",
        "4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc",
    ),
    (
        "q",
        "uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc",
    ),
    (
        "dp",
        "BwKfV3Akq5_MFZDFZCnW-wzl-CCo83WoZvnLQwCTeDv8uzluRSnm71I3QCLdhrqE2e9YkxvuxdBfpT_PI7Yz-FOKnu1R6HsJeDCjn12Sk3vmAktV2zb34MCdy7cpdTh_YVr7tss2u6vneTwrA86rZtu5Mbr1C1XsmvkxHQAdYo0",
    ),
    (
        "dq",
        "h_96-mK1R_7glhsum81dZxjTnYynPbZpHziZjeeHcXYsXaaMwkOlODsWa7I9xXDoRwbKgB719rrmI2oKr6N3Do9U0ajaHF-NKJnwgjMd2w9cjz3_-kyNlxAr2v4IKhGNpmM5iIgOS1VZnOZ68m6_pbLBSp3nssTdlqvd0tIiTHU",
    ),
    (
        "qi",
        "IYd7DHOhrWvxkwPQsRM2tOgrjbcrfvtQJipd-DlcxyVuuM9sQLdgjVk2oy26F0EmpScGLq2MowX7fhd_QJQ3ydy5cY7YIBi87w93IKLEdfnbJtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp_gh6A5603k2-ZQwVK0JKSHuLFkuQ3U",
    ),
];

pub(super) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Signs with a key of its own; for RSA with the one there is.
pub(super) struct Signer {
    id: String,
    pair: Pair,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    pub(super) fn rsa(id: &str) -> Signer {
        let [n, d, p, q, dp, dq, qi] = RSA.map(|(_, number)| URL_SAFE_NO_PAD.decode(number).unwrap());
        let public_key = PublicKeyComponents { n, e: vec![1, 0, 1] };
        let components = KeyPairComponents { public_key, d, p, q, dP: dp, dQ: dq, qInv: qi };
        Signer {
            id: id.to_owned(),
            pair: Pair::Rsa(Box::new(RsaKeyPair::from_components(&components).unwrap())),
        }
    }

    pub(super) fn p256(id: &str) -> Signer {
        let (random, method) = (SystemRandom::new(), &signature::ECDSA_P256_SHA256_FIXED_SIGNING);
        let document = EcdsaKeyPair::generate_pkcs8(method, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(method, document.as_ref(), &random).unwrap();
        Signer { id: id.to_owned(), pair: Pair::P256(pair) }
    }

    pub(super) fn ed25519(id: &str) -> Signer {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Signer {
            id: id.to_owned(),
            pair: Pair::Ed25519(Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap()),
        }
    }

    pub(super) fn method(&self) -> Method {
        match self.pair {
            Pair::Rsa(_) => Method::Rs256,
            Pair::P256(_) => Method::Es256,
            Pair::Ed25519(_) => Method::EdDsa,
        }
    }

    fn alg(&self) -> &'static str {
        match self.method() {
            Method::Rs256 => "RS256",
            Method::Es256 => "ES256",
            Method::EdDsa => "EdDSA",
        }
    }

    /// The public key as it is published.
    pub(super) fn jwk(&self) -> Value {
        match &self.pair {
            Pair::Rsa(_) => json!({"kty": "RSA", "kid": self.id, "n": RSA[0].1, "e": "AQAB"}),
            Pair::P256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "kid": self.id, "crv": "P-256", "x": b64(x), "y": b64(y)})
            }
            Pair::Ed25519(pair) => {
                json!({"kty": "OKP", "kid": self.id, "crv": "Ed25519", "x": b64(pair.public_key())})
            }
        }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut bytes = vec![0; pair.public().modulus_len()];
                pair.sign(&signature::RSA_PKCS1_SHA256, &random, message, &mut bytes).unwrap();
                bytes
            }
            Pair::P256(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A token that says this.
    pub(super) fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": self.alg(), "kid": self.id, "typ": "JWT"}), claims)
    }

    /// A token with this header, too.
    pub(super) fn token_with(&self, header: &Value, claims: &Value) -> String {
        let signed = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let signature = b64(self.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

/// What an issuer with these keys publishes.
pub(super) fn key_set(signers: &[Signer]) -> String {
    json!({"keys": signers.iter().map(Signer::jwk).collect::<Vec<_>>()}).to_string()
}

/// What a server does when it is asked for keys.
#[derive(Clone)]
pub(super) enum Answer {
    Body(String),
    /// The body, after a while.
    After(Duration, String),
    Status(u16),
    /// Elsewhere, with 302.
    Redirect(String),
    Never,
}

/// A server that publishes keys.
pub(super) struct Server {
    pub(super) at: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    answer: Mutex<Answer>,
    asked: AtomicUsize,
}

impl Server {
    pub(super) async fn start(answer: Answer) -> Server {
        Server::start_at("127.0.0.1:0".parse().unwrap(), answer, None).await
    }

    pub(super) async fn start_at(at: SocketAddr, answer: Answer, tls: Option<TlsAcceptor>) -> Server {
        let listener = TcpListener::bind(at).await.unwrap();
        let at = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { answer: Mutex::new(answer), asked: AtomicUsize::new(0) });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared), tls));
        Server { at, shared, accepting }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/keys", self.at)
    }

    pub(super) fn answers(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    /// How often it was asked.
    pub(super) fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// Nobody listens any more.
    pub(super) async fn stop(self) -> SocketAddr {
        self.accepting.abort();
        let _ = self.accepting.await;
        self.at
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tls: Option<TlsAcceptor>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (shared, tls) = (Arc::clone(&shared), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => serve(stream, shared).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => serve(stream, shared).await,
                    Err(_refused) => {}
                },
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>) {
    let service = service_fn(|_: Request<Incoming>| {
        shared.asked.fetch_add(1, Ordering::SeqCst);
        let answer = shared.answer.lock().unwrap().clone();
        async move {
            let body = |body: String| Response::new(Full::new(Bytes::from(body)));
            let mut response = body(String::new());
            match answer {
                Answer::Body(text) => response = body(text),
                Answer::After(pause, text) => {
                    tokio::time::sleep(pause).await;
                    response = body(text);
                }
                Answer::Status(status) => *response.status_mut() = status.try_into().unwrap(),
                Answer::Redirect(to) => {
                    *response.status_mut() = http::StatusCode::FOUND;
                    response.headers_mut().insert(http::header::LOCATION, to.parse().unwrap());
                }
                Answer::Never => std::future::pending().await,
            }
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    // A client that goes away is no failure.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}
