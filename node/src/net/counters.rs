//! What the transport counts, for whoever scrapes it.

use libp2p::metrics::Registry;
use prometheus_client::metrics::counter::Counter;

macro_rules! counters {
    ($($name:ident: $help:literal,)*) => {
        /// One counter for each thing that an operator may wonder about.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(#[doc = $help] pub(super) $name: Counter,)*
        }

        impl Counters {
            /// New ones, known to `registry`.
            pub(super) fn new(registry: &mut Registry) -> Counters {
                let counters = Counters::default();
                let registry = registry.sub_registry_with_prefix("frith_net");
                $(registry.register(stringify!($name), $help, counters.$name.clone());)*
                counters
            }
        }
    };
}

counters! {
    sent: "Messages queued for a peer",
    unsent: "Messages dropped because their peer was not connected or its queue was full",
    received: "Messages handed to the host",
    refused: "Streams closed because a peer broke the bounds of a message",
    published: "Messages published",
    unpublished: "Messages that could not be published",
    gossiped: "Gossiped messages handed to the host",
    gossip_dropped: "Gossiped messages dropped because the host was behind",
    gossip_rejected: "Gossiped messages that the host rejected",
    dials: "Dials begun",
    dials_failed: "Dials that failed",
    denied: "Incoming connections denied or failed",
    questions_refused: "Questions about addresses that a stranger asked too often",
    strangers_answered: "Questions of strangers about the addresses of endorsers that were answered",
    records_taken: "Address records taken over",
    records_refused: "Address records that were not valid",
}
