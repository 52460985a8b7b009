//! The OpenAPI 3.1 documents of the two HTTP ports, served by each at `/v1/openapi.json`.
//!
//! Kept by hand beside the routers, in a few words per operation. A test compares them with the routers, in both
//! directions; `e2e/tests/processes/openapi.rs` asks real nodes by them, and holds every answer against its schema.
//!
//! Not here: what an operation means (docs/api.md).

mod admin;
mod clients;
mod queue;
mod schemas;

use super::error::DoorError;
use super::params::Params;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

static CLIENTS: LazyLock<Bytes> = LazyLock::new(|| text(&clients::document()));
static ADMIN: LazyLock<Bytes> = LazyLock::new(|| text(&admin::document()));

/// `GET /v1/openapi.json` of the client port.
pub(super) async fn clients(request: Request) -> Response {
    answer(&request, &CLIENTS)
}

/// `GET /v1/openapi.json` of the admin port.
pub(crate) async fn admin(request: Request) -> Response {
    answer(&request, &ADMIN)
}

fn answer(request: &Request, document: &Bytes) -> Response {
    match Params::parse(request.uri().query()).and_then(Params::done) {
        Ok(()) => ([(CONTENT_TYPE, JSON)], document.clone()).into_response(),
        Err(error) => DoorError::into_response(error),
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

fn text(document: &Value) -> Bytes {
    serde_json::to_vec(document).expect("texts").into()
}

/// Puts a document together. Operations of the same path are merged.
fn document(title: &str, about: &str, operations: Vec<Operation>) -> Value {
    let mut paths = Map::new();
    for Operation { method, path, value } in operations {
        let methods = paths.entry(path).or_insert_with(|| json!({}));
        methods[method] = value;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "description": about,
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": schemas::all(), "securitySchemes": { TOKEN: { "type": "http", "scheme": "bearer" } } },
    })
}

/// The name of the one way to say who asks.
const TOKEN: &str = "token";

/// One method of one path.
struct Operation {
    method: &'static str,
    path: &'static str,
    value: Value,
}

impl Operation {
    /// Whatever else it answers is an error with a body of ours.
    fn new(method: &'static str, path: &'static str, id: &str, summary: &str) -> Operation {
        let errors = json!({
            "description": "an error",
            "content": { "application/json": { "schema": reference("Error") } },
        });
        let value = json!({ "operationId": id, "summary": summary, "responses": { "default": errors } });
        Operation { method, path, value }
    }

    fn params(mut self, params: Vec<Value>) -> Operation {
        self.value["parameters"] = Value::Array(params);
        self
    }

    /// Takes a body of this type.
    fn body(mut self, content_type: &str, schema: Value) -> Operation {
        self.value["requestBody"] =
            json!({ "required": true, "content": { content_type: { "schema": schema } } });
        self
    }

    /// Answers so.
    fn answers(mut self, status: &str, about: &str, content: Value) -> Operation {
        let responses = &mut self.value["responses"];
        responses[status] = json!({ "description": about });
        if !content.is_null() {
            responses[status]["content"] = content;
        }
        self
    }

    /// Asks for a token.
    fn with_token(mut self) -> Operation {
        self.value["security"] = json!([{ TOKEN: [] }]);
        self
    }

    /// That answer carries these headers, all of them numbers.
    fn with_headers(mut self, status: &str, names: &[&str]) -> Operation {
        let header = json!({ "required": true, "schema": schemas::number() });
        let headers: Map<_, _> = names.iter().map(|name| ((*name).to_owned(), header.clone())).collect();
        self.value["responses"][status]["headers"] = Value::Object(headers);
        self
    }
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

/// A JSON answer.
fn json_of(schema: &str) -> Value {
    json!({ "application/json": { "schema": reference(schema) } })
}

/// An answer or a body of bytes.
fn bytes() -> Value {
    json!({ "application/octet-stream": { "schema": {} } })
}

fn plain() -> Value {
    json!({ "text/plain": { "schema": { "type": "string" } } })
}

/// A parameter that may be left out.
fn query(name: &str, about: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "required": false, "description": about, "schema": schema })
}

/// One that may not.
fn required(name: &str, about: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "required": true, "description": about, "schema": schema })
}

#[cfg(test)]
mod tests;
