//! A log with a long history and few living: who came, who went, block by block, as a follower is sent it.

use std::collections::VecDeque;
use std::sync::Arc;

use frith_protocol::agreement::{Ballot, BallotKind, Certificate};
use frith_protocol::door::{Envelope, Message, open_envelope};
use frith_protocol::encoding::encoded_len;
use frith_protocol::identity::Verified;
use frith_protocol::limits;
use frith_protocol::state::{Block, Entry, FinalChain, Role};

use super::domain::{Domain, Person, verified};

/// Admissions in a block, beside as many revocations once enough live.
const PER_BLOCK: usize = 112;

/// A domain whose log has so many entries, and what a follower is sent of it.
#[derive(Clone)]
pub(crate) struct History {
    pub(crate) domain: Domain,
    pub(crate) entries: usize,
    /// The domain as it was when its log first had so many entries.
    pub(crate) at: Vec<(usize, Domain)>,
    /// Final chains, each as much as fits an answer, as they are sent.
    pub(crate) chains: Vec<Vec<u8>>,
    pub(crate) living: VecDeque<Person>,
    next: u32,
}

impl History {
    /// Admits and revokes until there are `entries`, and about `living` of those admitted are left.
    pub(crate) fn of(entries: usize, living: usize, sizes: &[usize]) -> History {
        History::in_domain(Domain::new(4), entries, living, sizes)
    }

    /// The same with admissions of more than a kilobyte each: few entries come to a long log.
    pub(crate) fn bulky(entries: usize, living: usize) -> History {
        let names: Vec<String> = (0..16).map(|i| format!("{i:064}")).collect();
        let roles = names.iter().map(|name| Role {
            name: name.clone(),
            capabilities: Vec::new(),
            freshness_ms: None,
        });
        let domain = Domain::with(4, |charter| {
            charter.roles = roles.collect();
            for seat in &mut charter.endorsers {
                seat.roles.clear();
            }
        });
        History::in_domain(domain, entries, living, &[])
    }

    fn in_domain(domain: Domain, entries: usize, living: usize, sizes: &[usize]) -> History {
        let mut history = History {
            domain,
            entries: 0,
            at: Vec::new(),
            chains: Vec::new(),
            living: VecDeque::new(),
            next: 1_000,
        };
        let (mut blocks, mut bytes): (Vec<Arc<Block>>, usize) = (Vec::new(), 0);
        let mut sizes = sizes.iter().copied().peekable();
        while history.entries < entries {
            let room = sizes.peek().map_or(entries, |size| *size) - history.entries;
            let block = history.advance(living, room);
            let more = encoded_len(&*block);
            if !blocks.is_empty() && bytes + more > limits::FOLLOW_ANSWER_BYTES_MAX {
                history.close(std::mem::take(&mut blocks));
                bytes = 0;
            }
            bytes += more;
            blocks.push(block);
            if sizes.next_if(|size| *size == history.entries).is_some() {
                history.at.push((history.entries, history.domain.clone()));
            }
        }
        history.close(blocks);
        history
    }

    /// A block: revocations of those who have been here longest, if enough live, and newcomers.
    fn advance(&mut self, living: usize, room: usize) -> Arc<Block> {
        let full = self.living.len() >= living;
        let go = if full { PER_BLOCK.min(room / 2).min(self.living.len() / 2) } else { 0 };
        let come = if full {
            go.max(1).min(room - go)
        } else {
            (2 * PER_BLOCK).min(room).min(living - self.living.len())
        };
        let mut entries: Vec<Entry> =
            self.living.drain(..go).map(|person| self.domain.revocation(person.node)).collect();
        for _ in 0..come {
            let person = Person::new(self.next);
            self.next += 1;
            entries.push(self.admission(&person));
            self.living.push_back(person);
        }
        self.entries += entries.len();
        let entries: Vec<Verified<Arc<Entry>>> =
            entries.into_iter().map(|entry| verified(Arc::new(entry))).collect();
        let (block, state, refused) =
            self.domain.state.build(&self.domain.head, self.domain.now(), entries.iter());
        assert!(refused.is_empty() && block.entries.len() == entries.len(), "{refused:?}");
        self.domain.state = state;
        self.domain.head = block.header.clone();
        block.into_inner()
    }

    /// One more block, with these.
    pub(crate) fn add(&mut self, entries: &[Entry]) {
        let block = self.domain.advance(entries).into_inner();
        self.entries += entries.len();
        self.close(vec![block]);
    }

    /// A chain of one block, of which the last entry lacks an endorsement.
    pub(crate) fn spoilt(&self, wire: &[u8]) -> Vec<u8> {
        let opened = open_envelope(wire, limits::MESSAGE_BYTES_MAX).expect("it was encoded by us");
        let (_, Message::Final(chain)) = opened else { unreachable!("it is a chain") };
        let mut chain = (*chain).clone();
        let block = Arc::make_mut(&mut chain.blocks[0]);
        block.entries.last_mut().expect("it has entries").endorsements.pop();
        self.wire(Message::Final(Arc::new(chain)))
    }

    /// With every role that there is.
    fn admission(&self, person: &Person) -> Entry {
        let mut admit = self.domain.admit(person);
        admit.roles = self.domain.state.charter().roles.iter().map(|role| role.name.clone()).collect();
        self.domain.admission(admit)
    }

    /// Certifies the newest of `blocks`, and puts them down as they are sent.
    fn close(&mut self, blocks: Vec<Arc<Block>>) {
        let Some(last) = blocks.last() else { return };
        let certificate = self.certified(last, self.chains.len() as u64 + 1);
        self.chains.push(self.wire(Message::Final(Arc::new(FinalChain {
            blocks,
            headers: Vec::new(),
            certificate,
        }))));
    }

    fn certified(
        &self,
        block: &Block,
        iteration: u64,
    ) -> Certificate<frith_protocol::identity::PublicKey, frith_protocol::identity::Signature> {
        let domain = self.domain.state.domain();
        let ballot = Ballot { domain, epoch: 1, iteration, kind: BallotKind::Finalise, block: block.id() };
        let quorum = self.domain.state.charter().quorum();
        let mut votes: Vec<_> = self
            .domain
            .founders
            .iter()
            .take(quorum)
            .map(|founder| (founder.voting.public(), founder.voting.sign(&ballot.digest())))
            .collect();
        votes.sort_by_key(|(voter, _)| *voter);
        Certificate { ballot, votes }
    }

    /// A message as it travels.
    pub(crate) fn wire(&self, message: Message) -> Vec<u8> {
        Envelope { domain: self.domain.state.domain(), message: Arc::new(message) }.to_bytes()
    }
}
