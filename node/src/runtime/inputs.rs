//! What came in from the network, on its way to the core.

use std::sync::Arc;

use frith_protocol::door::{Envelope, Error, Input, Message, Standing};
use frith_protocol::fault::Fault;
use frith_protocol::identity::PublicKey;

use super::checks::Incoming;
use super::host::{Host, report_unsent};
use crate::net::{GossipToken, NetEvent, Verdict};

impl Host {
    /// What came in from the network.
    pub(super) fn input(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Message { from, what: Ok((domain, message)), gossip, claim } => {
                if domain != self.domain {
                    tracing::debug!(?from, %domain, "a message of a domain that this node does not live in");
                    self.judge(gossip, Verdict::Ignore);
                    return;
                }
                let input = match gossip {
                    Some(_) => Input::Gossiped { from, message },
                    None => Input::Received { from, message },
                };
                let verdict = match self.handle(input) {
                    Ok(()) => Verdict::Accept,
                    Err(Error::PeerMisbehaved { culprit, fault }) => {
                        self.misbehaved(culprit, &fault);
                        Verdict::Reject
                    }
                    Err(error @ (Error::Untimely(_) | Error::Refused(_))) => {
                        tracing::debug!(?from, %error, "a message was of no use");
                        Verdict::Ignore
                    }
                    Err(error @ Error::ApiMisuse(_)) => {
                        tracing::error!(%error, "this is a fault of frith, please report it");
                        Verdict::Ignore
                    }
                };
                self.judge(gossip, verdict);
                // Its sender may say more.
                drop(claim);
            }
            Incoming::Message {
                from,
                what: Err(Fault::UnknownVersion { theirs, ours }),
                gossip,
                claim: _,
            } => {
                tracing::debug!(?from, theirs, ours, "a peer speaks another version");
                self.judge(gossip, Verdict::Ignore);
                // Once a connection: it may not be able to read this either, and would answer in the same way for ever.
                if self.told_version.insert(from) {
                    let message = Arc::new(Message::Unsupported { theirs, ours });
                    let bytes = Envelope { domain: self.domain, message }.to_bytes();
                    report_unsent(from, self.network.send(from, bytes));
                }
            }
            Incoming::Message { from, what: Err(fault), gossip, claim: _ } => {
                self.misbehaved(from, &fault);
                self.judge(gossip, Verdict::Reject);
            }
            Incoming::Net(event) => self.net_event(event),
            Incoming::Answered(key) => {
                self.contacts.answered(key);
                self.standings_changed = true;
            }
        }
    }

    fn judge(&mut self, gossip: Option<GossipToken>, verdict: Verdict) {
        if let Some(token) = gossip {
            self.verdicts.push((token, verdict));
        }
    }

    /// A stranger that breaks rules is shown the door; a member may have caught our own fault, and is only named.
    fn misbehaved(&mut self, key: PublicKey, fault: &Fault) {
        let standing = self.core().standing_of(&key);
        if standing > Standing::Stranger {
            // Once a connection: nobody shall fill our disk with log lines.
            if self.named.insert(key) {
                tracing::warn!(peer = self.name_of(&key), ?standing, %fault, "a peer broke a rule");
            }
            return;
        }
        // Quietly: strangers shall not fill our disk with log lines.
        tracing::debug!(?key, ?standing, %fault, "a peer broke a rule");
        if self.core().state().is_some() {
            self.misbehaved.push(key);
        }
    }

    fn net_event(&mut self, event: NetEvent) {
        match event {
            NetEvent::Connected(key) => {
                tracing::debug!(?key, "connected");
                self.connected.insert(key, Standing::Stranger);
                self.standings_changed = true;
                for effects in self.router.connection(self.clock.now(), key, true) {
                    self.take(effects);
                }
            }
            NetEvent::Disconnected(key) => {
                tracing::debug!(?key, "disconnected");
                self.connected.remove(&key);
                self.feed_connections();
                self.told_version.remove(&key);
                self.named.remove(&key);
                for effects in self.router.connection(self.clock.now(), key, false) {
                    self.take(effects);
                }
            }
            NetEvent::Listening(address) => tracing::info!(%address, "listening"),
            NetEvent::Addresses { of, record, addresses } => self.contacts.learnt(of, record, addresses),
            NetEvent::Received { .. } | NetEvent::Gossiped { .. } => {
                unreachable!("messages come through the checks")
            }
        }
    }
}
