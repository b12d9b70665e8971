//! One lying endorser, one member or one stranger against the core: each test is an attack that worked once.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one message or event among all")]

use std::sync::Arc;

use frith_protocol::door::{Command, Event, Input, Message, Phase, Standing};
use frith_protocol::encoding::Hash;
use frith_protocol::identity::{Inception, PublicKey, SecretKey};
use frith_protocol::joining::{Answer, Circulated, Verdict};
use frith_protocol::limits;
use frith_protocol::state::{Endorsement, FinalChain, Header, Subject, TicketTerms};
use frith_protocol::time::Timestamp;
use frith_tests::mesh::{LATENCY_MS, Mesh, person_of};
use frith_tests::people::{MINUTE, people};

/// The newest head that an endorser would show to anybody who asks.
fn head_of(mesh: &mut Mesh, key: PublicKey) -> Message {
    let asker = people()[60].public();
    mesh.tell(asker, key, Message::AskHead).expect("anybody may ask");
    let sent = mesh.sent.last().expect("it answered");
    assert_eq!(sent.to, asker);
    (*sent.message).clone()
}

fn approve(mesh: &mut Mesh, endorsers: &[PublicKey]) {
    for endorser in endorsers {
        let open: Vec<Hash> = mesh.core(*endorser).proposals().map(|(id, _)| *id).collect();
        for id in open {
            let _ = mesh.input(*endorser, Input::Command(Command::Endorse(id)));
        }
    }
}

#[test]
fn rule_5_10_whoever_shows_a_newcomer_newer_heads_does_not_make_it_forget_the_yes_of_operators() {
    let mut mesh = Mesh::of(4);
    mesh.run(1_000);
    let endorsers = mesh.endorsers();
    let newcomer = mesh.join(&people()[10], None);
    mesh.run(1_000);
    let liar = endorsers[3];
    // One operator a minute says yes; meanwhile a peer shows each new head.
    for endorser in &endorsers[..3] {
        approve(&mut mesh, &[*endorser]);
        for _ in 0..3 {
            mesh.run(20_000);
            let head = head_of(&mut mesh, liar);
            let _ = mesh.tell(liar, newcomer, head);
        }
    }
    mesh.run(MINUTE);
    assert_eq!(mesh.core(newcomer).phase(), Phase::Following, "{:?}", mesh.core(newcomer).status(mesh.now));
}

#[test]
fn rule_5_10_a_newcomer_whose_entry_grew_too_old_while_there_was_no_quorum_drafts_another() {
    let mut mesh = Mesh::of(4);
    mesh.run(1_000);
    let ticket = mesh.ticket(1);
    let endorsers = mesh.endorsers();
    let newcomer = mesh.join(&people()[10], Some(ticket));
    // Until it has its endorsements, and no longer: the entry is on its way.
    while !mesh.sent.iter().any(|sent| matches!(*sent.message, Message::Submit(_))) {
        mesh.run(1);
    }
    mesh.stop(endorsers[2]);
    mesh.stop(endorsers[3]);
    mesh.run(mesh.founded.charter.timing.basis_ms + MINUTE);
    assert_eq!(mesh.core(newcomer).phase(), Phase::Joining);
    for endorser in &endorsers[2..] {
        mesh.start(*endorser);
        mesh.connect(*endorser);
    }
    mesh.run(5 * MINUTE);
    assert_eq!(mesh.core(newcomer).phase(), Phase::Following, "{:?}", mesh.core(newcomer).status(mesh.now));
}

#[test]
fn rule_5_9_a_revoked_endorser_that_goes_on_signing_does_not_keep_a_newcomer_out() {
    let mut mesh = Mesh::of(4);
    mesh.run(1_000);
    let ticket = mesh.ticket(1);
    let endorsers = mesh.endorsers();
    let liar = endorsers[3];
    mesh.revoke(liar);
    assert!(mesh.core(endorsers[0]).state().unwrap().is_gone(&mesh.id(liar)));
    mesh.stop(liar);
    let newcomer = mesh.join(&people()[10], Some(ticket));
    mesh.connect(newcomer);
    let person = person_of(&liar);
    let mut seen = 0;
    for _ in 0..3 * 60 * 1_000 {
        mesh.run(1);
        // It answers each draft before anybody honest can, whoever was asked.
        while seen < mesh.sent.len() {
            let sent = mesh.sent[seen].clone();
            seen += 1;
            let Message::AskEndorsement(draft) = &*sent.message else { continue };
            let statement = draft.statement.id();
            let signed = Endorsement::sign(&Hash(statement.0), person.node, 0, &person.key);
            let answer = Answer { statement, verdict: Verdict::Endorsed(signed) };
            let _ = mesh.tell(liar, newcomer, Message::Answer(Box::new(answer)));
        }
        if mesh.core(newcomer).phase() == Phase::Following {
            return;
        }
    }
    panic!("{:?}: {:#?}", mesh.core(newcomer).status(mesh.now), mesh.events(newcomer));
}

