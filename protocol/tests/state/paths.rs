//! SPEC 9.23: who holds a part of the state, and asks for what a block touches beyond that.

use std::sync::{Arc, LazyLock};

use frith_protocol::door::{AskProofs, Error, Input, Message, Outbox, Proofs};
use frith_protocol::fault::Fault;
use frith_protocol::limits;
use frith_protocol::state::{MapName, Place};

use super::domain::Person;
use super::history::History;
use super::nodes::{Disk, Node, put, replay, sync, talk};

/// Many are gone for each who stands.
static HISTORY: LazyLock<History> = LazyLock::new(|| History::of(3_000, 120, &[]));

/// One more block, with a newcomer in it and a removal.
static LONGER: LazyLock<History> = LazyLock::new(|| {
    let mut longer = HISTORY.clone();
    let gone = longer.living[0].node;
    let newcomer = longer.domain.admission(longer.domain.admit(&Person::new(900_000)));
    longer.add(&[longer.domain.revocation(gone), newcomer]);
    longer
});

fn endorser(history: &History, nth: usize) -> Node {
    replay(history, &history.domain.founders[nth]).0
}

/// A member that holds a part of the state, up to before the newest block, and an endorser that is one block ahead.
fn behind() -> (Node, Node) {
    let mut server = endorser(&HISTORY, 0);
    let (member, _) = sync(&HISTORY, &mut server, &HISTORY.living[100]);
    let last = LONGER.chains.last().expect("it has the block that was added");
    server.receive(LONGER.domain.founders[1].public(), last);
    (member, server)
}

fn questions(out: &Outbox) -> Vec<AskProofs> {
    let asked = |message: &Message| {
        if let Message::AskProofs(asked) = message { Some((**asked).clone()) } else { None }
    };
    out.sends.iter().filter_map(|(_, message)| asked(message)).collect()
}

fn is_whole(node: &Node) -> bool {
    node.core.state().expect("it has a state").is_whole()
}

#[test]
fn rule_9_23_a_plain_member_of_an_old_domain_is_served_a_part_and_whoever_votes_or_keeps_an_archive_all() {
    let mut server = endorser(&HISTORY, 0);
    let (member, lean) = sync(&HISTORY, &mut server, &HISTORY.living[100]);
    assert!(!is_whole(&member));
    let (seated, whole) = sync(&HISTORY, &mut server, &HISTORY.domain.founders[1]);
    assert!(is_whole(&seated));
    assert!(
        2 * lean.snapshot_bytes < whole.snapshot_bytes,
        "{} of {}",
        lean.snapshot_bytes,
        whole.snapshot_bytes
    );

    // In a young domain everybody has all of it.
    let young = History::of(300, 120, &[]);
    let mut server = endorser(&young, 0);
    assert!(is_whole(&sync(&young, &mut server, &young.living[1]).0));
}

#[test]
fn rule_9_23_a_member_that_holds_a_part_asks_for_what_a_block_touches_and_goes_on() {
    let (mut member, mut server) = behind();
    let gone = HISTORY.living[0].node;
    let talk = talk(&LONGER, &mut server, &mut member);
    assert_eq!(member.core.state(), Some(&LONGER.domain.state));
    assert!(member.core.state().expect("just compared").is_gone(&gone));
    assert!(!is_whole(&member));
    assert!(talk.snapshot_bytes == 0 && talk.other_bytes < 20_000, "{} bytes", talk.other_bytes);
}

#[test]
fn rule_9_23_whatever_beginning_of_its_writes_a_crash_leaves_it_opens_and_goes_back_behind_no_removal() {
    let (mut member, mut server) = behind();
    let mut disk: Disk = member.disk.clone();
    member.writes.clear();
    talk(&LONGER, &mut server, &mut member);
    let mut highest = HISTORY.domain.head.height;
    assert!(member.writes.len() > 1, "paths and block are to be written");
    for record in member.writes.clone() {
        put(&mut disk, &record);
        let again = member.reopened(&disk);
        let height = again.core.head().expect("it has a state").height;
        assert!(height >= highest, "it is at {height}, and was at {highest}");
        highest = height;
    }
    assert_eq!(highest, LONGER.domain.head.height);
    let again = member.reopened(&disk);
    assert_eq!(again.core.state(), Some(&LONGER.domain.state));
}

