//! Every message's bytes are pinned, and no flipped bit of any goes unnoticed.
//!
//! `FRITH_BLESS=1 cargo test -p frith-protocol --test state wire` writes the files anew: only ever for a new variant.

use std::path::PathBuf;
use std::sync::Arc;

use frith_protocol::agreement::{
    Ballot, BallotKind, Certificate, Have, Message as Agreement, Proposal, Vote, Want,
};
use frith_protocol::door::{AskProofs, Envelope, Message, Proofs, Session, Talk, open_envelope};
use frith_protocol::encoding::{Hash, VERSION};
use frith_protocol::following::Link;
use frith_protocol::identity::{PublicKey, Signature, verify};
use frith_protocol::joining::{Answer, Circulated, Draft, KeyHistory, Retry, Shown, Verdict, spend_digest};
use frith_protocol::limits::MESSAGE_BYTES_MAX;
use frith_protocol::state::{
    Accuse, Admit, Block, BlockId, Consent, Contradiction, Entry, FinalChain, Grounds, Hold, Kind, Place,
    Reason, Recover, Release, Revoke, Statement, Subject, Suspend, Terms,
};
use frith_protocol::time::Timestamp;

use crate::domain::{Domain, Person, check, verified};

/// Version and domain, before the message itself.
const HEAD_BYTES: usize = 1 + 33;

type Cert = Certificate<PublicKey, Signature>;

struct World {
    domain: Domain,
    block: Arc<Block>,
    newcomer: Person,
}

impl World {
    fn new() -> World {
        let mut domain = Domain::new(4);
        domain.advance(&[domain.admission(domain.admit(&Person::new(100)))]);
        let (leaver, newcomer) = (Person::new(100), Person::new(200));
        let mut by_ticket = domain.admit(&newcomer);
        by_ticket.grounds = Grounds::Ticket(Box::new(domain.terms(1, 3)));
        let entries = [domain.revocation(leaver.node), domain.admission(by_ticket)];
        let block = domain.advance(&entries);
        World { domain, block: Arc::clone(&block), newcomer }
    }

    fn ballot(&self, kind: BallotKind) -> Ballot {
        let block = if kind == BallotKind::Dummy { BlockId::NONE } else { self.block.id() };
        Ballot { domain: self.domain.state.domain(), epoch: 1, iteration: 300, kind, block }
    }

    fn vote(&self, kind: BallotKind) -> Vote<PublicKey, Signature> {
        let ballot = self.ballot(kind);
        let key = &self.domain.founders[0].voting;
        Vote { ballot, voter: key.public(), proof: key.sign(&ballot.digest()) }
    }

    fn certificate(&self, kind: BallotKind) -> Cert {
        let ballot = self.ballot(kind);
        let sign = |p: &Person| (p.voting.public(), p.voting.sign(&ballot.digest()));
        let mut votes: Vec<_> = self.domain.founders.iter().take(3).map(sign).collect();
        votes.sort_unstable_by_key(|vote| vote.0);
        Certificate { ballot, votes }
    }

    fn chain(&self) -> FinalChain {
        let heartbeat = self.domain.clone().advance(&[]).header.clone();
        let certificate = self.certificate(BallotKind::Finalise);
        FinalChain { blocks: vec![Arc::clone(&self.block)], headers: vec![heartbeat], certificate }
    }

    fn tip(&self) -> Box<FinalChain> {
        Box::new(FinalChain { blocks: Vec::new(), ..self.chain() })
    }

    fn draft(&self) -> Draft {
        let domain = &self.domain;
        let (person, terms) = (Person::new(300), domain.terms(1, 3));
        let spend = frith_protocol::identity::SecretKey::from_seed([1; 32])
            .sign(&spend_digest(&terms.id(), &person.node));
        let subject = Subject::Ticket(terms.clone());
        let countersignatures = domain.founders.iter().take(2).map(|p| p.endorse(&subject)).collect();
        let mut admit = domain.admit(&person);
        admit.grounds = Grounds::Ticket(Box::new(terms));
        Draft {
            statement: domain.statement(Kind::Admit(Box::new(admit))),
            shown: Some(Shown { countersignatures, spend }),
            note: "rack 7".into(),
        }
    }

