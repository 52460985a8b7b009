//! One table from everything that can go wrong to what a client is told: status, code, message.
//!
//! Invariants:
//! * No caller's mistake is a 5xx, and no failure is a 2xx.
//! * `unavailable` and its kin (503) mean certainly not applied; `outcome_unknown` (504) is the only doubt about a write.

use crate::auth::{Denied, RateLimited};
use crate::health::Unready;
use crate::join::{InviteError, JoinError};
use crate::shards::{MembershipError, ShardError};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use schedia_api::{ErrorBody, ErrorInfo};
use schedia_apps::once::Unrepeatable;
use schedia_apps::{Refusal, cluster, kv, queue};

/// The modification revision of a key, beside a failed precondition too.
pub(super) const MOD_REVISION: HeaderName = HeaderName::from_static("x-schedia-mod-revision");

/// An error as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoorError {
    status: StatusCode,
    info: ErrorInfo,
}

/// What a client does best when told to come back: an election takes about this long.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

impl DoorError {
    /// An error with this status, code and message.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> DoorError {
        let info = ErrorInfo { code: code.to_owned(), message: message.into(), leader: None, current: None };
        DoorError { status, info }
    }

    /// The caller's mistake: 400.
    pub fn bad_request(message: impl Into<String>) -> DoorError {
        DoorError::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// The caller collides with the state of things: 409.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> DoorError {
        DoorError::new(StatusCode::CONFLICT, code, message)
    }

    /// Certainly not applied, try again: 503.
    pub fn unavailable(message: impl Into<String>) -> DoorError {
        DoorError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message)
    }

    /// The same with the number that settles the matter.
    pub fn with_current(mut self, current: u64) -> DoorError {
        self.info.current = Some(current);
        self
    }

    /// The same with the leader's client URL, where it helps: the leader would do what this node does not.
    pub fn with_leader(mut self, leader: Option<String>) -> DoorError {
        if matches!(self.status, StatusCode::MISDIRECTED_REQUEST | StatusCode::SERVICE_UNAVAILABLE) {
            self.info.leader = leader;
        }
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The words for people.
    pub fn message(&self) -> &str {
        &self.info.message
    }

    /// The body of its answer.
    pub(super) fn json(self) -> String {
        body(self.info)
    }

    /// The code for programs.
    pub fn code(&self) -> &str {
        &self.info.code
    }
}

fn body(info: ErrorInfo) -> String {
    serde_json::to_string(&ErrorBody { error: info }).expect("texts and numbers")
}

impl IntoResponse for DoorError {
    fn into_response(self) -> Response {
        let DoorError { status, info } = self;
        let retry = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        let current = info.current.filter(|_| status == StatusCode::PRECONDITION_FAILED);
        // Whose rate is limited is told how many seconds to wait.
        let later = info.current.filter(|_| status == StatusCode::TOO_MANY_REQUESTS);
        let body = body(info);
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if retry {
            headers.insert(RETRY_AFTER, later.map_or(RETRY_AFTER_S, HeaderValue::from));
        }
        if let Some(current) = current {
            headers.insert(MOD_REVISION, current.into());
        }
        response
    }
}

impl From<ShardError> for DoorError {
    fn from(error: ShardError) -> DoorError {
        use StatusCode as S;
        let message = error.to_string();
        let (status, code) = match error {
            ShardError::Refused(refusal) => return refusal.into(),
            ShardError::Unavailable { .. } => (S::SERVICE_UNAVAILABLE, "unavailable"),
            ShardError::NoLeader => (S::SERVICE_UNAVAILABLE, "no_leader"),
            ShardError::NotLeader { .. } => (S::MISDIRECTED_REQUEST, "not_leader"),
            ShardError::OutcomeUnknown { .. } => (S::GATEWAY_TIMEOUT, "outcome_unknown"),
            ShardError::Busy => (S::TOO_MANY_REQUESTS, "busy"),
            ShardError::NotRecovered => (S::SERVICE_UNAVAILABLE, "not_recovered"),
            ShardError::Stopped { .. } => (S::SERVICE_UNAVAILABLE, "stopped"),
            ShardError::TooLarge { .. } => (S::PAYLOAD_TOO_LARGE, "too_large"),
            ShardError::DiskLow => (S::INSUFFICIENT_STORAGE, "disk_low"),
            ShardError::DiskFull => (S::INSUFFICIENT_STORAGE, "disk_full"),
        };
        DoorError::new(status, code, message)
    }
}

