//! What happens to tasks of all shards, as this node applies it, for readers that are told of it.

use super::{Answer, Queues};
use crate::raft::News;
use crate::shards::Shard;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use schedia_apps::ShardId;
use schedia_apps::queue::Event;
use std::sync::Arc;
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// What is told of one shard.
#[derive(Debug)]
pub(crate) enum Told {
    /// In this order.
    Happened(Arc<[Event]>),
    /// Something was missed: the reader was too slow, or a snapshot took the place of the state.
    Gap,
    /// There will be no more: the shard has stopped on this node.
    Ended,
}

impl Queues {
    /// What happens from now on, on every shard. Among the events of different shards there is no order.
    pub(crate) fn listen(&self) -> Answer<impl Stream<Item = (ShardId, Told)> + Send + use<>> {
        let shards = (0..self.count()?).map(|id| self.shard(ShardId(id)).map(of_shard));
        Ok(stream::select_all(shards.collect::<Answer<Vec<_>>>()?))
    }
}

fn of_shard(shard: &Shard) -> BoxStream<'static, (ShardId, Told)> {
    let id = shard.id();
    told(shard.news()).map(move |told| (id, told)).boxed()
}

fn told(news: Receiver<News>) -> impl Stream<Item = Told> + Send {
    stream::unfold(Some(news), |news| async {
        let mut news = news?;
        Some(match news.recv().await {
            Ok(News::Happened(events)) => (Told::Happened(events), Some(news)),
            Ok(News::Replaced) | Err(RecvError::Lagged(_)) => (Told::Gap, Some(news)),
            Err(RecvError::Closed) => (Told::Ended, None),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use schedia_apps::queue::{Change, QueueName, TaskId};
    use tokio::sync::broadcast::Sender;

    fn happened(number: u8) -> News {
        let queue = Arc::new(QueueName::of("t", "q"));
        News::Happened([Event { queue, task: TaskId([number; 16]), change: Change::Ready }].into())
    }

    #[tokio::test]
    async fn whoever_is_too_slow_is_told_that_there_is_a_gap_and_goes_on_behind_it() {
        let news = Sender::new(2);
        let mut told = Box::pin(told(news.subscribe()));
        for number in 0..5 {
            news.send(happened(number)).unwrap();
        }
        news.send(News::Replaced).unwrap();
        drop(news);
        let mut heard = Vec::new();
        while let Some(told) = told.next().await {
            heard.push(match told {
                Told::Happened(events) => format!("task {}", events[0].task.0[0]),
                Told::Gap => "gap".to_owned(),
                Told::Ended => "end".to_owned(),
            });
        }
        assert_eq!(heard, ["gap", "task 4", "gap", "end"]);
    }
}
