//! The topics of a tenant. Writing one has its routes at codeQ's door.

use super::*;
use axum::Json;
use schedia_api::QueueTopics;

pub(super) async fn list(State(door): State<Arc<Door>>, request: Request) -> Response {
    door.handle(async {
        let parts = request.into_parts().0;
        let tenant = caller(&door, &parts.headers, Who::Admin).await?.tenant;
        let mut params = Params::parse(parts.uri.query())?;
        let limit = rows(params.number("limit")?);
        let after = params.value::<String>("after", "the name of a topic")?;
        params.done()?;
        let query = queue_app::Query::Topics { tenant, after, limit };
        let asked = door.node.queues().ask_shard_0(query, deadline()).await;
        match door.told(asked)? {
            queue_app::Reply::Topics { topics, next } => {
                let topics = topics.into_iter().map(words::topic).collect();
                Ok(Json(QueueTopics { topics, next }).into_response())
            }
            other => Err(unexpected(&other)),
        }
    })
    .await
}
