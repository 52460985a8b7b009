//! A router that knows its routes by name, so that documents can be compared with it.

use crate::request::note_route;
use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, any, on};

/// A method and a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// As HTTP writes it; `ANY` stands for all.
    pub method: &'static str,
    /// As axum writes it: `{name}` is a segment, `{*name}` the rest of the path.
    pub path: &'static str,
}

/// A handler that notes by which route it was reached.
#[derive(Clone)]
struct Named<H> {
    path: &'static str,
    handler: H,
}

impl<T, S, H: Handler<T, S>> Handler<T, S> for Named<H> {
    type Future = H::Future;

    fn call(self, request: Request, state: S) -> H::Future {
        note_route(self.path);
        self.handler.call(request, state)
    }
}

/// Routes being listed.
pub(crate) struct Routes<S> {
    router: Router<S>,
    listed: Vec<Route>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    pub(crate) fn new() -> Routes<S> {
        Routes { router: Router::new(), listed: Vec::new() }
    }

    /// `GET`, and with it `HEAD`.
    pub(crate) fn get<H: Handler<T, S>, T: 'static>(self, path: &'static str, handler: H) -> Routes<S> {
        self.on(MethodFilter::GET, "GET", path, handler)
    }

    pub(crate) fn put<H: Handler<T, S>, T: 'static>(self, path: &'static str, handler: H) -> Routes<S> {
        self.on(MethodFilter::PUT, "PUT", path, handler)
    }

    pub(crate) fn post<H: Handler<T, S>, T: 'static>(self, path: &'static str, handler: H) -> Routes<S> {
        self.on(MethodFilter::POST, "POST", path, handler)
    }

    pub(crate) fn delete<H: Handler<T, S>, T: 'static>(self, path: &'static str, handler: H) -> Routes<S> {
        self.on(MethodFilter::DELETE, "DELETE", path, handler)
    }

    /// Every method.
    pub(crate) fn any<H: Handler<T, S>, T: 'static>(mut self, path: &'static str, handler: H) -> Routes<S> {
        self.listed.push(Route { method: "ANY", path });
        self.router = self.router.route(path, any(Named { path, handler }));
        self
    }

    /// A path that no document needs to name: one that is only refused.
    pub(crate) fn unlisted(mut self, path: &'static str, methods: MethodRouter<S>) -> Routes<S> {
        self.router = self.router.route(path, methods);
        self
    }

    fn on<H: Handler<T, S>, T: 'static>(
        mut self,
        filter: MethodFilter,
        method: &'static str,
        path: &'static str,
        handler: H,
    ) -> Routes<S> {
        self.listed.push(Route { method, path });
        self.router = self.router.route(path, on(filter, Named { path, handler }));
        self
    }

    /// What is routed.
    pub(crate) fn listed(&self) -> Vec<Route> {
        self.listed.clone()
    }

    /// The router.
    pub(crate) fn router(self) -> Router<S> {
        self.router
    }
}
