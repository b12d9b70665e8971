//! What a core or a state must refuse, one by one: for planted bugs that no history of states shows.
//!
//! Each drill panics if it is not refused. The rules have tests of their own beside the protocol; these are the least of them.

use std::sync::Arc;

use frith_protocol::door::{Command, Input, Message, Phase};
use frith_protocol::encoding::{Hash, encode};
use frith_protocol::identity::{PublicKey, verify};
use frith_protocol::joining::{Circulated, Draft, Verdict};
use frith_protocol::limits;
use frith_protocol::state::{BlockId, Kind, MapName, State, Subject, TicketTerms};
use frith_protocol::time::Timestamp;

use crate::ink::Remembering;
use crate::mesh::{Mesh, person_of};
use crate::people::{DAY, people};
use crate::trial::{Met, Trial};

/// A state with some history.
fn lived_in() -> Trial {
    let mut trial = Trial::new(1);
    trial.run(12, &mut Met::new());
    trial
}

/// SPEC 7.2, 7.3: a proof shows what is under its root, and no absence of what is there.
///
/// # Panics
/// If it shows something else.
pub fn proofs() {
    let trial = lived_in();
    let (state, facts) = (&trial.state, trial.history.model.facts());
    let nodes: Vec<&[u8; 32]> = facts.standing.keys().collect();
    for (node, other) in nodes.iter().zip(nodes.iter().skip(1)) {
        let proof = state.proof(MapName::Standing, node);
        assert!(proof.check(&state.root(), node).is_ok_and(|value| value.is_some()), "it stands");
        assert!(proof.check(&Hash([1; 32]), node).is_err(), "a proof under another root");
        assert_ne!(proof.check(&state.root(), other), Ok(None), "absence of who stands");
    }
}

/// SPEC 7.4: a snapshot that lacks one item is none.
///
/// # Panics
/// If it is restored.
pub fn snapshot() {
    let trial = lived_in();
    let (state, domain) = (&trial.state, trial.history.founded.domain());
    let mut chunks = state.snapshot(None);
    let restored = State::restore(domain, state.last(), &chunks);
    assert!(restored.is_ok_and(|restored| restored.root() == state.root()));
    let items = &mut chunks[0].items;
    items.remove(items.len() / 2);
    assert!(State::restore(domain, state.last(), &chunks).is_err(), "a snapshot with an item less");
}

/// A mesh of four, one of whose tickets a newcomer has just spent; and the draft with which it did.
fn spent() -> (Mesh, Draft) {
    let mut mesh = Mesh::of(4);
    mesh.run(1_000);
    let ticket = mesh.ticket(3);
    let newcomer = mesh.join(&people()[10], Some(ticket));
    mesh.run(3_000);
    assert_eq!(mesh.core(newcomer).phase(), Phase::Following);
    let mut drafts = mesh.sent.iter().filter_map(|sent| match &*sent.message {
        Message::AskEndorsement(draft) => Some((**draft).clone()),
        _ => None,
    });
    let draft = drafts.next().expect("it was drafted");
    (mesh, draft)
}

/// SPEC 5.2: a ticket that was overheard is no use to another.
///
/// # Panics
/// If it is.
pub fn overheard_ticket() {
    let (_, mut draft) = spent();
    assert!(verify(draft.clone(), &Remembering).is_ok());
    let Kind::Admit(admit) = &mut draft.statement.kind else { unreachable!("drafts are admissions") };
    admit.subject = people()[11].inception.clone();
    assert!(verify(draft, &Remembering).is_err(), "spent by whoever overheard it");
}

/// SPEC 5.6: no endorser vouches for a block that it does not know.
///
/// # Panics
/// If one does.
pub fn unknown_basis() {
    let mut mesh = Mesh::of(4);
    mesh.run(1_000);
    let ticket = mesh.ticket(3);
    let (newcomer, endorser) = (mesh.join(&people()[10], Some(ticket)), mesh.endorsers()[0]);
    // Until it has drafted.
    let draft = (0..100).find_map(|_| {
        mesh.run(1);
        mesh.sent.iter().find_map(|sent| match &*sent.message {
            Message::AskEndorsement(draft) => Some((**draft).clone()),
            _ => None,
        })
    });
    let mut draft = draft.expect("it drafts within a round trip or two");
    let Kind::Admit(admit) = &mut draft.statement.kind else { unreachable!("drafts are admissions") };
    admit.basis.block = BlockId([7; 32]);
    let id = draft.statement.id();
    let _ = mesh.tell(newcomer, endorser, Message::AskEndorsement(Box::new(draft)));
    let endorsed = mesh.sent.iter().any(|sent| match &*sent.message {
        Message::Answer(answer) => answer.statement == id && matches!(answer.verdict, Verdict::Endorsed(_)),
        _ => false,
    });
    assert!(!endorsed, "an endorser vouched for a block of nobody");
}

