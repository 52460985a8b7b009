//! Errors in codeQ's shape: `{"error": text}`.
//!
//! Differs, on purpose: what codeQ answers as the caller's mistake when a leader is being elected is 503 with `Retry-After` here
//! (certainly not applied) or 504 (outcome unknown), and what it answers as 500 for a task that is not there is 404.

use crate::auth::{Denied, RateLimited};
use crate::doors::error::DoorError;
use crate::shards::ShardError;
use axum::http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use schedia_apps::{Refusal, queue};
use serde_json::{Value, json};

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// An error as a client of codeQ sees it.
pub(super) struct CodeqError {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Value,
}

impl CodeqError {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> CodeqError {
        CodeqError { status, headers: Vec::new(), body: json!({ "error": text.into() }) }
    }

    pub(super) fn bad_request(text: impl Into<String>) -> CodeqError {
        CodeqError::new(StatusCode::BAD_REQUEST, text)
    }

    pub(super) fn not_found(text: &str) -> CodeqError {
        CodeqError::new(StatusCode::NOT_FOUND, text)
    }

    /// Of a topic: which field is wrong.
    pub(super) fn invalid_field(field: &str, text: &str) -> CodeqError {
        let body = json!({ "error": format!("invalid {field}: {text}"), "field": field });
        CodeqError { body, ..CodeqError::new(StatusCode::UNPROCESSABLE_ENTITY, "") }
    }

    /// Another node leads: ask it.
    pub(super) fn elsewhere(leader: &str, path: &str) -> CodeqError {
        let leader = leader.trim_end_matches('/');
        let location = HeaderValue::try_from(format!("{leader}{path}"));
        let headers = location.ok().map(|location| (LOCATION, location)).into_iter().collect();
        let body = json!({ "error": "not leader", "leader": leader });
        CodeqError { status: StatusCode::TEMPORARY_REDIRECT, headers, body }
    }

    /// Whether it is no mistake of the caller's.
    pub(super) fn is_failure(&self) -> bool {
        self.status.is_server_error()
    }

    /// The words alone: one of a batch has no status.
    pub(super) fn text(&self) -> String {
        self.body["error"].as_str().unwrap_or_default().to_owned()
    }
}

impl From<DoorError> for CodeqError {
    fn from(error: DoorError) -> CodeqError {
        let mut here = CodeqError::new(error.status(), error.message());
        if let Some(again) = error.into_response().headers().get(RETRY_AFTER) {
            here.headers.push((RETRY_AFTER, again.clone()));
        }
        here
    }
}

impl From<ShardError> for CodeqError {
    fn from(error: ShardError) -> CodeqError {
        match error {
            ShardError::Refused(Refusal::Queue(refusal)) => refusal.into(),
            error => DoorError::from(error).into(),
        }
    }
}

impl From<queue::Refusal> for CodeqError {
    fn from(refusal: queue::Refusal) -> CodeqError {
        use StatusCode as S;
        use queue::Refusal as R;
        let status = match &refusal {
            R::UnknownTask => return CodeqError::not_found("task not found"),
            R::UnknownSubscription => return CodeqError::not_found("not-found"),
            R::NotOwner => return CodeqError::new(S::FORBIDDEN, "not-owner"),
            R::NotInProgress => return CodeqError::new(S::CONFLICT, "not-in-progress"),
            R::AlreadyEnded | R::TaskExists { .. } | R::SubscriptionExists { .. } | R::WrongPlace { .. } => {
                S::CONFLICT
            }
            R::Full { .. } | R::AnswersTooMuch { .. } => S::TOO_MANY_REQUESTS,
            R::Length { .. } | R::Count { .. } => S::BAD_REQUEST,
        };
        CodeqError::new(status, refusal.to_string())
    }
}

impl From<Denied> for CodeqError {
    fn from(denied: Denied) -> CodeqError {
        let status = StatusCode::from_u16(denied.status()).unwrap_or(StatusCode::FORBIDDEN);
        let mut error = CodeqError::new(status, denied.to_string());
        if let Denied::RateLimited(RateLimited { scope, operation, retry_after_s }) = denied {
            error.headers.push((RETRY_AFTER, retry_after_s.into()));
            error.body["scope"] = scope.into();
            error.body["operation"] = operation.into();
            error.body["retryAfterSeconds"] = retry_after_s.into();
        }
        error
    }
}

impl IntoResponse for CodeqError {
    fn into_response(self) -> Response {
        let CodeqError { status, headers, body } = self;
        let mut response = (status, body.to_string()).into_response();
        response.headers_mut().extend(headers);
        response.headers_mut().insert(CONTENT_TYPE, JSON);
        response
    }
}

/// An answer as JSON.
pub(super) fn answer(status: StatusCode, body: &impl serde::Serialize) -> Response {
    let body = serde_json::to_string(body).expect("texts and numbers");
    (status, [(CONTENT_TYPE, JSON)], body).into_response()
}