    fn approval_draft(&self) -> Draft {
        let admit = self.domain.admit(&Person::new(301));
        let statement = self.domain.statement(Kind::Admit(Box::new(admit)));
        Draft { statement, shown: None, note: String::new() }
    }

    fn renewal_draft(&self) -> Draft {
        let admit = Admit { grounds: Grounds::Renewal, ..self.domain.admit(&self.newcomer) };
        let statement = self.domain.statement(Kind::Admit(Box::new(admit)));
        Draft { statement, shown: None, note: String::new() }
    }

    fn suspension(&self) -> Statement {
        let (subject, until) = (self.newcomer.node, self.domain.now().plus(60_000));
        let suspend = Suspend { subject, number: 1, until, reason: Reason::Compromised };
        self.domain.statement(Kind::Suspend(suspend))
    }

    fn hold(&self) -> Hold {
        self.domain.hold(&self.domain.founders[2], self.newcomer.node, 3)
    }

    fn asked_proofs(&self) -> AskProofs {
        let node = &self.newcomer.node;
        let places = vec![Place::of_node(node), Place::of_key(&self.newcomer.public())];
        AskProofs { height: 70_000, block: self.block.id(), places }
    }

    fn proofs(&self) -> Proofs {
        let AskProofs { block, places, .. } = self.asked_proofs();
        let path = |place| self.domain.state.path(&place).expect("the state is whole");
        Proofs { block, paths: places.into_iter().map(|place| (place, path(place))).collect() }
    }

    fn session(&self) -> Session {
        let (domain, id) = (self.domain.state.domain(), Hash([7; 32]));
        Session::sign(domain, &self.domain.founders[2].key, id, Timestamp(70_000))
    }

    fn release(&self) -> Statement {
        let basis = self.domain.admit(&self.newcomer).basis;
        self.domain.statement(Kind::Release(Release { subject: self.newcomer.node, number: 1, basis }))
    }

    fn answer(&self, verdict: Verdict) -> Message {
        let statement = self.draft().statement.id();
        Message::Answer(Box::new(Answer { statement, verdict }))
    }

    /// The charter again, and the next one.
    fn terms(&self) -> Terms {
        self.domain.next_charter(|_| {})
    }

    fn amend(&self) -> Entry {
        self.domain.amendment(&self.terms(), &self.domain.founders.iter().collect::<Vec<_>>())
    }

    /// From the first charter to the next.
    fn link(&self) -> Link {
        let mut domain = Domain::new(4);
        let block = domain.advance(&[domain.amendment(&domain.next_charter(|_| {}), &[])]);
        Link::to(&domain.state, block.header.clone(), self.certificate(BallotKind::Finalise))
    }

    fn accusation(&self, contradiction: Contradiction) -> Message {
        let accuse = Accuse { subject: self.newcomer.node, contradiction };
        let statement = self.domain.statement(Kind::Accuse(Box::new(accuse)));
        Message::Submit(Arc::new(Entry { statement, endorsements: Vec::new() }))
    }

    /// Signed by somebody: by whom, whoever takes it judges.
    fn recovery(&self) -> FinalChain {
        let domain = &self.domain;
        let (time, terms) = (domain.now().plus(1), self.terms());
        let base = domain.admit(&self.newcomer).basis;
        let consents = domain.founders.iter().map(|person| {
            let voting = person.voting_key_of(2);
            Consent::sign(&terms.id(), (person.node, 0, &person.key), &voting, base)
        });
        let subject = self.newcomer.node;
        let recover = Recover {
            base,
            gone: vec![Revoke { subject: Person::new(201).node, reason: Reason::Misbehaved }],
            suspended: vec![Suspend {
                subject,
                number: 1,
                until: time.plus(60_000),
                reason: Reason::Unspecified,
            }],
            charter: terms.charter.clone(),
            consents: consents.collect(),
        };
        let (block, _) = domain.state.recovered(recover, time).expect("it follows");
        let ballot = Ballot::of_recovery(domain.state.domain(), 1, block.id());
        let key = &domain.founders[0].key;
        let votes = vec![(key.public(), key.sign(&ballot.digest()))];
        FinalChain {
            blocks: vec![Arc::new(block)],
            headers: vec![],
            certificate: Certificate { ballot, votes },
        }
    }

