//! Bytes: the one encoding, and the one digest (SPEC 1.1–1.4).
//!
//! `bincode` appears in this file and nowhere else. Its decoder alone would let one value have several encodings
//! (non-minimal integers, trailing bytes, repeated map keys), so that two nodes could hash one message differently:
//! every decode here encodes again and compares.

use std::fmt;
use std::sync::OnceLock;

use bincode::config;
use serde::de::{DeserializeOwned, Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::MESSAGE_BYTES_MAX;

/// The version byte that every message and stored record carries.
pub const VERSION: u8 = 1;

/// Why bytes are not a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Longer than its kind may be; nothing was decoded.
    #[error("{what} has {bytes} bytes; at most {max} are allowed")]
    TooLong {
        /// What was decoded.
        what: &'static str,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        max: usize,
    },
    /// The bytes do not decode.
    #[error("{what} does not decode: {why}")]
    Undecodable {
        /// What was decoded.
        what: &'static str,
        /// What the decoder said.
        why: String,
    },
    /// The bytes go on after the value.
    #[error("{what} is followed by {bytes} bytes that belong to nothing")]
    Trailing {
        /// What was decoded.
        what: &'static str,
        /// How many bytes follow.
        bytes: usize,
    },
    /// The bytes decode, but the value encodes to other bytes.
    #[error("{what} is not in its canonical encoding")]
    NotCanonical {
        /// What was decoded.
        what: &'static str,
    },
}

/// The canonical encoding of `value`.
///
/// # Panics
/// If the value cannot be encoded, which no type of ours allows.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    // Most values fit, and a vector that grows by the byte is the dearest part of a short encoding.
    let mut bytes = Bytes(Vec::with_capacity(512));
    encode_into(value, &mut bytes);
    bytes.0
}

/// Puts the canonical encoding of `value` behind what is in `bytes`: for whoever encodes much and keeps little.
pub fn encode_onto<T: Serialize + ?Sized>(value: &T, bytes: &mut Vec<u8>) {
    let mut onto = Bytes(std::mem::take(bytes));
    encode_into(value, &mut onto);
    *bytes = onto.0;
}

fn encode_into<T: Serialize + ?Sized>(value: &T, writer: &mut impl bincode::enc::write::Writer) {
    bincode::serde::encode_into_writer(value, writer, config::standard())
        .expect("our own types always encode");
}

struct Bytes(Vec<u8>);

impl bincode::enc::write::Writer for Bytes {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        match bytes {
            // Small integers and discriminants.
            [byte] => self.0.push(*byte),
            _ => self.0.extend_from_slice(bytes),
        }
        Ok(())
    }
}

/// Length of the canonical encoding, in bytes.
pub fn encoded_len<T: Serialize + ?Sized>(value: &T) -> usize {
    let mut counter = Counter(0);
    encode_into(value, &mut counter);
    counter.0
}

struct Counter(usize);

impl bincode::enc::write::Writer for Counter {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.0 += bytes.len();
        Ok(())
    }
}

/// The value that `bytes` encode, canonically and to the last byte. `what` names it in errors, `max` bounds its length.
///
/// # Errors
/// [`Malformed`] says which of the rules of SPEC 1.2 the bytes break.
pub fn decode<T: Serialize + DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
    max: usize,
) -> Result<T, Malformed> {
    if bytes.len() > max {
        return Err(Malformed::TooLong { what, bytes: bytes.len(), max });
    }
    // The limit also bounds what a length prefix can make bincode reserve (it aborts the process otherwise).
    let bounded = config::standard().with_limit::<MESSAGE_BYTES_MAX>();
    let (value, read): (T, usize) = bincode::serde::decode_from_slice(bytes, bounded)
        .map_err(|e| Malformed::Undecodable { what, why: e.to_string() })?;
    if read < bytes.len() {
        return Err(Malformed::Trailing { what, bytes: bytes.len() - read });
    }
    if encode(&value) != bytes {
        return Err(Malformed::NotCanonical { what });
    }
    Ok(value)
}

/// What a digest is for. Two labels never give the same digest of the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each names the rule of SPEC.md that uses it")]
pub enum Label {
    Inception,
    NextKey,
    Possession,
    Charter,
    Domain,
    Founding,
    Statement,
    Endorsement,
    Ticket,
    TicketSpend,
    Printed,
    Block,
    Ballot,
    MerkleLeaf,
    MerkleNode,
    MapLeaf,
    MapBranch,
    MapKey,
    State,
    Spine,
    Record,
    Wire,
    Log,
    Terms,
    Consent,
    Rotation,
    Hold,
    Session,
}

const LABELS: usize = Label::Session as usize + 1;

impl Label {
    const fn context(self) -> &'static str {
        match self {
            Label::Inception => "frith 2026-11 inception v1",
            Label::NextKey => "frith 2026-11 next key v1",
            Label::Possession => "frith 2026-11 possession v1",
            Label::Charter => "frith 2026-11 charter v1",
            Label::Domain => "frith 2026-11 domain v1",
            Label::Founding => "frith 2026-11 founding v1",
            Label::Statement => "frith 2026-11 statement v1",
            Label::Endorsement => "frith 2026-11 endorsement v1",
            Label::Ticket => "frith 2026-11 ticket v1",
            Label::TicketSpend => "frith 2026-11 ticket spend v1",
            Label::Printed => "frith 2026-11 printed v1",
            Label::Block => "frith 2026-11 block v1",
            Label::Ballot => "frith 2026-11 ballot v1",
            Label::MerkleLeaf => "frith 2026-11 merkle leaf v1",
            Label::MerkleNode => "frith 2026-11 merkle node v1",
            Label::MapLeaf => "frith 2026-11 map leaf v1",
            Label::MapBranch => "frith 2026-11 map branch v1",
            Label::MapKey => "frith 2026-11 map key v1",
            Label::State => "frith 2026-11 state v1",
            Label::Spine => "frith 2026-11 spine v1",
            Label::Record => "frith 2026-11 record v1",
            Label::Wire => "frith 2026-11 wire v1",
            Label::Log => "frith 2026-11 log v1",
            Label::Terms => "frith 2026-11 terms v1",
            Label::Consent => "frith 2026-11 consent v1",
            Label::Rotation => "frith 2026-11 rotation v1",
            Label::Hold => "frith 2026-11 hold v1",
            Label::Session => "frith 2026-11 session v1",
        }
    }

    /// A hasher that has already taken in the label: deriving that anew would double the cost of a short digest.
    fn hasher(self) -> blake3::Hasher {
        static HASHERS: [OnceLock<blake3::Hasher>; LABELS] = [const { OnceLock::new() }; LABELS];
        HASHERS[self as usize].get_or_init(|| blake3::Hasher::new_derive_key(self.context())).clone()
    }
}

