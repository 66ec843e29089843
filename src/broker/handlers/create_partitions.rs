//! CreatePartitions (key 37): adds partitions to topics.

use std::rc::Rc;

use ringlog_types::ErrorCode;
use ringlog_wire::messages::create_partitions_request::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use ringlog_wire::messages::create_partitions_response::{
    CreatePartitionsResponse, CreatePartitionsTopicResult,
};

use crate::authorizer::Operation;
use crate::handlers::authorized_topics::{self, occurrences};
use crate::handlers::forwarded::{self, Forwarded, take_refused};
use crate::network::answers::Answer;
use crate::network::request::Request;
use crate::shard::Shard;

struct CreatePartitions;

pub(crate) fn handle(shard: Rc<Shard>, request: Request) -> impl Future<Output = Answer> {
    forwarded::handle::<CreatePartitions>(shard, request)
}

impl Forwarded for CreatePartitions {
    type Request<'a> = CreatePartitionsRequest<'a>;
    type Response<'a> = CreatePartitionsResponse<'a>;
    type Outcome = CreatePartitionsTopicResult<'static>;

    /// A name that stands there twice is refused whoever asks.
    fn take_denied(
        shard: &Shard,
        request: &Request,
        asked: &mut CreatePartitionsRequest<'_>,
    ) -> Vec<Self::Outcome> {
        let times = occurrences(asked.topics.iter().map(|topic| &*topic.name));
        take_refused(&mut asked.topics, |topic| {
            let is_allowed = times[&*topic.name] > 1
                || authorized_topics::may(shard, request, Operation::Alter, &topic.name);
            (!is_allowed).then(|| outcome(topic, ErrorCode::TopicAuthorizationFailed))
        })
    }

    fn failed(asked: &CreatePartitionsRequest<'_>, error: ErrorCode) -> Vec<Self::Outcome> {
        asked.topics.iter().map(|topic| outcome(topic, error)).collect()
    }

    fn add(response: &mut CreatePartitionsResponse<'_>, outcomes: Vec<Self::Outcome>) {
        response.results.extend(outcomes);
    }
}

fn outcome(
    topic: &CreatePartitionsTopic<'_>,
    error: ErrorCode,
) -> CreatePartitionsTopicResult<'static> {
    CreatePartitionsTopicResult {
        name: topic.name.to_string().into(),
        error_code: error.code(),
        ..Default::default()
    }
}