    fn circulated(&self, subject: Subject) -> Message {
        let endorsements = self.domain.founders.iter().take(2).map(|p| p.endorse(&subject)).collect();
        let (expires, consents) = (self.domain.now(), Vec::new());
        let note = "please".into();
        Message::Circulate(Arc::new(Circulated { subject, note, expires, endorsements, consents }))
    }

    /// Every variant, and every variant within it that has bytes of its own.
    fn messages(&self) -> Vec<(&'static str, Message)> {
        let (domain, newcomer) = (&self.domain, &self.newcomer);
        let rotations = vec![newcomer.rotation(1), newcomer.rotation(2)];
        let statement = self.draft().statement;
        let by_ballots =
            Contradiction::Ballots(self.vote(BallotKind::Dummy), self.vote(BallotKind::Finalise));
        let by_rotations = Contradiction::Rotations(rotations[0], rotations[0]);
        let by_holds = Contradiction::Holds(self.hold(), self.hold());
        let talk = |talk: Talk| Message::Talk(Arc::new(talk));
        let endorsement = domain.founders[1].endorse(&Subject::Statement(statement.clone()));
        let proposal = Proposal {
            vote: self.vote(BallotKind::Propose),
            block: Arc::clone(&self.block),
            grounds: vec![self.certificate(BallotKind::Vote), self.certificate(BallotKind::Dummy)],
        };
        let have = Have {
            certificates: vec![self.certificate(BallotKind::Vote)],
            blocks: vec![Arc::clone(&self.block)],
        };
        let want = Want { epoch: 1, from_iteration: 7, blocks: vec![self.block.id()] };
        let mut chunks = domain.state.snapshot(Some(self.tip()));
        let declined = |retry| Verdict::Declined { why: "no".into(), retry };
        vec![
            ("unsupported", Message::Unsupported { theirs: 9, ours: VERSION }),
            ("ask_head", Message::AskHead),
            ("head", Message::Head { charter: domain.state.charter_id(), tip: Some(self.tip()) }),
            ("head_genesis", Message::Head { charter: domain.state.charter_id(), tip: None }),
            ("ask_charter", Message::AskCharter(domain.state.charter_id())),
            ("charter", Message::Charter(Box::new(domain.founded.charter.clone()))),
            ("ask_endorsement_ticket", Message::AskEndorsement(Box::new(self.draft()))),
            ("ask_endorsement_approval", Message::AskEndorsement(Box::new(self.approval_draft()))),
            ("ask_endorsement_renewal", Message::AskEndorsement(Box::new(self.renewal_draft()))),
            ("answer_endorsed", self.answer(Verdict::Endorsed(endorsement))),
            ("answer_waiting", self.answer(Verdict::Waiting)),
            ("answer_never", self.answer(declined(Retry::Never))),
            ("answer_newer_basis", self.answer(declined(Retry::NewerBasis))),
            ("answer_later", self.answer(declined(Retry::Later))),
            ("submit_admit", Message::Submit(Arc::new(domain.endorsed(statement)))),
            ("submit_revoke", Message::Submit(Arc::new(domain.revocation(self.newcomer.node)))),
            ("submit_suspend", Message::Submit(Arc::new(domain.endorsed(self.suspension())))),
            ("submit_release", Message::Submit(Arc::new(domain.endorsed(self.release())))),
            ("submit_amend", Message::Submit(Arc::new(self.amend()))),
            ("submit_hold", Message::Submit(Arc::new(domain.record(&self.hold())))),
            ("submit_rotate", Message::Submit(Arc::new(domain.rotate(newcomer.node, rotations.clone())))),
            ("submit_accuse_ballots", self.accusation(by_ballots)),
            ("submit_accuse_rotations", self.accusation(by_rotations)),
            ("submit_accuse_holds", self.accusation(by_holds)),
            (
                "refused",
                Message::Refused {
                    statement: self.draft().statement.id(),
                    why: "spent".into(),
                    retry: frith_protocol::joining::Retry::Never,
                },
            ),
            ("follow", Message::Follow { height: 70_000, head: [1, 2, 3, 4, 5, 6, 7, 8] }),
            ("same", Message::Same),
            ("final", Message::Final(Arc::new(self.chain()))),
            ("final_recovery", Message::Final(Arc::new(self.recovery()))),
            ("ask_snapshot", Message::AskSnapshot { head: self.block.id(), chunk: 2, lean: true }),
            ("snapshot", Message::Snapshot(Arc::new(chunks.remove(0)))),
            ("talk_propose", talk(Agreement::Propose(Box::new(proposal)))),
            ("talk_vote", talk(Agreement::Ballot(self.vote(BallotKind::Vote)))),
            ("talk_dummy", talk(Agreement::Ballot(self.vote(BallotKind::Dummy)))),
            ("talk_finalise", talk(Agreement::Ballot(self.vote(BallotKind::Finalise)))),
            ("talk_certificate", talk(Agreement::Certificate(self.certificate(BallotKind::Vote)))),
            ("talk_want", talk(Agreement::Want(want))),
            ("talk_have", talk(Agreement::Have(Box::new(have)))),
            ("talk_ask_newest", talk(Agreement::AskNewest { epoch: 1 })),
            ("talk_newest", talk(Agreement::Newest(Some(self.vote(BallotKind::Vote))))),
            ("talk_newest_none", talk(Agreement::Newest(None))),
            ("circulate_statement", self.circulated(Subject::Statement(self.approval_draft().statement))),
            ("circulate_ticket", self.circulated(Subject::Ticket(domain.terms(2, 5)))),
            ("circulate_terms", self.circulated(Subject::Terms(Box::new(self.terms())))),
            ("ask_links", Message::AskLinks { epoch: 3 }),
            ("links", Message::Links(vec![Arc::new(self.link())])),
            ("key_history", Message::KeyHistory(Box::new(KeyHistory { node: newcomer.node, rotations }))),
            ("hold", Message::Hold(Box::new(self.hold()))),
            ("ask_proofs", Message::AskProofs(Box::new(self.asked_proofs()))),
            ("proofs", Message::Proofs(Box::new(self.proofs()))),
            ("session", Message::Session(Box::new(self.session()))),
        ]
    }

