//! The documents against the routers: OpenAPI's and docs/api.md.

use super::{admin as admin_document, clients as clients_document};
use crate::admin;
use crate::doors::native;
use crate::doors::routes::Route;
use serde_json::Value;
use std::collections::BTreeSet;

/// `METHOD /path`, the rest of a path as any other part of it.
fn names(routes: Vec<Route>) -> BTreeSet<String> {
    routes.iter().map(|route| format!("{} {}", route.method, route.path.replace("{*", "{"))).collect()
}

fn documented(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().unwrap();
    let operation = |path: &str, methods: &Value| -> Vec<String> {
        methods
            .as_object()
            .unwrap()
            .keys()
            .map(|method| format!("{} {path}", method.to_uppercase()))
            .collect()
    };
    paths.iter().flat_map(|(path, methods)| operation(path, methods)).collect()
}

#[test]
fn every_route_is_in_its_document_and_nothing_else() {
    assert_eq!(documented(&clients_document::document()), names(native::routes()));
    assert_eq!(documented(&admin_document::document()), names(admin::routes()));
}

/// The rows of the table of routes in docs/api.md, by the port they name: ``| `GET /path` | door | 8080 | ... |``.
fn table() -> Vec<(String, String)> {
    let text = include_str!("../../../../docs/api.md");
    let section = text.split("\n## ").find(|section| section.starts_with("Routes\n")).expect("## Routes");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.split('|').map(str::trim).skip(1);
        let route = cells.next().unwrap().trim_matches('`').to_owned();
        (route, cells.nth(1).expect("door, then port").to_owned())
    })
    .collect()
}

#[test]
fn the_table_of_routes_is_that_of_the_routers() {
    let clients = [native::routes(), native::shared_routes()].concat();
    for (port, routes) in [("8080", clients), ("8081", admin::routes())] {
        let rows: Vec<String> =
            table().into_iter().filter(|(_, of)| of == port).map(|(route, _)| route).collect();
        let once: BTreeSet<String> = rows.iter().cloned().collect();
        assert_eq!(rows.len(), once.len(), "a route stands twice: {rows:?}");
        assert_eq!(once, names(routes), "docs/api.md, port {port}");
    }
    assert!(table().iter().all(|(_, port)| port == "8080" || port == "8081"));
}

/// Every schema that is named exists, and no other does.
#[test]
fn every_schema_is_used_and_there() {
    let mut used = BTreeSet::new();
    let mut there = BTreeSet::new();
    for document in [clients_document::document(), admin_document::document()] {
        collect(&document, &mut used);
        there.extend(document["components"]["schemas"].as_object().unwrap().keys().cloned());
    }
    // Described in words: a schema of events is beyond OpenAPI 3.1.
    used.extend(["KvChanges", "QueueEvent"].map(str::to_owned));
    assert_eq!(used, there);
}

fn collect(value: &Value, used: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            let name = members.get("$ref").and_then(|at| at.as_str()?.rsplit('/').next());
            used.extend(name.map(str::to_owned));
            members.values().for_each(|member| collect(member, used));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, used)),
        _ => {}
    }
}
