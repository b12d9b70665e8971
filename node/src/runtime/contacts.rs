//! Whom this node should be connected to, and what it remembers of where they are.
//!
//! Every node keeps to the endorsers, and to a few members at growing distances in the ring of identities: so each has about as many
//! connections as the logarithm of the domain's size, everybody reaches everybody in as many steps, and nobody need be asked who keeps to
//! whom.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use frith_protocol::door::Core;
use frith_protocol::identity::{NodeId, PublicKey};
use libp2p::Multiaddr;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::checks::Incoming;
use crate::net::{NetError, Network, addresses_in};
use crate::store::{Store, StoreError};

/// Where a store keeps what is in here.
const RECORDS: &str = "address records";
const HINTS: &str = "address hints";

/// Members in the ring that a node keeps to, at most.
const FINGERS_MAX: u32 = 8;
/// Address records that are remembered.
const RECORDS_MAX: usize = 1024;
/// Of those, whom a node without a state dials: one that answers is enough.
const REMEMBERED_MAX: usize = 64;
/// How long to wait before a hint is tried again: doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_CAP: Duration = Duration::from_secs(30);

/// Addresses that came with a founding draft, a ticket or an anchor. Nobody signed them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hints {
    /// Of peers whose keys are known.
    pub of: Vec<(PublicKey, Vec<String>)>,
    /// Of whoever may answer there.
    pub anybody: Vec<String>,
}

impl Hints {
    /// The name of the note in which a store keeps them, and the note.
    pub fn note(&self) -> (&'static str, Vec<u8>) {
        (HINTS, serde_json::to_vec(self).expect("hints are plain JSON"))
    }
}

/// What a store keeps of where others are, as it was written down last.
pub(super) fn notes(store: &Store) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
    let note = |name: &str| Ok(store.note(name)?.map(|value| (name.to_string(), value)));
    Ok([note(HINTS)?, note(RECORDS)?].into_iter().flatten().collect())
}

/// Whom to be connected to.
pub(super) struct Contacts {
    hints: Hints,
    records: BTreeMap<PublicKey, Vec<u8>>,
    /// What each peer says of where it is.
    addresses: BTreeMap<PublicKey, Vec<Multiaddr>>,
    changed: bool,
    /// Whoever answered at a hinted address.
    answered: BTreeSet<PublicKey>,
    kept: BTreeSet<PublicKey>,
    /// New keys of peers that rotated, which were given the addresses of the old.
    moved: BTreeSet<PublicKey>,
}

impl Contacts {
    /// What the store remembers, and what the configuration adds. What cannot be read is nothing lost: it only helps.
    pub(super) fn load(store: &Store, configured: &[Multiaddr]) -> Result<Contacts, StoreError> {
        let read = |note: Option<Vec<u8>>| note.unwrap_or_default();
        let mut hints: Hints = serde_json::from_slice(&read(store.note(HINTS)?)).unwrap_or_default();
        hints.anybody.extend(configured.iter().map(Multiaddr::to_string));
        let records: Vec<(PublicKey, Vec<u8>)> =
            serde_json::from_slice(&read(store.note(RECORDS)?)).unwrap_or_default();
        Ok(Contacts {
            hints,
            addresses: records.iter().filter_map(|(_, record)| addresses_in(record)).collect(),
            records: records.into_iter().collect(),
            changed: false,
            answered: BTreeSet::new(),
            kept: BTreeSet::new(),
            moved: BTreeSet::new(),
        })
    }

    pub(super) fn records(&self) -> Vec<Vec<u8>> {
        self.records.values().cloned().collect()
    }

    /// Of how many peers this node will know after a restart where they said that they were.
    pub(super) fn remembered(&self) -> usize {
        self.records.len()
    }

    /// Remembers where a peer says it is.
    pub(super) fn learnt(&mut self, of: PublicKey, record: Vec<u8>, addresses: Vec<Multiaddr>) {
        if self.records.len() >= RECORDS_MAX && !self.records.contains_key(&of) {
            return;
        }
        self.records.insert(of, record);
        self.addresses.insert(of, addresses);
        self.changed = true;
    }

    /// Where a peer is, as far as is known: what it says itself before what others said.
    pub(super) fn addresses_of(&self, key: &PublicKey) -> Vec<String> {
        let hinted =
            || self.hints.of.iter().find(|(of, _)| of == key).map(|(_, addresses)| addresses.clone());
        let said = self.addresses.get(key).map(|all| all.iter().map(Multiaddr::to_string).collect());
        said.or_else(hinted).unwrap_or_default()
    }

    /// Writes down what changed, if anything did.
    pub(super) fn save(&mut self, store: &mut Store) -> Result<(), StoreError> {
        if !std::mem::take(&mut self.changed) {
            return Ok(());
        }
        let records: Vec<_> = self.records.iter().collect();
        store.set_note(RECORDS, &serde_json::to_vec(&records).expect("records are plain JSON"))
    }

