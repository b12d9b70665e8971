//! A message on its way between cores: its bytes are counted and hashed once, its signatures checked once, however many nodes get it.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use frith_protocol::door::{Envelope, Message};
use frith_protocol::fault::Fault;
use frith_protocol::identity::{Verified, verify};
use frith_protocol::state::DomainId;

use super::check::{Checker, Lookup};
use crate::engine::Parcel;

/// A message as the network sees it.
#[derive(Clone, Debug)]
pub(super) struct Letter(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    message: Arc<Message>,
    bytes: u64,
    content: u128,
    checked: OnceCell<Result<Arc<Verified<Message>>, Fault>>,
}

impl Letter {
    /// What `message` is on the wire of `domain`; it is encoded in `space`, which is filled again and again.
    fn new(domain: DomainId, message: Arc<Message>, space: &mut Vec<u8>) -> Letter {
        let envelope = Envelope { domain, message };
        space.clear();
        envelope.write_onto(space);
        let hash = blake3::hash(space);
        let content = u128::from_le_bytes(hash.as_bytes()[..16].try_into().expect("a hash has 32 bytes"));
        let checked = OnceCell::new();
        Letter(Rc::new(Inner { message: envelope.message, bytes: space.len() as u64, content, checked }))
    }

    /// What it says.
    pub(super) fn message(&self) -> &Arc<Message> {
        &self.0.message
    }

    /// The message, if all its signatures hold: what a host does with every message before its core sees it.
    ///
    /// # Errors
    /// The fault of whoever sent it.
    pub(super) fn checked(&self, checker: &Checker) -> Result<Arc<Verified<Message>>, Fault> {
        let check = || verify((*self.0.message).clone(), checker).map(Arc::new);
        self.0.checked.get_or_init(check).clone()
    }
}

/// Puts messages into letters. Some are sent again and again in envelopes of their own: parts of snapshots, which it knows by where they
/// lie.
#[derive(Debug, Default)]
pub(super) struct Letters {
    space: Vec<u8>,
    snapshots: Lookup<usize, Letter>,
    order: VecDeque<usize>,
}

/// How many parts of snapshots are kept: they are large.
const SNAPSHOTS_KEPT: usize = 64;

impl Letters {
    /// What `message` is on the wire of `domain`.
    pub(super) fn letter(&mut self, domain: DomainId, message: &Arc<Message>) -> Letter {
        let Message::Snapshot(chunk) = &**message else {
            return Letter::new(domain, Arc::clone(message), &mut self.space);
        };
        // The letter that is kept holds the chunk: nothing else can come to lie there.
        let place = Arc::as_ptr(chunk) as usize;
        if let Some(letter) = self.snapshots.get(&place) {
            return letter.clone();
        }
        let letter = Letter::new(domain, Arc::clone(message), &mut self.space);
        self.snapshots.insert(place, letter.clone());
        self.order.push_back(place);
        if self.order.len() > SNAPSHOTS_KEPT {
            let oldest = self.order.pop_front().expect("it is not empty");
            self.snapshots.remove(&oldest);
        }
        letter
    }
}

impl Parcel for Letter {
    fn bytes(&self) -> u64 {
        self.0.bytes
    }

    fn content(&self) -> u128 {
        self.0.content
    }
}