/// Proposals that one endorser makes up, each signed by it alone.
fn flood(mesh: &mut Mesh, liar: PublicKey, victim: PublicKey, count: u32) {
    let person = person_of(&liar);
    let anchor = mesh.anchor();
    for number in 0..count {
        let mut secret = [9; 32];
        secret[..4].copy_from_slice(&number.to_le_bytes());
        let terms = TicketTerms {
            domain: anchor.domain,
            charter: anchor.charter,
            epoch: anchor.epoch,
            height: anchor.height,
            roles: vec!["server".into()],
            uses: 1 + number,
            expires: mesh.now.plus(60 * MINUTE),
            key: people()[50].public(),
        };
        let subject = Subject::Ticket(terms);
        let endorsements = vec![person.endorse(&subject.digest())];
        let expires = mesh.now.plus(60 * MINUTE);
        let circulated =
            Circulated { subject, note: String::new(), expires, endorsements, consents: Vec::new() };
        let _ = mesh.tell(liar, victim, Message::Circulate(Arc::new(circulated)));
    }
}

#[test]
fn rule_5_12_one_endorser_cannot_fill_the_queue_of_proposals_and_so_keep_its_own_revocation_out() {
    let mut mesh = Mesh::of(4);
    mesh.run(1_000);
    let endorsers = mesh.endorsers();
    let liar = endorsers[3];
    for victim in &endorsers[..3] {
        flood(&mut mesh, liar, *victim, limits::PROPOSALS_MAX as u32 + 10);
        assert!(mesh.core(*victim).proposals().count() <= limits::PROPOSALS_MAX / 4, "{victim:?}");
    }
    mesh.revoke(liar);
    for endorser in &endorsers[..3] {
        assert!(mesh.core(*endorser).state().unwrap().is_gone(&mesh.id(liar)));
    }
}

#[test]
fn rule_5_11_a_stranger_is_not_shown_members_for_naming_one() {
    let mut mesh = Mesh::of(4);
    mesh.run(1_000);
    let ticket = mesh.ticket(3);
    let member = mesh.join(&people()[10], Some(ticket));
    mesh.run(2_000);
    assert_eq!(mesh.core(member).phase(), Phase::Following);
    let endorser = mesh.endorsers()[0];
    let entry = mesh.sent.iter().find_map(|sent| match &*sent.message {
        Message::Submit(entry) => Some(Arc::clone(entry)),
        _ => None,
    });
    let draft = mesh.sent.iter().find_map(|sent| match &*sent.message {
        Message::AskEndorsement(draft) => Some((**draft).clone()),
        _ => None,
    });
    let stranger = people()[20].public();
    let before = mesh.sent.len();
    let _ = mesh.tell(stranger, endorser, Message::Submit(entry.expect("it was submitted")));
    let _ = mesh.tell(stranger, endorser, Message::AskEndorsement(Box::new(draft.expect("it was drafted"))));
    for sent in &mesh.sent[before..] {
        assert!(!matches!(*sent.message, Message::Final(_)), "{sent:?}");
    }
}

#[test]
fn rule_5_11_a_draft_is_answered_to_whom_it_is_about_and_nobody_else() {
    let mut mesh = Mesh::of(4);
    mesh.run(1_000);
    let endorsers = mesh.endorsers();
    let newcomer = mesh.join(&people()[10], None);
    mesh.run(1_000);
    let draft = mesh.sent.iter().find_map(|sent| match &*sent.message {
        Message::AskEndorsement(draft) => Some((**draft).clone()),
        _ => None,
    });
    // Another endorser passes the draft on under its own key, and would get the answer.
    let _ = mesh.tell(endorsers[3], endorsers[0], Message::AskEndorsement(Box::new(draft.unwrap())));
    let before = mesh.sent.len();
    approve(&mut mesh, &endorsers[..1]);
    let answered: Vec<PublicKey> = mesh.sent[before..]
        .iter()
        .filter(|sent| matches!(*sent.message, Message::Answer(_)))
        .map(|sent| sent.to)
        .collect();
    assert_eq!(answered, [newcomer]);
}

