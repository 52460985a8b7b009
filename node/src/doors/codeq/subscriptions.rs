//! Workers that ask to be told of ready tasks.

use super::error::{CodeqError, answer};
use super::wire::{or_default, time};
use super::{Call, SMALL_BYTES_MAX, Side};
use crate::auth::scope;
use crate::doors::native::Door;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use schedia_apps::queue::{self, Delivery, Subscribe, SubscriptionId};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// codeQ's.
const TTL_S: u64 = 60;
/// Whoever wants more renews it.
const TTL_MAX: Duration = Duration::from_secs(86_400);
/// The least time between two notifications of one subscription, unless it says so.
const INTERVAL_S: u32 = 5;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SubscribeJson {
    #[serde(default, deserialize_with = "or_default")]
    callback_url: String,
    #[serde(default, deserialize_with = "or_default")]
    event_types: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    ttl_seconds: i64,
    #[serde(default, deserialize_with = "or_default")]
    delivery_mode: String,
    #[serde(default, deserialize_with = "or_default")]
    group_id: String,
    #[serde(default, deserialize_with = "or_default")]
    min_interval_seconds: i64,
}

pub(super) async fn create(State(door): State<Arc<Door>>, request: Request) -> Response {
    super::handle(&door, async {
        let call = Call::of(&door, request.headers(), Side::Worker(scope::SUBSCRIBE)).await?;
        let (json, _counted): (SubscribeJson, _) =
            super::body(&door, request, SMALL_BYTES_MAX, "invalid body").await?;
        if json.callback_url.is_empty() {
            return Err(CodeqError::bad_request("invalid body"));
        }
        if !super::is_http_url(&json.callback_url) {
            return Err(CodeqError::bad_request("invalid callback url"));
        }
        let delivery = match (json.delivery_mode.as_str(), json.group_id) {
            ("" | "fanout", _) => Delivery::Fanout,
            ("hash", _) => Delivery::Hash,
            ("group", group) if group.is_empty() => {
                return Err(CodeqError::bad_request("groupId is required"));
            }
            ("group", group) => Delivery::Group(group),
            _ => return Err(CodeqError::bad_request("invalid deliveryMode")),
        };
        let id = door.node.queues().draw_subscription();
        let subscribe = Subscribe {
            id,
            commands: call.allowed(json.event_types)?,
            tenant: call.caller.tenant,
            callback_url: json.callback_url,
            delivery,
            interval_s: u32::try_from(json.min_interval_seconds)
                .ok()
                .filter(|s| *s > 0)
                .unwrap_or(INTERVAL_S),
            ttl_ms: ttl_ms(json.ttl_seconds).unwrap_or(TTL_S * 1_000),
        };
        subscribed(
            id,
            door.node.queues().administer(queue::Command::Subscribe(subscribe), super::deadline()).await?,
        )
    })
    .await
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RenewJson {
    #[serde(default, deserialize_with = "or_default")]
    ttl_seconds: i64,
}

pub(super) async fn heartbeat(
    State(door): State<Arc<Door>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    super::handle(&door, async {
        let call = Call::of(&door, request.headers(), Side::Worker(scope::SUBSCRIBE)).await?;
        let RenewJson { ttl_seconds } = super::optional_body(&door, request).await?;
        let id: SubscriptionId = id.parse().map_err(|_| CodeqError::not_found("not-found"))?;
        let renew = queue::Command::Renew { tenant: call.caller.tenant, id, ttl_ms: ttl_ms(ttl_seconds) };
        subscribed(id, door.node.queues().administer(renew, super::deadline()).await?)
    })
    .await
}

fn ttl_ms(seconds: i64) -> Option<u64> {
    u64::try_from(seconds)
        .ok()
        .filter(|seconds| *seconds > 0)
        .map(|seconds| seconds.min(TTL_MAX.as_secs()) * 1_000)
}

fn subscribed(id: SubscriptionId, reply: queue::Reply) -> Result<Response, CodeqError> {
    match reply {
        queue::Reply::Subscribed { expires_ms } => Ok(answer(
            StatusCode::OK,
            &json!({ "subscriptionId": id.to_string(), "expiresAt": time(expires_ms) }),
        )),
        other => Err(crate::queues::wrong(other).into()),
    }
}