    fn bytes(&self, message: Message) -> Vec<u8> {
        Envelope { domain: self.domain.state.domain(), message: Arc::new(message) }.to_bytes()
    }
}

/// What must have a golden file: fails to compile when a variant is added.
fn name_of(message: &Message) -> &'static str {
    match message {
        Message::Unsupported { .. } => "unsupported",
        Message::AskHead => "ask_head",
        Message::Head { .. } => "head",
        Message::AskCharter(_) => "ask_charter",
        Message::Charter(_) => "charter",
        Message::AskEndorsement(_) => "ask_endorsement",
        Message::Answer(_) => "answer",
        Message::Submit(_) => "submit",
        Message::Refused { .. } => "refused",
        Message::Follow { .. } => "follow",
        Message::Same => "same",
        Message::Final(_) => "final",
        Message::AskSnapshot { .. } => "ask_snapshot",
        Message::Snapshot(_) => "snapshot",
        Message::Talk(_) => "talk",
        Message::Circulate(_) => "circulate",
        Message::AskLinks { .. } => "ask_links",
        Message::Links(_) => "links",
        Message::KeyHistory(_) => "key_history",
        Message::Hold(_) => "hold",
        Message::AskProofs(_) => "ask_proofs",
        Message::Proofs(_) => "proofs",
        Message::Session(_) => "session",
    }
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire").join(format!("{name}.hex"))
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the pinned bytes are files, rewritten by one flag")]
fn rule_1_1_the_bytes_of_every_message_are_pinned() {
    let world = World::new();
    let bless = std::env::var_os("FRITH_BLESS").is_some_and(|value| value == "1");
    let mut discriminants = Vec::new();
    for (name, message) in world.messages() {
        assert!(name.starts_with(name_of(&message)), "{name} is a {}", name_of(&message));
        let bytes = world.bytes(message.clone());
        discriminants.push(bytes[HEAD_BYTES]);
        let hex = data_encoding::HEXLOWER.encode(&bytes);
        let lines: Vec<&str> =
            hex.as_bytes().chunks(100).map(|line| std::str::from_utf8(line).expect("hex")).collect();
        let text = lines.join("\n") + "\n";
        if bless {
            std::fs::write(golden(name), &text).expect("the golden file can be written");
        }
        let pinned = std::fs::read_to_string(golden(name))
            .unwrap_or_else(|e| panic!("{name}: {e}; FRITH_BLESS=1 writes it"));
        assert_eq!(text, pinned, "the bytes of {name} changed: nodes of two builds could not talk");
        let opened = open_envelope(&bytes, MESSAGE_BYTES_MAX);
        assert_eq!(opened, Ok((world.domain.state.domain(), message)), "{name}");
    }
    discriminants.dedup();
    assert_eq!(discriminants, (0..23).collect::<Vec<u8>>(), "a variant has no golden, or moved");
}

