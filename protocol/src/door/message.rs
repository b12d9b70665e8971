//! Everything that one core says to another, and who may say it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::paths::{AskProofs, Proofs};
use super::sessions::Session;
use crate::agreement;
use crate::encoding::{self, Malformed, VERSION};
use crate::fault::Fault;
use crate::following::Link;
use crate::identity::{PublicKey, Sheet, Signature, Stateless};
use crate::joining::{Answer, Circulated, Draft, KeyHistory, Retry};
use crate::limits;
use crate::state::{
    Block, BlockId, Charter, CharterId, DomainId, Entry, FinalChain, Hold, StatementId, Subject,
};

/// What endorsers say to one another, in a mesh.
pub type Talk = agreement::Message<Arc<Block>, PublicKey, Signature>;

/// What one core says to another. Discriminants are wire format: append only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Message {
    /// «I do not speak your version.» The rest of it is never read.
    Unsupported {
        /// What you spoke.
        theirs: u8,
        /// What I speak.
        ours: u8,
    },
    /// «What is final, newest first?»
    AskHead,
    /// «This, under that charter»: a chain without blocks; none if nothing follows genesis.
    Head {
        /// The charter in force.
        charter: CharterId,
        /// The certified head.
        tip: Option<Box<FinalChain>>,
    },
    /// «Show me this charter.»
    AskCharter(CharterId),
    /// «Here.»
    Charter(Box<Charter>),
    /// «Please endorse my admission.»
    AskEndorsement(Box<Draft>),
    /// The answer to that.
    Answer(Box<Answer>),
    /// «This meets its rule: put it into a block.»
    Submit(Arc<Entry>),
    /// «It cannot go into a block.»
    Refused {
        /// Which.
        statement: StatementId,
        /// Why, for people.
        why: String,
        /// Whether another draft may help.
        retry: Retry,
    },
    /// «I hold everything up to this height; what follows?»
    Follow {
        /// The height of the asker's head.
        height: u64,
        /// The first bytes of its id: enough to notice that two heads of one height differ.
        head: [u8; 8],
    },
    /// «Nothing: our heads are equal.»
    Same,
    /// «This»: also what gossip carries.
    Final(Arc<FinalChain>),
    /// «Send me this part of the snapshot under your newest head, or under this one.»
    AskSnapshot {
        /// Under which head; [`BlockId::NONE`] for the newest.
        head: BlockId,
        /// Which part.
        chunk: u32,
        /// Whether one is welcome that leaves out what can be asked for (SPEC 7.7).
        lean: bool,
    },
    /// A part of a snapshot.
    Snapshot(Arc<crate::state::SnapshotChunk>),
    /// Among endorsers: agreement.
    Talk(Arc<Talk>),
    /// Among endorsers, and whoever a charter in question gives a seat: a proposal.
    Circulate(Arc<Circulated>),
    /// «How does one come from the charter of this epoch to yours?»
    AskLinks {
        /// The epoch of the newest charter that the asker holds.
        epoch: u64,
    },
    /// «So»: ascending, without a gap.
    Links(Vec<Arc<Link>>),
    /// «My key is not that in the charter any more»: with a head, for whoever has no state yet.
    KeyHistory(Box<KeyHistory>),
    /// «I hold this one, until then»: also gossiped.
    Hold(Box<Hold>),
    /// «What lies at these places of the state after that block?»: of whoever holds a part of it.
    AskProofs(Box<AskProofs>),
    /// «This»: none, if that state is not at hand here.
    Proofs(Box<Proofs>),
    /// «By this key speaks this process»; or: «this one spoke by yours.»
    Session(Box<Session>),
}

/// What a peer is to us, from nothing to everything. Each includes the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Revoked: may do nothing.
    Gone,
    /// Unknown: may ask to join.
    Stranger,
    /// A member whose window is over, not too long ago to renew: may follow, to draft on a recent block.
    Lapsed,
    /// A member whose rights rest: may follow, to learn when they do no longer.
    Suspended,
    /// Effective member.
    Member,
    /// Named by the charter.
    Endorser,
}

impl Message {
    /// The least that a peer must be to send this: the table of message and capability (SPEC 5.8).
    pub fn needs(&self) -> Standing {
        match self {
            Message::Unsupported { .. }
            | Message::AskHead
            | Message::AskCharter(_)
            | Message::AskLinks { .. }
            | Message::AskEndorsement(_)
            | Message::Submit(_) => Standing::Stranger,
            // Answers. A newcomer, which has no state to know anybody's standing by, takes them from whom it asked and believes certificates.
            Message::Head { .. }
            | Message::Charter(_)
            | Message::Answer(_)
            | Message::Refused { .. }
            | Message::Same
            | Message::Snapshot(_)
            | Message::KeyHistory(_)
            | Message::Session(_) => Standing::Member,
            // Believed for its certificate, whoever brings it: it may be a peer whose admission is still on its way here.
            Message::Final(_) | Message::Links(_) => Standing::Stranger,
            // Likewise, for its signature: and whoever has it should not have to wait until we know who it is.
            Message::Hold(_) => Standing::Stranger,
            // Believed for the root that they lead to, of whoever was asked: it may have rotated since.
            Message::Proofs(_) => Standing::Stranger,
            Message::Follow { .. } | Message::AskSnapshot { .. } | Message::AskProofs(_) => Standing::Lapsed,
            Message::Circulate(circulated) => match &circulated.subject {
                // Whoever it gives a seat says so itself.
                Subject::Terms(_) => Standing::Member,
                Subject::Statement(_) | Subject::Ticket(_) => Standing::Endorser,
            },
            Message::Talk(_) => Standing::Endorser,
        }
    }

