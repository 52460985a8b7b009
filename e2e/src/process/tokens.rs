//! Tokens for the queue's door.

use serde_json::json;

/// Of clusters that tests start for themselves.
pub const TOKEN: &str = "e2e";

/// What `--auth-config` takes, as JSON: this token creates, administers and works, for every command of one tenant.
pub fn auth_config(token: &str) -> String {
    let scopes = ["claim", "heartbeat", "abandon", "nack", "result", "subscribe"];
    let scopes = scopes.map(|scope| format!("codeq:{scope}"));
    let raw = json!({ "role": "ADMIN", "tenantId": "e2e" });
    let config =
        json!({ "token": token, "subject": "e2e", "scopes": scopes, "eventTypes": ["*"], "raw": raw });
    let side = json!({ "type": "static", "config": config });
    json!({ "producer": side, "worker": side }).to_string()
}
