//! The beginning of an identity (SPEC 2.1).

use serde::{Deserialize, Serialize};

use super::keys::{PublicKey, SecretKey, Signature};
use super::verify::{Sheet, Stateless};
use crate::encoding::{self, Hash, Label, VERSION, digest, digest_of};
use crate::fault::Fault;
use crate::planted::{Bug, loosened};

encoding::byte_string!(
    /// An identity: the hash of its inception. It outlives every key.
    NodeId,
    "node"
);

/// The beginning of an identity: its first key, its commitment to the next, and proof that its maker has the first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Inception {
    /// The key of sequence 0.
    pub key: PublicKey,
    /// [`PublicKey::commitment`] of the key of sequence 1.
    pub next: Hash,
    /// The first key's signature over the identity.
    pub possession: Signature,
}

impl Inception {
    /// The inception of whoever holds both secrets. `next` should from then on lie elsewhere than `key`.
    pub fn new(key: &SecretKey, next: &PublicKey) -> Inception {
        let (public, next) = (key.public(), next.commitment());
        let possession = key.sign(&possession_digest(&node_id(&public, &next)));
        Inception { key: public, next, possession }
    }

    /// The identity that begins here.
    pub fn node_id(&self) -> NodeId {
        node_id(&self.key, &self.next)
    }
}

fn node_id(key: &PublicKey, next: &Hash) -> NodeId {
    digest_of(Label::Inception, &(VERSION, super::Algorithm::Ed25519, key, next)).into()
}

fn possession_digest(id: &NodeId) -> Hash {
    digest(Label::Possession, &id.0)
}

impl Stateless for Inception {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        sheet.introduces(self.key);
        if !loosened(Bug::KeysUnproven) {
            sheet.claims(self.key, possession_digest(&self.node_id()), self.possession);
        }
        Ok(())
    }
}