#[test]
fn rule_9_23_a_false_path_costs_its_sender_the_connection_and_another_is_asked() {
    let (mut member, mut server) = behind();
    let (liar, honest) = (HISTORY.domain.founders[1].public(), server.key);
    member.input(Input::Connected(liar));
    let chain = LONGER.chains.last().expect("it has the block that was added");
    let asked = questions(&member.receive(liar, chain)).pop().expect("the block touches what is not held");
    // All of it is free and nobody is gone, by another state.
    let elsewhere = &History::of(300, 120, &[]).domain.state;
    let path = |place: &Place| Some((*place, elsewhere.path(place)?));
    let paths = asked.places.iter().filter_map(path).collect();
    member.input(Input::Connected(honest));
    let lie = Message::Proofs(Box::new(Proofs { block: asked.block, paths }));
    let (out, error) = member.told(liar, &LONGER.wire(lie));
    let Some(Error::PeerMisbehaved { culprit, fault: Fault::BadProof }) = error else {
        panic!("nobody is to blame: {error:?}");
    };
    assert_eq!(culprit, liar);
    assert_eq!(member.core.state(), Some(&HISTORY.domain.state), "it took the block on a false path");
    let next = out.sends.iter().find(|(_, message)| matches!(**message, Message::AskProofs(_)));
    let (other, question) = next.expect("nobody else is asked");
    assert_eq!(*other, honest);
    server.input(Input::Connected(member.key));
    for (_, answer) in server.receive(member.key, &LONGER.wire((**question).clone())).sends {
        member.receive(honest, &LONGER.wire((*answer).clone()));
    }
    assert_eq!(member.core.state(), Some(&LONGER.domain.state));
}

#[test]
fn rule_9_23_a_gossiped_block_that_touches_a_stub_is_passed_on_once_and_a_spoilt_body_never() {
    let (mut member, server) = behind();
    let chain = LONGER.chains.last().expect("it has the block that was added");
    let gossiped = |member: &mut Node, chain: &[u8]| member.heard(server.key, chain).1;
    // The same certified header with a body that lacks an endorsement.
    let spoilt = LONGER.spoilt(chain);
    let blamed = gossiped(&mut member, &spoilt);
    assert!(matches!(blamed, Some(Error::PeerMisbehaved { fault: Fault::TooFewEndorsements { .. }, .. })));
    assert_eq!(gossiped(&mut member, chain), None, "it is held back");
    assert!(matches!(gossiped(&mut member, chain), Some(Error::Untimely(_))), "a second copy is passed on");
    assert_eq!(member.core.state(), Some(&HISTORY.domain.state), "it was executed without what it touches");
}

#[test]
fn rule_9_23_whoever_shows_nothing_is_passed_over_and_at_last_a_snapshot_is_taken() {
    let (mut member, server) = behind();
    member.input(Input::Connected(server.key));
    let chain = LONGER.chains.last().expect("it has the block that was added");
    let mut asked = questions(&member.receive(server.key, chain)).len();
    let mut snapshots = 0;
    for _ in 0..=limits::PATHS_TRIES_MAX {
        member.later(limits::PATHS_PATIENCE_MS);
        let out = member.input(Input::Tick);
        asked += questions(&out).len();
        snapshots +=
            out.sends.iter().filter(|(_, message)| matches!(**message, Message::AskSnapshot { .. })).count();
    }
    assert_eq!((asked, snapshots), (limits::PATHS_TRIES_MAX as usize, 1));
}