#[test]
fn every_golden_message_holds() {
    let world = World::new();
    for (name, message) in world.messages() {
        verify(message, &check()).unwrap_or_else(|fault| panic!("{name}: {fault}"));
    }
}

#[test]
fn rule_1_2_every_flipped_bit_is_refused_or_says_something_else() {
    let world = World::new();
    for (name, message) in world.messages() {
        let bytes = world.bytes(message.clone());
        let original = (world.domain.state.domain(), message);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            match open_envelope(&changed, MESSAGE_BYTES_MAX) {
                Err(_) => {}
                Ok(other) => assert_ne!(other, original, "{name}, bit {bit}"),
            }
        }
    }
}

/// Where in a message every byte is under some signature, a flipped bit must not verify at all.
#[test]
fn rule_1_5_every_flipped_bit_of_what_is_signed_is_refused() {
    let world = World::new();
    for (name, message) in world.messages() {
        let signed = match name {
            // All but a note, an expiry, or a line of reason, which nobody signs.
            "submit_admit" | "submit_revoke" | "talk_vote" | "talk_dummy" | "talk_finalise"
            | "talk_certificate" | "talk_newest" | "key_history" | "hold" => true,
            _ => false,
        };
        if !signed {
            continue;
        }
        let bytes = world.bytes(message.clone());
        // The envelope's own domain comes before the message, and is compared by the router.
        for bit in HEAD_BYTES * 8..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok((_, other)) = open_envelope(&changed, MESSAGE_BYTES_MAX) {
                // Another kind of message altogether may well hold.
                let same_kind = name_of(&other) == name_of(&message);
                assert!(!same_kind || verify(other, &check()).is_err(), "{name}, bit {bit}");
            }
        }
    }
}

#[test]
fn rule_1_2_truncated_and_extended_messages_are_refused() {
    let world = World::new();
    for (name, message) in world.messages() {
        let bytes = world.bytes(message);
        for len in 0..bytes.len() {
            assert!(open_envelope(&bytes[..len], MESSAGE_BYTES_MAX).is_err(), "{name} cut at {len}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(open_envelope(&longer, MESSAGE_BYTES_MAX).is_err(), "{name}, extended");
        assert!(open_envelope(&bytes, bytes.len() - 1).is_err(), "{name}, above the limit");
    }
}

#[test]
fn no_bytes_at_all_can_make_decoding_panic() {
    use rand_core::{Rng, SeedableRng};
    let world = World::new();
    let mut rng = rand_chacha::ChaCha20Rng::from_seed([11; 32]);
    let goldens: Vec<Vec<u8>> = world.messages().into_iter().map(|(_, m)| world.bytes(m)).collect();
    for round in 0..20_000 {
        let mut bytes = goldens[rng.next_u32() as usize % goldens.len()].clone();
        for _ in 0..=rng.next_u32() % 4 {
            let at = HEAD_BYTES + rng.next_u32() as usize % (bytes.len() - HEAD_BYTES);
            // Varint markers and extremes where a random byte would seldom be one.
            bytes[at] = [0, 1, 250, 251, 252, 253, 254, 255][rng.next_u32() as usize % 8];
        }
        if let Ok((_, message)) = open_envelope(&bytes, MESSAGE_BYTES_MAX) {
            let again = Envelope { domain: world.domain.state.domain(), message: Arc::new(message) };
            assert_eq!(again.to_bytes(), bytes, "round {round}");
        }
    }
}

#[test]
fn what_is_verified_is_what_was_sent() {
    let world = World::new();
    let entry = world.domain.revocation(world.newcomer.node);
    assert_eq!(verified(entry.clone()).into_inner(), entry);
}
