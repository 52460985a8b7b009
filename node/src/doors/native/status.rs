//! The state of the cluster for people and load balancers, and the door through which a node joins it.

use super::*;
use axum::Json;
use schedia_api::Join;

pub(super) async fn status(State(door): State<Arc<Door>>, request: Request) -> Response {
    door.handle(async {
        let parts = request.into_parts().0;
        Params::parse(parts.uri.query())?.done()?;
        door.node.ready()?;
        let overview = door.node.overview(Instant::now() + REQUEST_TIMEOUT).await;
        Ok(Json(overview.map_err(|error| door.refuse(error))?).into_response())
    })
    .await
}

pub(super) async fn join(State(door): State<Arc<Door>>, request: Request) -> Response {
    door.handle(async {
        let (parts, body) = request.into_parts();
        Params::parse(parts.uri.query())?.done()?;
        let verb: Join = door.bounds.verb(&parts.headers, body).await?;
        Ok(Json(door.node.admission().admit(verb, Instant::now() + JOIN_TIMEOUT).await?).into_response())
    })
    .await
}