    /// Whether a seat is enough to say it, with rights that rest: agreement; and of a charter to come, or no fresh voting key of whoever lied
    /// would come into it (SPEC 5.8).
    pub(super) fn is_of_a_seat(&self) -> bool {
        match self {
            Message::Talk(_) => true,
            Message::Circulate(circulated) => matches!(circulated.subject, Subject::Terms(_)),
            Message::Unsupported { .. }
            | Message::AskHead
            | Message::Head { .. }
            | Message::AskCharter(_)
            | Message::Charter(_)
            | Message::AskEndorsement(_)
            | Message::Answer(_)
            | Message::Submit(_)
            | Message::Refused { .. }
            | Message::Follow { .. }
            | Message::Same
            | Message::Final(_)
            | Message::AskSnapshot { .. }
            | Message::Snapshot(_)
            | Message::AskLinks { .. }
            | Message::Links(_)
            | Message::KeyHistory(_)
            | Message::Hold(_)
            | Message::AskProofs(_)
            | Message::Proofs(_)
            | Message::Session(_) => false,
        }
    }

    /// Its name, for logs and faults.
    pub fn name(&self) -> &'static str {
        match self {
            Message::Unsupported { .. } => "Unsupported",
            Message::AskHead => "AskHead",
            Message::Head { .. } => "Head",
            Message::AskCharter(_) => "AskCharter",
            Message::Charter(_) => "Charter",
            Message::AskEndorsement(_) => "AskEndorsement",
            Message::Answer(_) => "Answer",
            Message::Submit(_) => "Submit",
            Message::Refused { .. } => "Refused",
            Message::Follow { .. } => "Follow",
            Message::Same => "Same",
            Message::Final(_) => "Final",
            Message::AskSnapshot { .. } => "AskSnapshot",
            Message::Snapshot(_) => "Snapshot",
            Message::Talk(_) => "Talk",
            Message::Circulate(_) => "Circulate",
            Message::AskLinks { .. } => "AskLinks",
            Message::Links(_) => "Links",
            Message::KeyHistory(_) => "KeyHistory",
            Message::Hold(_) => "Hold",
            Message::AskProofs(_) => "AskProofs",
            Message::Proofs(_) => "Proofs",
            Message::Session(_) => "Session",
        }
    }
}

impl Stateless for Message {
    fn inspect(&self, sheet: &mut Sheet) -> Result<(), Fault> {
        match self {
            Message::Unsupported { .. }
            | Message::AskHead
            | Message::AskCharter(_)
            | Message::AskLinks { .. }
            | Message::Charter(_)
            | Message::Follow { .. }
            | Message::Same
            | Message::AskSnapshot { .. } => Ok(()),
            Message::Snapshot(chunk) => chunk.inspect(sheet),
            Message::Head { charter: _, tip } => tip.iter().try_for_each(|tip| tip.inspect(sheet)),
            Message::Links(links) => {
                let (count, max) = (links.len(), limits::LINKS_MAX);
                if count > max {
                    return Err(Fault::TooMany { what: "links of an answer", count, max });
                }
                links.iter().try_for_each(|link| link.inspect(sheet))
            }
            Message::AskEndorsement(draft) => draft.inspect(sheet),
            Message::Answer(answer) => answer.inspect(sheet),
            Message::Submit(entry) => entry.inspect(sheet),
            Message::Refused { statement: _, why, retry: _ } => {
                let (count, max) = (why.len(), limits::NOTE_BYTES_MAX);
                if count > max {
                    Err(Fault::TooMany { what: "bytes of a reason", count, max })
                } else {
                    Ok(())
                }
            }
            Message::Final(chain) => chain.inspect(sheet),
            Message::Talk(talk) => talk.inspect(sheet),
            Message::Circulate(circulated) => circulated.inspect(sheet),
            Message::KeyHistory(history) => history.inspect(sheet),
            Message::Hold(hold) => hold.inspect(sheet),
            Message::AskProofs(asked) => asked.inspect(),
            Message::Proofs(proofs) => proofs.inspect(),
            Message::Session(session) => session.inspect(sheet),
        }
    }
}

/// A message and the domain that it is about (SPEC 1.7).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Envelope {
    /// Which domain.
    pub domain: DomainId,
    /// What is said.
    pub message: Arc<Message>,
}

impl Envelope {
    /// The bytes on the wire: the version first, so that it can be read whatever follows.
    pub fn to_bytes(&self) -> Vec<u8> {
        encoding::encode(&(VERSION, self.domain, &self.message))
    }

    /// Puts those bytes behind what is in `bytes`.
    pub fn write_onto(&self, bytes: &mut Vec<u8>) {
        encoding::encode_onto(&(VERSION, self.domain, &self.message), bytes);
    }

    /// How many bytes that are.
    pub fn wire_len(&self) -> usize {
        encoding::encoded_len(&(VERSION, self.domain, &self.message))
    }
}

/// Reads what a transport received. Signatures are checked next, by [`crate::identity::verify`].
///
/// # Errors
/// [`Fault::UnknownVersion`], to be answered with [`Message::Unsupported`]; or [`Fault::Malformed`].
pub fn open_envelope(bytes: &[u8], max: usize) -> Result<(DomainId, Message), Fault> {
    match bytes.first() {
        None => Err(Malformed::Undecodable { what: "a message", why: "it is empty".into() }.into()),
        Some(&theirs) if theirs != VERSION => Err(Fault::UnknownVersion { theirs, ours: VERSION }),
        Some(_) => {
            let (_, domain, message): (u8, DomainId, Message) = encoding::decode("a message", bytes, max)?;
            Ok((domain, message))
        }
    }
}