    /// The addresses that are tried from the start.
    pub(super) fn tried(&self) -> Vec<String> {
        self.hints
            .of
            .iter()
            .flat_map(|(_, addresses)| addresses)
            .chain(&self.hints.anybody)
            .cloned()
            .collect()
    }

    /// Tries every hinted address. `answered` hears of whoever is there.
    pub(super) async fn begin(&self, network: &Network, answered: &mpsc::Sender<Incoming>) {
        for (key, addresses) in &self.hints.of {
            let addresses = addresses.iter().filter_map(|address| address.parse().ok()).collect();
            network.dial_peer(*key, addresses).await;
        }
        for address in &self.hints.anybody {
            match address.parse::<Multiaddr>() {
                Ok(address) => {
                    tokio::spawn(try_until_answered(network.clone(), address, answered.clone()));
                }
                Err(e) => tracing::warn!(address, error = %e, "an address to try is none"),
            }
        }
    }

    /// Somebody answered at a hinted address: worth keeping while we know no better.
    pub(super) fn answered(&mut self, key: PublicKey) {
        self.answered.insert(key);
    }

    /// The network is another, and has been told nothing yet.
    pub(super) fn forget_kept(&mut self) {
        self.kept.clear();
        self.moved.clear();
    }

    /// Whoever has rotated is still where it was: its new key gets the addresses of the old.
    async fn follow_rotations(&mut self, core: &Core, network: &Network, wanted: &BTreeSet<PublicKey>) {
        let Some(state) = core.state() else { return };
        let known: BTreeSet<PublicKey> =
            self.addresses.keys().copied().chain(self.hints.of.iter().map(|(key, _)| *key)).collect();
        for old in known {
            let Some(new) = state.owner_of(&old).and_then(|node| state.key_of(&node)) else { continue };
            if new == old || !wanted.contains(&new) || !self.moved.insert(new) {
                continue;
            }
            let addresses = self.addresses_of(&old);
            network
                .dial_peer(new, addresses.iter().filter_map(|address| address.parse().ok()).collect())
                .await;
        }
    }

    /// Tells the network whom to keep to, if that changed.
    pub(super) async fn keep(&mut self, core: &Core, network: &Network) {
        let wanted = wanted(core, &self.answered, self.records.keys());
        self.follow_rotations(core, network, &wanted).await;
        if wanted != self.kept {
            network.keep_connected(wanted.iter().copied().collect()).await;
            self.kept = wanted;
        }
    }
}

async fn try_until_answered(network: Network, address: Multiaddr, answered: mpsc::Sender<Incoming>) {
    let mut pause = RETRY_FIRST;
    while !answered.is_closed() {
        match network.dial(address.clone()).await {
            Ok(key) => return drop(answered.send(Incoming::Answered(key)).await),
            Err(NetError::Stopped) => return,
            Err(e) => tracing::debug!(%address, error = %e, "a hinted address does not answer"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_CAP);
    }
}

fn wanted<'a>(
    core: &Core,
    answered: &BTreeSet<PublicKey>,
    remembered: impl Iterator<Item = &'a PublicKey>,
) -> BTreeSet<PublicKey> {
    let mut wanted: BTreeSet<PublicKey> = core.endorser_keys().into_iter().collect();
    let Some(state) = core.state() else {
        // A newcomer knows nobody but whom its ticket led to, and whoever the charter names. Whoever came back without its log remembers
        // more: those whom its charter names may have rotated.
        wanted.extend(answered);
        wanted.extend(remembered.take(REMEMBERED_MAX));
        return wanted;
    };
    let members: Vec<(NodeId, PublicKey)> =
        state.members().map(|(node, standing)| (node, standing.keys.current)).collect();
    let me = core.node_id();
    if let Ok(at) = members.binary_search_by_key(&me, |(node, _)| *node) {
        wanted.extend(fingers(at, members.len()).map(|nth| members[nth].1));
    }
    wanted
}

/// The places at distances 1, 2, 4, … after `at` in a ring of `length`.
fn fingers(at: usize, length: usize) -> impl Iterator<Item = usize> {
    (0..FINGERS_MAX)
        .map(|power| 1_usize << power)
        .take_while(move |distance| *distance < length)
        .map(move |distance| (at + distance) % length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingers_reach_round_the_ring_and_never_oneself() {
        assert_eq!(fingers(0, 1).count(), 0);
        assert_eq!(fingers(3, 5).collect::<Vec<_>>(), [4, 0, 2]);
        for length in 2..300 {
            for at in 0..length {
                assert!(fingers(at, length).all(|finger| finger != at && finger < length));
            }
        }
    }

    #[test]
    fn whoever_keeps_to_its_fingers_reaches_everybody_in_few_steps() {
        let length = 200;
        let mut reached = BTreeSet::from([0_usize]);
        let mut steps = 0;
        while reached.len() < length {
            let next: Vec<usize> = reached.iter().flat_map(|at| fingers(*at, length)).collect();
            reached.extend(next);
            steps += 1;
            assert!(steps <= 8, "{} of {length} after {steps} steps", reached.len());
        }
    }
}
