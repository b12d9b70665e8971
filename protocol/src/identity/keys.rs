//! Keys and signatures.

use std::fmt;

use curve25519_dalek::edwards::CompressedEdwardsY;
use ed25519_dalek::Signer as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::encoding::{self, Hash, Label, digest};

encoding::byte_string!(
    /// An Ed25519 public key, as its 32 bytes. Whether it is one that may be introduced is asked of [`PublicKey::check`].
    PublicKey,
    "key"
);

/// How often an identity's key has been rotated: the first key is number 0.
pub type KeySequence = u32;

/// Why a key may not be introduced (SPEC 1.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// No point of the curve has this encoding.
    #[error("the key is no point of the curve")]
    NotAPoint,
    /// The point has another encoding, so that two keys would be one.
    #[error("the key is not in its canonical encoding")]
    NotCanonical,
    /// Signatures by such a key verify for whatever text.
    #[error("the key is a point of small order")]
    SmallOrder,
}

/// The y of every point of small order: 0, 1, −1, and those of order 8. Both x of each are of small order.
const SMALL_ORDER_Y: [[u8; 32]; 5] = [
    [
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    ],
    [
        0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    ],
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
    ],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

impl PublicKey {
    /// What stands where there is no key yet: a point of small order, which nobody may introduce (SPEC 1.6).
    pub const BLANK: PublicKey = PublicKey([0; 32]);

    /// Whether the key may be introduced into a domain: a canonical encoding of a point that is not of small order.
    ///
    /// # Errors
    /// [`BadKey`] says what is wrong with it.
    pub fn check(&self) -> Result<(), BadKey> {
        CompressedEdwardsY(self.0).decompress().ok_or(BadKey::NotAPoint)?;
        self.check_encoding()
    }

    /// The same of a key that is known to be a point, because a signature by it held: all that is left to ask is in its bytes.
    pub(super) fn check_encoding(&self) -> Result<(), BadKey> {
        let mut y = self.0;
        y[31] &= 0x7f;
        // Reduced: below the field's prime, 2^255 − 19. That leaves the two points with x = 0 another encoding each, with the sign
        // bit set; both are of small order, and refused as such.
        let [low, middle @ .., high] = &y;
        let reduced = *high < 0x7f || middle.iter().any(|byte| *byte < 0xff) || *low < 0xed;
        if !reduced {
            return Err(BadKey::NotCanonical);
        }
        if SMALL_ORDER_Y.contains(&y) {
            return Err(BadKey::SmallOrder);
        }
        Ok(())
    }

    /// What an inception commits to, when this is the key that it will rotate to (SPEC 2.1).
    pub fn commitment(&self) -> Hash {
        digest(Label::NextKey, &self.0)
    }
}

/// A signature scheme. Discriminants are wire format: append only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// Ed25519 (RFC 8032), valid by ZIP-215.
    Ed25519,
}

/// A signature over a labelled digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature {
    /// By which scheme.
    pub algorithm: Algorithm,
    /// The signature itself.
    pub bytes: [u8; 64],
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "signature:{}", data_encoding::HEXLOWER.encode(&self.bytes[..4]))
    }
}

/// The 64 bytes of a signature, as a byte string.
struct Bytes64([u8; 64]);

impl Serialize for Bytes64 {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes64 {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        encoding::fixed_bytes(from).map(Bytes64)
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            return to.serialize_str(&data_encoding::HEXLOWER.encode(&self.bytes));
        }
        (self.algorithm, Bytes64(self.bytes)).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        if from.is_human_readable() {
            let text = String::deserialize(from)?;
            let read = data_encoding::HEXLOWER_PERMISSIVE
                .decode(text.as_bytes())
                .map_err(|_| D::Error::custom("a signature is 128 hex digits"))?;
            let bytes = read.try_into().map_err(|_| D::Error::custom("a signature is 128 hex digits"))?;
            return Ok(Signature { algorithm: Algorithm::Ed25519, bytes });
        }
        let (algorithm, Bytes64(bytes)) = Deserialize::deserialize(from)?;
        Ok(Signature { algorithm, bytes })
    }
}

/// A secret key. It is never printed, and wiped when dropped.
#[derive(Clone)]
pub struct SecretKey(ed25519_dalek::SigningKey);

impl SecretKey {
    /// The key that grows from `seed`. Whoever calls this brings the randomness: the core has none.
    pub fn from_seed(seed: [u8; 32]) -> SecretKey {
        SecretKey(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// The seed, for the one file that keeps it.
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a labelled digest.
    pub fn sign(&self, digest: &Hash) -> Signature {
        Signature { algorithm: Algorithm::Ed25519, bytes: self.0.sign(&digest.0).to_bytes() }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {:?})", self.public())
    }
}