/// SPEC 5.8: strangers may not follow.
///
/// # Panics
/// If one may.
pub fn strangers() {
    let mut mesh = Mesh::of(4);
    mesh.run(15_000);
    let endorser = mesh.endorsers()[0];
    let answer = mesh.tell(people()[20].public(), endorser, Message::Follow { height: 0, head: [0; 8] });
    assert!(answer.is_err(), "a stranger was answered");
}

/// SPEC 5.12: one endorser fills no more than its share of the places for proposals.
///
/// # Panics
/// If it does.
pub fn shares() {
    let mut mesh = Mesh::of(4);
    mesh.run(1_000);
    let (liar, victim) = (mesh.endorsers()[3], mesh.endorsers()[0]);
    flood(&mut mesh, liar, victim, limits::PROPOSALS_MAX as u32 + 10);
    let open = mesh.core(victim).proposals().count();
    assert!(open <= limits::PROPOSALS_MAX / 4, "{open} proposals of one endorser");
}

/// Proposals that one endorser makes up, each signed by it alone.
pub fn flood(mesh: &mut Mesh, liar: PublicKey, victim: PublicKey, count: u32) {
    let (person, anchor, expires) = (person_of(&liar), mesh.anchor(), mesh.now.plus(DAY / 24));
    for number in 0..count {
        let terms = TicketTerms {
            domain: anchor.domain,
            charter: anchor.charter,
            epoch: anchor.epoch,
            height: anchor.height,
            roles: vec!["server".into()],
            uses: 1 + number,
            expires,
            key: people()[50].public(),
        };
        let subject = Subject::Ticket(terms);
        let endorsements = vec![person.endorse(&subject.digest())];
        let circulated =
            Circulated { subject, note: String::new(), expires, endorsements, consents: Vec::new() };
        let _ = mesh.tell(liar, victim, Message::Circulate(Arc::new(circulated)));
    }
}

/// SPEC 9.2: nobody takes a chain for fewer voters than a quorum.
///
/// # Panics
/// If somebody does.
pub fn chain_by_few() {
    let mut mesh = Mesh::of(4);
    mesh.run(1_000);
    let ticket = mesh.ticket(3);
    let (follower, endorsers) = (mesh.join(&people()[10], Some(ticket.clone())), mesh.endorsers());
    mesh.run(3_000);
    for endorser in &endorsers {
        mesh.cut.insert((*endorser, follower));
    }
    mesh.join(&people()[11], Some(ticket));
    mesh.run(3_000);
    let height = mesh.core(follower).head().expect("it follows").height;
    let chain = mesh.core(endorsers[0]).chain().expect("it has one").since(height);
    let mut chain = chain.expect("it has all since then");
    chain.certificate.votes.truncate(2);
    let answer = mesh.tell(endorsers[0], follower, Message::Final(Arc::new(chain)));
    assert!(answer.is_err(), "a chain by two of four was taken");
}

/// SPEC 9.5: who has heard of nothing for long says so.
///
/// # Panics
/// If it does not.
pub fn stale() {
    let mut mesh = Mesh::of(4);
    mesh.run(1_000);
    let endorser = mesh.endorsers()[0];
    let (core, node) = (mesh.core(endorser), mesh.id(endorser));
    assert!(core.effective(&node, mesh.now).is_some());
    let later = Timestamp(mesh.now.0 + DAY);
    assert_eq!(core.effective(&node, later), None, "valid after a day of silence");
}

/// SPEC 9.10: nobody is answered more than its ration.
///
/// # Panics
/// If somebody is.
pub fn rations() {
    let (mut mesh, _) = spent();
    for person in &people()[11..20] {
        mesh.join(person, None);
        mesh.run(500);
        for endorser in mesh.endorsers() {
            let waits: Vec<Hash> = mesh.core(endorser).proposals().map(|(id, _)| *id).collect();
            for id in waits {
                let _ = mesh.input(endorser, Input::Command(Command::Endorse(id)));
            }
        }
        mesh.run(1_000);
    }
    let (member, endorser) = (people()[10].public(), mesh.endorsers()[0]);
    let chain = mesh.core(endorser).chain().expect("it has one").since(0).expect("all of it");
    let each = encode(&Message::Final(Arc::new(chain))).len();
    // Some bytes of each answer are not counted.
    let most = limits::ANSWER_BYTES_BURST as usize / each * 21 / 20;
    let before = mesh.sent.len();
    for _ in 0..most + most / 20 {
        let _ = mesh.tell(member, endorser, Message::Follow { height: 0, head: [1; 8] });
    }
    let answers =
        mesh.sent[before..].iter().filter(|sent| matches!(*sent.message, Message::Final(_))).count();
    assert!(0 < answers && answers <= most, "{answers} answers of {each} bytes, and the ration is {most}");
}