#[test]
fn rule_9_23_whoever_floods_questions_for_paths_gets_its_ration_and_no_more() {
    crate::set_scene();
    let (member, mut server) = behind();
    server.input(Input::Connected(member.key));
    let state = &HISTORY.domain.state;
    let places: Vec<Place> = {
        let mut all: Vec<Place> = HISTORY.living.iter().map(|person| Place::of_node(&person.node)).collect();
        all.sort_unstable();
        all
    };
    let question = AskProofs { height: state.last().height, block: state.last_id(), places: places.clone() };
    let wire = LONGER.wire(Message::AskProofs(Box::new(question.clone())));
    let mut bytes = 0;
    for _ in 0..2_000 {
        let answers = server.receive(member.key, &wire).sends;
        bytes += answers.iter().map(|(_, answer)| LONGER.wire((**answer).clone()).len()).sum::<usize>();
    }
    let bound = limits::ANSWER_BYTES_BURST as usize + limits::MESSAGE_BYTES_MAX;
    assert!(bytes > 1_000_000 && bytes < bound, "{bytes} bytes");
    // States of the past count besides: of each another, there are few.
    server.later(3_600_000);
    let mut answered = 0;
    for _ in 0..2_000 {
        let mut other = question.clone();
        other.places.truncate(1);
        other.block = frith_protocol::state::BlockId([7; 32]);
        let wire = LONGER.wire(Message::AskProofs(Box::new(other)));
        answered += server.receive(member.key, &wire).sends.len();
    }
    let most = limits::ANSWER_BYTES_BURST as usize / limits::PAST_STATE_BYTES + 1;
    assert!(answered <= most, "{answered} states were worked out");
    let many = AskProofs { places: vec![places[0]; limits::PATHS_MAX + 1], ..question };
    let refused =
        frith_protocol::identity::verify(Message::AskProofs(Box::new(many)), &super::domain::check());
    assert!(matches!(refused, Err(Fault::TooMany { .. })), "more than {} places", limits::PATHS_MAX);
}

#[test]
fn rule_9_23_nobody_consents_on_a_part_of_the_state_and_whoever_is_to_sit_fetches_all_first() {
    let (mut member, mut server) = behind();
    talk(&LONGER, &mut server, &mut member);
    assert!(!is_whole(&member));
    let person = &HISTORY.living[100];
    let terms = LONGER.domain.next_charter(|charter| {
        let leaving = charter.endorsers.pop().expect("there are endorsers");
        let roles = leaving.roles;
        charter.endorsers.push(frith_protocol::state::Seat {
            inception: person.inception.clone(),
            voting_key: frith_protocol::identity::PublicKey::BLANK,
            roles,
        });
    });
    let subject = frith_protocol::state::Subject::Terms(Box::new(terms));
    let proposer = &LONGER.domain.founders[0];
    let circulated = frith_protocol::joining::Circulated {
        subject: subject.clone(),
        note: String::new(),
        expires: LONGER.domain.now().plus(60_000),
        endorsements: vec![proposer.endorse(&subject)],
        consents: Vec::new(),
    };
    for node in [&mut server, &mut member] {
        node.later(5_000);
    }
    server.input(Input::Connected(member.key));
    member.input(Input::Connected(server.key));
    let wire = LONGER.wire(Message::Circulate(Arc::new(circulated)));
    let mut out = member.receive(server.key, &wire);
    let asks_for_all = |message: &Message| matches!(message, Message::AskSnapshot { lean: false, .. });
    assert!(out.sends.iter().any(|(_, message)| asks_for_all(message)));
    assert_eq!(member.core.proposals().count(), 0, "it judges terms on a part of the state");
    while let Some((_, message)) = out.sends.pop() {
        for (_, answer) in server.receive(member.key, &LONGER.wire((*message).clone())).sends {
            out.sends.extend(member.receive(server.key, &LONGER.wire((*answer).clone())).sends);
        }
    }
    assert!(is_whole(&member));
    assert_eq!(member.core.state(), Some(&LONGER.domain.state));
    assert_eq!(member.core.head(), server.core.head());
    // So it is after a restart; and now it is shown to its operator.
    let again = member.reopened(&member.disk);
    assert!(is_whole(&again) && again.core.head() == server.core.head());
    member.receive(server.key, &wire);
    assert_eq!(member.core.proposals().count(), 1);
}

#[test]
fn rule_9_23_nobody_is_asked_for_what_everybody_holds_whole() {
    let ask = |map| {
        let place = Place { map, key: frith_protocol::encoding::Hash([7; 32]) };
        let asked = AskProofs { height: 1, block: LONGER.domain.state.last_id(), places: vec![place] };
        frith_protocol::identity::verify(Message::AskProofs(Box::new(asked)), &crate::domain::check())
            .map(|_| ())
    };
    for map in [MapName::Standing, MapName::Tickets, MapName::Spine] {
        assert_eq!(ask(map), Err(Fault::BadProof), "{map:?}");
    }
    assert_eq!((ask(MapName::Gone), ask(MapName::Keys)), (Ok(()), Ok(())));
}
