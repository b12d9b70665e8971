//! The small files of founding: cards and signatures.

use std::path::Path;

use frith_protocol::identity::{Claim, Inception, NodeId, PublicKey, Signature, SignatureCheck};
use frith_protocol::state::{DomainId, founding_digest};
use serde::{Deserialize, Serialize};

use super::{FoundingError, check_addresses, check_inception, read, signature_check};
use crate::keys::NodeKeys;
use crate::words::from_toml;

/// The format of all files of founding.
pub(super) const FORMAT: u32 = 1;

/// What each file begins with, so that one taken for another is told by name.
#[derive(Deserialize)]
struct Kind {
    card: Option<u32>,
    draft: Option<u32>,
    signature_format: Option<u32>,
}

/// Refuses a file of another kind, or of a newer format, before its content is looked at.
pub(super) fn check_kind(text: &str, path: &Path, ours: &'static str) -> Result<(), FoundingError> {
    // What is no TOML at all is said better by whoever reads the whole.
    let Ok(kind) = toml::from_str::<Kind>(text) else { return Ok(()) };
    let kinds = [
        ("a founder's card", kind.card),
        ("a draft of a charter", kind.draft),
        ("a founder's signature", kind.signature_format),
    ];
    for (name, format) in kinds {
        match format {
            Some(_) if name != ours => {
                return Err(FoundingError::OtherFile { path: path.to_path_buf(), theirs: name, ours });
            }
            Some(theirs) if theirs > FORMAT => {
                return Err(FoundingError::Newer { path: path.to_path_buf(), theirs, ours: FORMAT });
            }
            Some(_) | None => {}
        }
    }
    Ok(())
}

/// What a founder hands out: who it is, the key of its ballots, where it will be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    pub(super) card: u32,
    /// Who: for people; it follows from the inception.
    pub node: NodeId,
    /// The key of its ballots.
    pub voting_key: PublicKey,
    /// Where it will be reached. Hints only.
    pub addresses: Vec<String>,
    /// Who.
    pub inception: Inception,
}

impl Card {
    /// The card of the founder with these keys.
    ///
    /// # Errors
    /// What is wrong with the addresses.
    pub fn new(keys: &NodeKeys, voting_key: PublicKey, addresses: Vec<String>) -> Result<Card, String> {
        check_addresses(&addresses)?;
        let inception = keys.inception.clone();
        Ok(Card { card: FORMAT, node: inception.node_id(), voting_key, addresses, inception })
    }

    /// The file.
    pub fn to_toml(&self) -> String {
        let body = toml::to_string(self).expect("a card is plain TOML");
        format!("# A founder's card. It is public: send it to whoever drafts the charter.\n\n{body}")
    }

    /// Reads and checks the card at `path`.
    ///
    /// # Errors
    /// If it is not a card, or does not hold together.
    pub fn read(path: &Path) -> Result<Card, FoundingError> {
        const KIND: &str = "a founder's card";
        let text = read(path, "read a founder's card")?;
        check_kind(&text, path, KIND)?;
        let card: Card = from_toml(&text, path)?;
        let bad = |why: String| FoundingError::BadCard { path: path.to_path_buf(), why };
        if card.node != card.inception.node_id() {
            return Err(bad("the node that it names does not follow from its inception".into()));
        }
        check_inception(&card.inception).map_err(|fault| bad(fault.to_string()))?;
        card.voting_key.check().map_err(|why| bad(format!("its voting key cannot be used: {why}")))?;
        check_addresses(&card.addresses).map_err(bad)?;
        Ok(card)
    }
}

/// One founder's signature of a draft.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FounderSignature {
    signature_format: u32,
    /// The domain that is founded.
    pub domain: DomainId,
    /// Who signs.
    pub node: NodeId,
    /// The signature.
    pub signature: Signature,
}

impl FounderSignature {
    pub(super) fn new(domain: DomainId, node: NodeId, signature: Signature) -> FounderSignature {
        FounderSignature { signature_format: FORMAT, domain, node, signature }
    }

    pub(super) fn holds(&self, key: &PublicKey) -> bool {
        let digest = founding_digest(&self.domain);
        let claim = Claim { key: *key, digest, signature: self.signature };
        signature_check().first_bad(&[claim]).is_none()
    }

    /// The file.
    pub fn to_toml(&self) -> String {
        let body = toml::to_string(self).expect("a signature is plain TOML");
        format!("# A founder's signature of a charter. It is public: send it to every founder.\n\n{body}")
    }

    /// Reads the signature at `path`. Whether it holds is asked by [`super::put_together`].
    ///
    /// # Errors
    /// If it is not one.
    pub fn read(path: &Path) -> Result<FounderSignature, FoundingError> {
        let text = read(path, "read a founder's signature")?;
        check_kind(&text, path, "a founder's signature")?;
        Ok(from_toml(&text, path)?)
    }
}