impl From<Refusal> for DoorError {
    fn from(refusal: Refusal) -> DoorError {
        match refusal {
            Refusal::Kv(refusal) => refusal.into(),
            Refusal::Cluster(refusal) => refusal.into(),
            Refusal::Once(Unrepeatable::KeyReused) => {
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                DoorError::new(status, "idempotency_key_reused", refusal.to_string())
            }
            Refusal::Queue(refusal) => refusal.into(),
        }
    }
}

impl From<kv::Refusal> for DoorError {
    fn from(refusal: kv::Refusal) -> DoorError {
        use StatusCode as S;
        let message = refusal.to_string();
        let (status, code, current) = match refusal {
            kv::Refusal::KeyNotFound => (S::NOT_FOUND, "key_not_found", None),
            kv::Refusal::ModRevisionDiffers { current } => {
                (S::PRECONDITION_FAILED, "mod_revision_differs", Some(current))
            }
            kv::Refusal::Compacted { compacted } => (S::GONE, "compacted", Some(compacted)),
            kv::Refusal::FutureRevision { current } => (S::BAD_REQUEST, "future_revision", Some(current)),
            kv::Refusal::KeyLength { bytes: 0 } => (S::BAD_REQUEST, "bad_request", None),
            kv::Refusal::KeyLength { .. } => (S::PAYLOAD_TOO_LARGE, "too_large", None),
            kv::Refusal::ValueTooLarge { .. } => (S::PAYLOAD_TOO_LARGE, "too_large", None),
            kv::Refusal::TooManyOperations { .. } => (S::BAD_REQUEST, "bad_request", None),
            kv::Refusal::DuplicateKey { .. } => (S::BAD_REQUEST, "duplicate_key", None),
            kv::Refusal::TooManyKeys { .. } => (S::PAYLOAD_TOO_LARGE, "too_large", None),
            kv::Refusal::ReadsTooMuch { .. } => (S::PAYLOAD_TOO_LARGE, "too_large", None),
            kv::Refusal::NotOnlyReads => (S::BAD_REQUEST, "bad_request", None),
        };
        let error = DoorError::new(status, code, message);
        match current {
            Some(current) => error.with_current(current),
            None => error,
        }
    }
}

impl From<queue::Refusal> for DoorError {
    fn from(refusal: queue::Refusal) -> DoorError {
        use StatusCode as S;
        let message = refusal.to_string();
        let (status, code) = match refusal {
            queue::Refusal::UnknownTask => (S::NOT_FOUND, "task_not_found"),
            queue::Refusal::NotOwner => (S::FORBIDDEN, "not_owner"),
            queue::Refusal::NotInProgress => (S::CONFLICT, "not_in_progress"),
            queue::Refusal::AlreadyEnded => (S::CONFLICT, "already_ended"),
            queue::Refusal::TaskExists { .. } => (S::CONFLICT, "task_exists"),
            queue::Refusal::UnknownSubscription => (S::NOT_FOUND, "subscription_not_found"),
            queue::Refusal::SubscriptionExists { .. } => (S::CONFLICT, "subscription_exists"),
            queue::Refusal::Full { .. } => (S::TOO_MANY_REQUESTS, "full"),
            queue::Refusal::AnswersTooMuch { .. } => (S::PAYLOAD_TOO_LARGE, "too_large"),
            queue::Refusal::Length { .. }
            | queue::Refusal::Count { .. }
            | queue::Refusal::WrongPlace { .. } => (S::BAD_REQUEST, "bad_request"),
        };
        DoorError::new(status, code, message)
    }
}

impl From<Denied> for DoorError {
    fn from(denied: Denied) -> DoorError {
        let message = denied.to_string();
        match denied {
            Denied::Unauthorized(_) => DoorError::new(StatusCode::UNAUTHORIZED, "unauthorized", message),
            Denied::Forbidden(_) => DoorError::new(StatusCode::FORBIDDEN, "forbidden", message),
            Denied::RateLimited(RateLimited { retry_after_s, .. }) => {
                DoorError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message)
                    .with_current(retry_after_s)
            }
        }
    }
}

