//! gossipsub as Frith uses it: anonymous, one topic a domain, nothing forwarded before the host has judged it.

use std::time::Duration;

use frith_protocol::limits::GOSSIP_BYTES_MAX;
use libp2p::gossipsub::{
    self, CallbackSubscriptionFilter, ConfigBuilder, IdentityTransform, MaxCountSubscriptionFilter, Message,
    MessageAuthenticity, MessageId, PeerScoreParams, PeerScoreThresholds, TopicHash, TopicScoreParams,
    ValidationMode,
};
use libp2p::metrics::Registry;

use super::limits;
use super::names::domain_of;

/// What the simulator models, too: a test compares. The degrees are gossipsub's own defaults.
pub const MESH: usize = 6;
/// See [`MESH`].
pub const MESH_LOW: usize = 5;
/// See [`MESH`].
pub const MESH_HIGH: usize = 12;
/// How many peers outside the mesh a holder tells of a message at least.
pub const LAZY: usize = 6;
/// How often.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// For how many heartbeats.
pub const TOLD_FOR: usize = 3;
/// For how long a node knows that it has had a message.
pub const REMEMBERED: Duration = Duration::from_secs(120);

type Filter = MaxCountSubscriptionFilter<CallbackSubscriptionFilter<fn(&TopicHash) -> bool>>;

/// gossipsub with a filter for topics.
pub(super) type Gossipsub = gossipsub::Behaviour<IdentityTransform, Filter>;

/// A new one, with its counters in `registry`.
pub(super) fn behaviour(registry: &mut Registry) -> Gossipsub {
    let config = ConfigBuilder::default()
        .validation_mode(ValidationMode::Anonymous)
        .validate_messages()
        // Equal payloads are one message, whoever publishes them: a final block has many publishers.
        .message_id_fn(|message: &Message| MessageId::new(blake3::hash(&message.data).as_bytes()))
        // Room for what gossipsub wraps around a message.
        .max_transmit_size(GOSSIP_BYTES_MAX + 4096)
        .mesh_n(MESH)
        .mesh_n_low(MESH_LOW)
        .mesh_n_high(MESH_HIGH)
        // A leader of a thousand members would send each block a thousand times.
        .flood_publish(false)
        .gossip_lazy(LAZY)
        .heartbeat_interval(HEARTBEAT)
        .history_gossip(TOLD_FOR)
        .duplicate_cache_time(REMEMBERED)
        // The default of one second loses messages when the machine is busy.
        .forward_queue_duration(Duration::from_secs(10))
        .publish_queue_duration(Duration::from_secs(20))
        .build()
        .expect("the configuration is a constant that gossipsub accepts");
    let filter = MaxCountSubscriptionFilter {
        filter: CallbackSubscriptionFilter(is_domain as fn(&TopicHash) -> bool),
        max_subscribed_topics: limits::TOPICS_PER_PEER_MAX,
        max_subscriptions_per_request: limits::TOPICS_PER_PEER_MAX,
    };
    let mut behaviour =
        Gossipsub::new_with_subscription_filter(MessageAuthenticity::Anonymous, config, filter)
            .expect("anonymity and the configuration agree")
            .with_metrics(
                registry.sub_registry_with_prefix("gossipsub"),
                gossipsub::MetricsConfig::default(),
            );
    behaviour
        .with_peer_score(scores(), PeerScoreThresholds::default())
        .expect("the scores are constants that gossipsub accepts");
    behaviour
}

fn is_domain(topic: &TopicHash) -> bool {
    domain_of(topic).is_some()
}

fn scores() -> PeerScoreParams {
    PeerScoreParams {
        // A fleet behind one address is no attack, and only members gossip.
        ip_colocation_factor_weight: 0.0,
        app_specific_weight: 0.0,
        // A graft during back-off now and then is a matter of timing.
        behaviour_penalty_threshold: 6.0,
        retain_score: Duration::from_secs(600),
        ..PeerScoreParams::default()
    }
}

/// What a peer earns and loses in a domain's topic. One message that the host rejected costs all that can be earned and more; a
/// second one within minutes, and the peer is not listened to.
pub(super) fn topic_scores() -> TopicScoreParams {
    TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.01,
        time_in_mesh_quantum: Duration::from_secs(1),
        time_in_mesh_cap: 500.0,
        first_message_deliveries_weight: 0.1,
        first_message_deliveries_decay: 0.9,
        first_message_deliveries_cap: 50.0,
        // Domains are quiet for minutes: silence in the mesh is no fault.
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -25.0,
        invalid_message_deliveries_decay: gossipsub::score_parameter_decay(Duration::from_secs(600)),
        ..TopicScoreParams::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gossipsub_accepts_our_constants() {
        behaviour(&mut Registry::default());
        topic_scores().validate().unwrap();
    }

    #[test]
    fn two_rejected_messages_outweigh_whatever_a_peer_can_earn() {
        let (topic, thresholds) = (topic_scores(), PeerScoreThresholds::default());
        let most = topic.time_in_mesh_weight * topic.time_in_mesh_cap
            + topic.first_message_deliveries_weight * topic.first_message_deliveries_cap;
        let after = |rejected: f64| most + topic.invalid_message_deliveries_weight * rejected * rejected;
        assert!(after(1.0) < thresholds.gossip_threshold);
        assert!(after(2.0) < thresholds.graylist_threshold);
    }
}
