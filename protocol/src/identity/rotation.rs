//! From one key to the next (SPEC 2.4).

use serde::{Deserialize, Serialize};

use super::inception::NodeId;
use super::keys::{Algorithm, KeySequence, PublicKey, SecretKey, Signature};
use super::verify::Sheet;
use crate::encoding::{Hash, Label, VERSION, digest_of};
use crate::planted::{Bug, loosened};

/// «My key is now this, and the next will be that»: signed by the key that was committed to, so that nobody who has only the key
/// before can say it. It names no domain: whoever lives in several shows the same to each.
///
/// Whose it is stands beside it, and is under the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rotation {
    /// The number of the new key: one more than that before.
    pub sequence: KeySequence,
    /// The new key.
    pub key: PublicKey,
    /// [`PublicKey::commitment`] of the key after it.
    pub next: Hash,
    /// The new key's signature over all of it.
    pub signature: Signature,
}

impl Rotation {
    /// The rotation of `node` to `key`, to be followed by `next`. The same keys always make the same bytes, so that saying it again after
    /// a crash contradicts nothing.
    pub fn new(node: &NodeId, sequence: KeySequence, key: &SecretKey, next: &PublicKey) -> Rotation {
        let (public, next) = (key.public(), next.commitment());
        let signature = key.sign(&rotation_digest(node, sequence, &public, &next));
        Rotation { sequence, key: public, next, signature }
    }

    /// Notes on `sheet` that this must be a rotation of `node`.
    pub fn inspect(&self, node: &NodeId, sheet: &mut Sheet) {
        sheet.introduces(self.key);
        let digest = rotation_digest(node, self.sequence, &self.key, &self.next);
        if !loosened(Bug::RotationsUnsigned) {
            sheet.claims(self.key, digest, self.signature);
        }
    }
}

fn rotation_digest(node: &NodeId, sequence: KeySequence, key: &PublicKey, next: &Hash) -> Hash {
    digest_of(Label::Rotation, &(VERSION, Algorithm::Ed25519, node, sequence, key, next))
}