#[test]
fn rule_5_14_drafts_on_blocks_that_do_not_exist_do_not_keep_honest_ones_from_waiting_for_theirs() {
    let mut mesh = Mesh::of(4);
    mesh.run(1_000);
    let endorser = mesh.endorsers()[0];
    mesh.join(&people()[10], None);
    mesh.run(1_000);
    let draft = mesh.sent.iter().find_map(|sent| match &*sent.message {
        Message::AskEndorsement(draft) => Some((**draft).clone()),
        _ => None,
    });
    let draft = draft.expect("it was drafted");
    let attacker = &people()[20];
    let ahead = |number: u8, inception: &Inception, height: u64| {
        let mut draft = draft.clone();
        draft.note = format!("{number}");
        if let frith_protocol::state::Kind::Admit(admit) = &mut draft.statement.kind {
            admit.subject = inception.clone();
            admit.basis.height = height;
            admit.basis.time = Timestamp(admit.basis.time.0 + u64::from(number));
        }
        Message::AskEndorsement(Box::new(draft))
    };
    for number in 0..limits::DRAFTS_AHEAD_MAX as u8 + 4 {
        let next = SecretKey::from_seed([number; 32]).public();
        let inception = Inception::new(&attacker.key, &next);
        let _ = mesh.tell(attacker.public(), endorser, ahead(number, &inception, u64::MAX));
    }
    // An honest one whose basis this endorser will know in a moment.
    let honest = &people()[30];
    let height = mesh.core(endorser).head().unwrap().height + 1;
    let before = mesh.sent.len();
    let _ = mesh.tell(honest.public(), endorser, ahead(0, &honest.inception, height));
    mesh.run(30_000);
    let answered = mesh.sent[before..].iter().any(|sent| sent.from == endorser && sent.to == honest.public());
    assert!(answered, "it waited, and was judged when the block was there");
}

#[test]
fn a_stranger_that_shows_a_made_up_head_is_not_asked_for_a_snapshot() {
    let mut mesh = Mesh::of(4);
    mesh.run(15_000);
    let endorser = mesh.endorsers()[0];
    let Message::Head { charter, tip: Some(tip) } = head_of(&mut mesh, endorser) else { panic!("no head") };
    let made_up = |height: u64| {
        let header = Header { height, ..tip.headers[0].clone() };
        let tip = FinalChain { headers: vec![header], ..(*tip).clone() };
        Message::Head { charter, tip: Some(Box::new(tip)) }
    };
    let before = mesh.sent.len();
    for from in [people()[20].public(), mesh.endorsers()[1]] {
        let _ = mesh.tell(from, endorser, made_up(1 << 40));
    }
    let asked: Vec<_> = mesh.sent[before..]
        .iter()
        .filter(|sent| matches!(*sent.message, Message::AskSnapshot { .. }))
        .collect();
    assert!(asked.is_empty(), "{asked:?}");
}

#[test]
fn rule_6_9_a_chain_with_one_spoilt_body_changes_nothing() {
    let mut mesh = Mesh::of(4);
    mesh.run(1_000);
    let ticket = mesh.ticket(3);
    let (follower, victim) = (mesh.join(&people()[10], Some(ticket.clone())), mesh.endorsers());
    mesh.run(3_000);
    assert_eq!(mesh.core(follower).phase(), Phase::Following);
    // It is cut off while two more join, and one of them is revoked.
    for endorser in &victim {
        mesh.cut.insert((*endorser, follower));
    }
    let second = mesh.join(&people()[11], Some(ticket.clone()));
    mesh.run(3_000);
    mesh.revoke(second);
    mesh.join(&people()[12], Some(ticket));
    mesh.run(3_000);
    let height = mesh.core(follower).head().unwrap().height;
    let chain = mesh.core(victim[0]).chain().unwrap().since(height).expect("it has them all");
    assert!(chain.blocks.len() >= 2, "{} blocks", chain.blocks.len());
    let mut spoilt = chain.clone();
    let last = spoilt.blocks.last_mut().unwrap();
    Arc::make_mut(last).entries[0].endorsements.pop();
    mesh.run(1);
    let before = mesh.frozen(follower);
    let told = mesh.events(follower).len();
    let answer = mesh.tell(victim[3], follower, Message::Final(Arc::new(spoilt)));
    assert!(answer.as_ref().is_err_and(|error| error.to_string().contains("misbehaved")), "{answer:?}");
    assert_eq!(mesh.frozen(follower).changes(&before), [""; 0]);
    // The right chain tells everything that it brings.
    mesh.tell(victim[0], follower, Message::Final(Arc::new(chain.clone()))).expect("it holds");
    let finals = mesh.events(follower)[told..]
        .iter()
        .filter(|event| matches!(event, Event::Final { entries, .. } if *entries > 0))
        .count();
    assert_eq!(finals, chain.blocks.len());
    assert_eq!(mesh.core(follower).standing_of(&second), Standing::Gone);
    mesh.run(LATENCY_MS);
}