impl From<cluster::Refusal> for DoorError {
    fn from(refusal: cluster::Refusal) -> DoorError {
        use StatusCode as S;
        let message = refusal.to_string();
        match refusal {
            cluster::Refusal::Stale { current } => {
                DoorError::conflict("stale", message).with_current(current)
            }
            cluster::Refusal::ChangeInProgress { current } => {
                DoorError::conflict("change_in_progress", message).with_current(current)
            }
            cluster::Refusal::NotInitialized => {
                DoorError::new(S::SERVICE_UNAVAILABLE, "not_initialized", message)
            }
            cluster::Refusal::AlreadyInitialized { .. } => {
                DoorError::conflict("already_initialized", message)
            }
            cluster::Refusal::UnknownMember { .. } => DoorError::new(S::NOT_FOUND, "unknown_member", message),
            cluster::Refusal::Removed { .. } => DoorError::new(S::GONE, "removed", message),
            cluster::Refusal::OtherMember { .. } => DoorError::conflict("other_member", message),
            cluster::Refusal::IdNotGiven { .. } => DoorError::conflict("id_not_given", message),
            cluster::Refusal::StillVotes { .. } => DoorError::conflict("still_votes", message),
            cluster::Refusal::Managed { .. } => DoorError::new(S::FORBIDDEN, "managed_by_operator", message),
            cluster::Refusal::NameTaken { .. } => DoorError::conflict("name_taken", message),
            cluster::Refusal::Invalid { .. } => DoorError::bad_request(message),
        }
    }
}

impl From<MembershipError> for DoorError {
    fn from(error: MembershipError) -> DoorError {
        let message = error.to_string();
        match error {
            MembershipError::Stale => DoorError::conflict("stale", message),
            MembershipError::InProgress | MembershipError::JointOpen => {
                DoorError::conflict("change_in_progress", message)
            }
            MembershipError::NotCaughtUp(_) => DoorError::conflict("not_caught_up", message),
            MembershipError::NotMember(_) => DoorError::new(StatusCode::NOT_FOUND, "unknown_member", message),
            MembershipError::Impossible(_) => DoorError::bad_request(message),
            MembershipError::Shard(error) => error.into(),
        }
    }
}

impl From<JoinError> for DoorError {
    fn from(error: JoinError) -> DoorError {
        use StatusCode as S;
        let message = error.to_string();
        match error {
            JoinError::AlreadyAssigned { .. } => DoorError::conflict("already_assigned", message),
            JoinError::Unassigned => DoorError::new(S::SERVICE_UNAVAILABLE, "unassigned", message),
            JoinError::ManagedByOperator => DoorError::new(S::FORBIDDEN, "managed_by_operator", message),
            JoinError::NotThatMember { .. } => DoorError::conflict("other_member", message),
            JoinError::NotConfirmed { .. } => DoorError::conflict("not_confirmed", message),
            JoinError::Invalid(_) => DoorError::bad_request(message),
            JoinError::Storage(_) => DoorError::new(S::SERVICE_UNAVAILABLE, "stopped", message),
            JoinError::Membership(error) => error.into(),
            JoinError::Shard(error) => error.into(),
        }
    }
}

impl From<InviteError> for DoorError {
    fn from(error: InviteError) -> DoorError {
        let message = error.to_string();
        match error {
            InviteError::Silent { .. } => DoorError::unavailable(message),
            InviteError::OtherCluster { .. } => DoorError::conflict("other_cluster", message),
            InviteError::OtherNode { .. } => DoorError::bad_request(message),
            InviteError::Declined { .. } => DoorError::conflict("not_invited", message),
            InviteError::Join(error) => error.into(),
        }
    }
}

impl From<Unready> for DoorError {
    fn from(unready: Unready) -> DoorError {
        let code = match &unready {
            Unready::StorageFailed(_) => "storage_failed",
            Unready::DiskFull(_) => "disk_full",
            Unready::Stopped { .. } => "stopped",
            Unready::Unassigned => "unassigned",
            Unready::Removed(_) => "removed",
            Unready::NotMember => "not_member",
            Unready::Recovering => "not_recovered",
            Unready::NoLeader { .. } => "no_leader",
            Unready::ShuttingDown => "shutting_down",
        };
        DoorError::new(StatusCode::SERVICE_UNAVAILABLE, code, unready.to_string())
    }
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