/// The labelled digest of `bytes` (SPEC 1.3).
pub fn digest(label: Label, bytes: &[u8]) -> Hash {
    let mut hasher = label.hasher();
    hasher.update(bytes);
    Hash(*hasher.finalize().as_bytes())
}

/// The labelled digest of `parts`, one after the other. Whoever calls this sees to it that no two lists of parts run together.
pub(crate) fn digest_parts(label: Label, parts: &[&[u8]]) -> Hash {
    let mut hasher = label.hasher();
    for part in parts {
        hasher.update(part);
    }
    Hash(*hasher.finalize().as_bytes())
}

/// The labelled digest of the encoding of `value`.
pub fn digest_of<T: Serialize + ?Sized>(label: Label, value: &T) -> Hash {
    digest_after(label, &[], value)
}

/// The labelled digest of `before` and then the encoding of `value`. Whoever calls this sees to it that no two such pairs run together.
pub(crate) fn digest_after<T: Serialize + ?Sized>(label: Label, before: &[u8], value: &T) -> Hash {
    use bincode::enc::write::Writer as _;
    let mut digester = Digester { hasher: label.hasher(), buffer: [0; BUFFER_BYTES], used: 0 };
    digester.write(before).expect("a hasher takes everything");
    encode_into(value, &mut digester);
    digester.hasher.update(&digester.buffer[..digester.used]);
    Hash(*digester.hasher.finalize().as_bytes())
}

/// How much is encoded before it is hashed: enough for a header, so that most digests are of one piece.
const BUFFER_BYTES: usize = 512;

/// Hashes an encoding without keeping it.
struct Digester {
    hasher: blake3::Hasher,
    buffer: [u8; BUFFER_BYTES],
    used: usize,
}

impl bincode::enc::write::Writer for Digester {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        if self.used + bytes.len() > BUFFER_BYTES {
            self.hasher.update(&self.buffer[..self.used]);
            self.used = 0;
            if bytes.len() > BUFFER_BYTES {
                self.hasher.update(bytes);
                return Ok(());
            }
        }
        self.buffer[self.used..self.used + bytes.len()].copy_from_slice(bytes);
        self.used += bytes.len();
        Ok(())
    }
}

/// Reads a byte string of exactly `N` bytes. On the wire its length is in front, though it is known: serde would write an array without
/// one byte by byte, which takes five times as long, and most of what is hashed here is such strings.
pub(crate) fn fixed_bytes<'de, const N: usize, D: Deserializer<'de>>(from: D) -> Result<[u8; N], D::Error> {
    struct Exactly<const N: usize>;

    impl<const N: usize> Visitor<'_> for Exactly<N> {
        type Value = [u8; N];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{N} bytes")
        }

        fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<[u8; N], E> {
            bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))
        }
    }

    from.deserialize_bytes(Exactly::<N>)
}

/// Writes fixed-size byte strings as hex for people and as plain bytes for the wire.
macro_rules! byte_string {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The first eight hex digits, for people who look at several of them.
            pub fn short(&self) -> String {
                data_encoding::HEXLOWER.encode(&self.0[..4])
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}:{}", $what, self.short())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::encoding::NotHex;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::encoding::from_hex($what, text).map($name)
            }
        }

        impl From<$crate::encoding::Hash> for $name {
            fn from(hash: $crate::encoding::Hash) -> Self {
                $name(hash.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                if to.is_human_readable() {
                    to.collect_str(self)
                } else {
                    to.serialize_bytes(&self.0)
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                if from.is_human_readable() {
                    let text = String::deserialize(from)?;
                    text.parse().map_err(serde::de::Error::custom)
                } else {
                    $crate::encoding::fixed_bytes(from).map($name)
                }
            }
        }
    };
}
pub(crate) use byte_string;

/// 32 bytes that came out of [`digest`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What stands where there is nothing: the root of an empty tree, the parent of genesis.
    pub const ZERO: Hash = Hash([0; 32]);
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hash:{}", data_encoding::HEXLOWER.encode(&self.0[..4]))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() { to.collect_str(self) } else { to.serialize_bytes(&self.0) }
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            from_hex("hash", &String::deserialize(from)?).map(Hash).map_err(D::Error::custom)
        } else {
            fixed_bytes(from).map(Hash)
        }
    }
}

/// A text that should have been 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {what} is 64 hex digits, not {text:?}")]
pub struct NotHex {
    what: &'static str,
    text: String,
}

pub(crate) fn from_hex(what: &'static str, text: &str) -> Result<[u8; 32], NotHex> {
    data_encoding::HEXLOWER_PERMISSIVE
        .decode(text.trim().as_bytes())
        .ok()
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
        .ok_or_else(|| NotHex { what, text: text.chars().take(80).collect() })
}
