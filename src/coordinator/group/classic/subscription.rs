//! Which topics the members of a consumer group subscribe to, as they said when they joined.

use ringlog_wire::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;
use ringlog_wire::{Message, Reader};

use super::ClassicGroup;

impl ClassicGroup {
    /// Whether a member subscribes to the topic. A subscription that cannot be read counts as one
    /// to everything: nothing of a live group is deleted because of it.
    pub(crate) fn subscribes_to(&self, topic: &str) -> bool {
        let protocol = self.protocol_name();
        self.members().any(|member| match protocol {
            Some(_) => reads(&member.metadata(protocol), topic),
            // Between two generations every protocol of a member counts.
            None => member.joined.protocols.iter().any(|(_, metadata)| reads(metadata, topic)),
        })
    }
}

fn reads(metadata: &[u8], topic: &str) -> bool {
    let mut reader = Reader::new(metadata);
    let Ok(version) = reader.i16() else { return true };
    // Newer versions only add to the end.
    let version = version.min(ConsumerProtocolSubscription::MAX_VERSION);
    match ConsumerProtocolSubscription::decode(&mut reader, version) {
        Ok(subscription) => subscription.topics.iter().any(|name| name == topic),
        Err(_) => true,
    }
}
