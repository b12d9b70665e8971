//! SPEC 8, rule by rule: 8.11 to 8.17, what is sent again, asked for, kept over a restart and bounded.

use super::bench::*;
use crate::agreement::*;
use crate::fault::Fault;
use crate::limits;
use crate::state::BlockId;
use crate::time::Timestamp;

use BallotKind::{Dummy, Finalise, Propose, Vote as Real};

fn want(from_iteration: u64, blocks: Vec<BlockId>) -> Talk {
    Message::Want(Want { epoch: 1, from_iteration, blocks })
}

fn have(certificates: Vec<Certificate<V, P>>, blocks: Vec<Tiny>) -> Talk {
    Message::Have(Box::new(Have { certificates, blocks }))
}

fn child_of(parent: &Tiny) -> Tiny {
    Tiny {
        parent: parent.id(),
        height: parent.height + 1,
        time: parent.time.plus(1),
        entries: 0,
        body_is_good: true,
    }
}

/// Seat 0 after the first block is final, and the block.
fn finalised() -> (Bench, Tiny) {
    let (mut bench, block) = notarised();
    let out = bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 1, Finalise, block.id())));
    assert_eq!(finals(&out), std::slice::from_ref(&block));
    (bench, block)
}

#[test]
fn rule_8_11_a_certificate_is_sent_on_once_when_it_is_formed_or_learnt() {
    let (mut bench, block) = voted();
    bench.hear(2, said(2, 1, Real, block.id()));
    let out = bench.hear(3, said(3, 1, Real, block.id()));
    let formed = Message::Certificate(certificate(&[0, 2, 3], 1, Real, block.id()));
    assert_eq!(broadcasts(&out).iter().filter(|message| **message == formed).count(), 1);
    let out = bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 1, Real, block.id())));
    assert_eq!(out, [], "another certificate of the same is no news");

    let mut bench = Bench::new(4, 0);
    let learnt = Message::Certificate(certificate(&[1, 2, 3], 4, Dummy, BlockId::NONE));
    assert_eq!(broadcasts(&bench.hear(1, learnt.clone())), [learnt]);
    let old = Message::Certificate(certificate(&[1, 2, 3], 1, Dummy, BlockId::NONE));
    assert_eq!(broadcasts(&bench.hear(1, old)), [], "of an iteration that nobody is in");
}

#[test]
fn rule_8_11_a_stuck_endorser_resends_stored_bytes_and_asks_ever_more_rarely() {
    let (mut bench, block) = notarised();
    let mut waits = Vec::new();
    for round in 0..6 {
        let before = bench.now;
        let said_again = broadcasts(&bench.next_tick());
        waits.push(bench.now.since(before));
        for message in [
            Message::Certificate(certificate(&[1, 2, 3], 1, Real, block.id())),
            said(0, 1, Finalise, block.id()),
            said(0, 2, Dummy, BlockId::NONE),
            want(1, vec![]),
        ] {
            assert_eq!(
                said_again.iter().filter(|said| **said == message).count(),
                1,
                "{message:?} in round {round}"
            );
        }
    }
    assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
}

#[test]
fn rule_8_11_a_leader_resends_its_proposal_as_it_was() {
    let mut bench = Bench::new(4, leader(4, 1));
    let proposed = broadcasts(&bench.entry(0)).remove(0);
    assert!(matches!(proposed, Message::Propose(_)));
    bench.entry(1);
    assert!(broadcasts(&bench.next_tick()).contains(&proposed));
    assert!(broadcasts(&bench.restart()).contains(&proposed));
}

#[test]
fn rule_8_11_a_want_is_answered_with_what_is_here_and_with_nothing_where_nothing_is() {
    let (mut bench, block) = finalised();
    let proof = certificate(&[1, 2, 3], 1, Finalise, block.id());
    let notarisation = certificate(&[1, 2, 3], 1, Real, block.id());
    let out = bench.hear(2, want(1, vec![block.id()]));
    assert_eq!(sent_to(&out, 2), [have(vec![notarisation, proof], vec![block])]);
    assert_eq!(bench.hear(2, want(2, vec![])), []);
    assert_eq!(bench.hear(2, want(0, vec![BlockId([9; 32])])), []);
}

#[test]
fn rule_8_11_whoever_connects_is_told_where_we_stand_and_asked_for_more() {
    let (mut bench, block) = notarised();
    let out = bench.handle(Input::Connected(2));
    let told = sent_to(&out, 2);
    assert!(told.contains(&Message::Certificate(certificate(&[1, 2, 3], 1, Real, block.id()))));
    assert!(told.contains(&said(0, 1, Finalise, block.id())));
    assert!(told.contains(&want(1, vec![])));
    assert_eq!(bench.handle(Input::Connected(0)), []);
    assert_eq!(bench.handle(Input::Connected(77)), []);
}

#[test]
fn rule_8_11_a_leader_that_lags_is_shown_the_way_on() {
    let (mut bench, block) = finalised();
    let again = proposal(4, 1, &block, vec![]);
    let proof = certificate(&[1, 2, 3], 1, Finalise, block.id());
    assert_eq!(sent_to(&bench.hear(leader(4, 1), again), leader(4, 1)), [Message::Certificate(proof)]);
}

#[test]
fn rule_8_11_who_hears_of_a_later_iteration_asks_for_the_way_there_once() {
    let mut bench = Bench::new(4, 0);
    let out = bench.hear(2, said(2, 7, Dummy, BlockId::NONE));
    assert_eq!(sent_to(&out, 2), [want(1, vec![])]);
    assert_eq!(bench.hear(2, said(2, 8, Dummy, BlockId::NONE)), []);
}

#[test]
fn rule_8_12_a_finality_certificate_makes_its_ancestors_final_with_it() {
    let (mut bench, block) = notarised();
    let next = child_of(&block);
    bench.hear(leader(4, 2), proposal(4, 2, &next, vec![]));
    let proof = certificate(&[1, 2, 3], 2, Finalise, next.id());
    let out = bench.hear(1, Message::Certificate(proof.clone()));
    let told = out.iter().filter(|output| matches!(output, Output::Final { .. })).collect::<Vec<_>>();
    assert_eq!(told, [&Output::Final { certificate: proof, block: next }]);
}

#[test]
fn rule_8_12_a_final_block_that_is_not_here_is_asked_for_and_told_when_it_comes() {
    let mut bench = Bench::new(4, 0);
    let block = block_on(&bench, genesis(), 1);
    let next = child_of(&block);
    let proof = certificate(&[1, 2, 3], 2, Finalise, next.id());
    let out = bench.hear(1, Message::Certificate(proof.clone()));
    assert_eq!(finals(&out), []);
    assert_eq!(sent_to(&out, 1), [want(0, vec![next.id()])]);
    let out = bench.hear(1, have(vec![], vec![next.clone()]));
    assert_eq!(sent_to(&out, 1), [want(0, vec![block.id()])]);
    assert!(out.contains(&Output::Behind { certificate: proof }), "whoever keeps the log may know");
    let out = bench.hear(1, have(vec![], vec![block]));
    assert_eq!(finals(&out), [next]);
}

#[test]
fn rule_8_12_a_final_block_that_was_followed_is_taken_and_not_told_again() {
    let mut bench = Bench::new(4, 0);
    let block = block_on(&bench, genesis(), 1);
    let next = child_of(&block);
    let proof = certificate(&[1, 2, 3], 9, Finalise, next.id());
    bench.hear(1, Message::Certificate(proof.clone()));
    for followed in [&block, &next] {
        assert_eq!(bench.ledger.accept(followed), Accepted::Yes);
    }
    bench.ledger.finalise(&next);
    let out = bench.handle(Input::Final { certificate: proof, block: next.clone() });
    assert_eq!(finals(&out), []);
    assert_eq!(bench.seat.iteration(), 10);
    let on_it = child_of(&next);
    let out = bench.hear(leader(4, 10), proposal(4, 10, &on_it, vec![]));
    assert_eq!(ballots(&out, Real), [ballot(10, Real, on_it.id())]);
}

#[test]
fn rule_8_12_a_followed_block_needs_its_own_finality_certificate() {
    let mut bench = Bench::new(4, 0);
    let block = block_on(&bench, genesis(), 1);
    for certificate in [
        certificate(&[1, 2, 3], 1, Real, block.id()),
        certificate(&[1, 2, 3], 1, Finalise, BlockId([9; 32])),
        certificate(&[1, 2], 1, Finalise, block.id()),
    ] {
        let input = Input::Final { certificate, block: block.clone() };
        assert!(matches!(bench.try_handle(input), Err(Fault::BadCertificate { .. })));
    }
}

#[test]
fn rule_8_12_who_sees_two_final_blocks_in_one_iteration_signs_nothing_more() {
    let (mut bench, block) = finalised();
    let other = block_on(&bench, genesis(), 2).id();
    let theirs = certificate(&[1, 2, 3], 1, Finalise, other);
    let ours = certificate(&[1, 2, 3], 1, Finalise, block.id());
    let out = bench.hear(3, Message::Certificate(theirs.clone()));
    assert_eq!(out.last(), Some(&Output::Forked { ours, theirs }));
    assert_eq!(contradictions(&out).len(), 3, "whoever finalised both is convicted");
    assert!(!bench.seat.is_voting());
    let next = child_of(&block);
    assert_eq!(ballots(&bench.hear(leader(4, 2), proposal(4, 2, &next, vec![])), Real), []);
}

#[test]
fn rule_8_13_a_heartbeat_is_proposed_when_the_final_block_is_too_old_and_all_others_wait_for_it() {
    let mut bench = Bench::new(4, leader(4, 1));
    let due = bench.ledger.heartbeat_due();
    let out = bench.next_tick();
    assert_eq!(bench.now, due);
    let proposed = ballots(&out, Propose);
    assert_eq!(proposed.len(), 1);
    assert_eq!(bench.ledger.blocks[&proposed[0].block].0.entries, 0);

    let mut other = Bench::new(4, 0);
    assert_eq!(other.next_tick(), []);
    assert_eq!(other.seat.next_deadline(), Some(other.now.plus(FIRST_TIMEOUT_MS)));
}

#[test]
fn rule_8_14_a_journal_is_created_when_the_seat_is_taken_before_anything_is_said() {
    let mut bench = Bench::unstarted(4, 0);
    let out = bench.tick();
    let seat = JournalRecord::Seat { domain: DOMAIN, epoch: 1, voter: 0 };
    assert_eq!(out, [Output::Persist(seat), Output::Broadcast(Message::AskNewest { epoch: 1 })]);
}

#[test]
fn rule_8_14_an_intact_journal_resumes_at_once_and_contradicts_nothing() {
    // After a vote: no other vote, and the finalise still comes.
    let (mut bench, block) = voted();
    bench.restart();
    let other = block_on(&bench, genesis(), 2);
    assert_eq!(ballots(&bench.hear(leader(4, 1), proposal(4, 1, &other, vec![])), Real), []);
    let out = bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 1, Real, block.id())));
    assert_eq!(ballots(&out, Finalise), [ballot(1, Finalise, block.id())]);

    // After a finalise: it goes on in the next iteration, on that block, whose body its journal kept.
    bench.restart();
    assert_eq!(bench.seat.iteration(), 2);
    let next = child_of(&block);
    let out = bench.hear(leader(4, 2), proposal(4, 2, &next, vec![]));
    assert_eq!(ballots(&out, Real), [ballot(2, Real, next.id())]);

    // After a dummy: neither vote nor finalise.
    let mut bench = Bench::new(4, 0);
    bench.entry(0);
    bench.next_tick();
    bench.restart();
    assert_eq!(ballots(&bench.hear(leader(4, 1), proposal(4, 1, &block, vec![])), Real), []);
    let out = bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 1, Real, block.id())));
    assert_eq!(ballots(&out, Finalise), []);

    // After a proposal: no other.
    let mut bench = Bench::new(4, leader(4, 1));
    let proposed = ballots(&bench.entry(0), Propose);
    bench.ledger.waiting = 2;
    let again = ballots(&bench.restart(), Propose);
    assert!(again.iter().all(|ballot| *ballot == proposed[0]), "{again:?}");
}

#[test]
fn rule_8_14_a_final_block_that_the_ledger_lost_is_told_again_from_the_journal() {
    let mut bench = Bench::new(1, 0);
    bench.entry(0);
    let head = bench.ledger.head;
    // The journal was synced and the ledger's own store was not.
    bench.ledger.head = genesis();
    let out = bench.restart();
    assert_eq!(finals(&out).iter().map(Tiny::id).collect::<Vec<_>>(), [head]);
    assert!(!out.iter().any(|output| matches!(output, Output::Behind { .. })));
}

#[test]
fn rule_8_14_a_journal_that_is_missing_damaged_or_of_another_seat_is_lost() {
    let (bench, block) = notarised();
    let whole: Vec<Entry> = bench.journal.values().cloned().collect();
    let without =
        |lacks: fn(&Entry) -> bool| whole.iter().filter(|record| !lacks(record)).cloned().collect::<Vec<_>>();
    let mut foreign = whole.clone();
    foreign[0] = JournalRecord::Seat { domain: DOMAIN, epoch: 2, voter: 0 };
    let mut contradictory = whole.clone();
    contradictory.push(JournalRecord::Ballot(vote(0, 1, Dummy, BlockId::NONE)));
    let mut not_ours = whole.clone();
    not_ours.push(JournalRecord::Ballot(vote(1, 1, Dummy, BlockId::NONE)));
    let mut unfounded = whole.clone();
    unfounded.push(JournalRecord::Ballot(vote(0, 4, Dummy, BlockId::NONE)));
    let mut forged = whole.clone();
    forged.push(JournalRecord::Certificate(certificate(&[1, 2], 2, Dummy, BlockId::NONE)));
    let shown = |record: &Entry| matches!(record, JournalRecord::Ballot(_));
    let mut lacking = without(shown);
    lacking.push(JournalRecord::Certificate(certificate(&[0, 1, 2], 1, Finalise, block.id())));
    for (what, journal) in [
        ("empty", Journal::Intact(vec![])),
        ("its beginning", Journal::Intact(without(|record| matches!(record, JournalRecord::Seat { .. })))),
        (
            "its certificates",
            Journal::Intact(without(|record| matches!(record, JournalRecord::Certificate(_)))),
        ),
        ("of another epoch", Journal::Intact(foreign)),
        ("contradictory", Journal::Intact(contradictory)),
        ("another's ballot", Journal::Intact(not_ours)),
        ("a ballot out of nowhere", Journal::Intact(unfounded)),
        ("a forged certificate", Journal::Intact(forged)),
        ("our ballot in a certificate alone", Journal::Intact(lacking)),
        ("said to be lost", Journal::Lost("restored by command".into())),
    ] {
        let (mut bench, _) = notarised();
        let is_lost_now = is_lost(&bench.restart_with(journal));
        // The last needs the certificates that a missing beginning would have had.
        assert!(is_lost_now || what == "its certificates", "{what}");
        if is_lost_now {
            assert!(!bench.seat.is_voting(), "{what}");
        }
    }
}

#[test]
fn rule_8_14_a_peer_that_shows_an_unknown_ballot_of_ours_proves_the_journal_lost_for_good() {
    let shown = vote(0, 1, Real, BlockId([5; 32]));
    let by_certificate = certificate(&[0, 1, 2], 1, Real, BlockId([5; 32]));
    for message in [Message::Newest(Some(shown)), Message::Certificate(by_certificate)] {
        let mut bench = Bench::new(4, 0);
        let out = bench.hear(1, message);
        assert!(is_lost(&out) && !bench.seat.is_voting());
        bench.entry(0);
        let signed =
            |bench: &Bench| bench.journal.values().any(|record| matches!(record, JournalRecord::Ballot(_)));
        for _ in 0..3 {
            bench.next_tick();
        }
        assert!(is_lost(&bench.restart()), "it stays lost");
        let block = block_on(&bench, genesis(), 1);
        bench.hear(leader(4, 1), proposal(4, 1, &block, vec![]));
        assert!(!signed(&bench));
    }
}

#[test]
fn rule_8_14_a_lost_endorser_still_counts_forwards_and_follows() {
    let mut bench = Bench::new(4, 0);
    bench.restart_with(Journal::Lost("gone".into()));
    let block = block_on(&bench, genesis(), 1);
    bench.hear(leader(4, 1), proposal(4, 1, &block, vec![]));
    for peer in [1, 2] {
        bench.hear(peer, said(peer, 1, Finalise, block.id()));
    }
    let out = bench.hear(3, said(3, 1, Finalise, block.id()));
    assert_eq!(finals(&out), std::slice::from_ref(&block));
    assert_eq!(broadcasts(&out), [Message::Certificate(certificate(&[1, 2, 3], 1, Finalise, block.id()))]);
}

#[test]
fn rule_8_14_every_other_endorser_is_asked_until_it_answers() {
    let mut bench = Bench::new(4, 0);
    let ask = Message::AskNewest { epoch: 1 };
    for _ in 0..2 {
        assert!(sent_to(&bench.handle(Input::Connected(2)), 2).contains(&ask));
    }
    bench.hear(2, Message::Newest(None));
    assert!(!sent_to(&bench.handle(Input::Connected(2)), 2).contains(&ask));
    assert!(bench.seat.is_voting());
    bench.restart();
    assert!(sent_to(&bench.handle(Input::Connected(2)), 2).contains(&ask), "after each start anew");
}

#[test]
fn rule_8_14_the_newest_ballot_of_the_asker_is_shown_also_from_a_certificate() {
    let mut bench = Bench::new(4, 0);
    let ask = Message::AskNewest { epoch: 1 };
    assert_eq!(sent_to(&bench.hear(1, ask.clone()), 1), [Message::Newest(None)]);
    bench.hear(1, said(1, 1, Dummy, BlockId::NONE));
    let newest = Message::Newest(Some(vote(1, 1, Dummy, BlockId::NONE)));
    assert_eq!(sent_to(&bench.hear(1, ask.clone()), 1), [newest]);
    let block = block_on(&bench, genesis(), 0).id();
    bench.hear(2, Message::Certificate(certificate(&[1, 2, 3], 5, Real, block)));
    let newest = Message::Newest(Some(vote(1, 5, Real, block)));
    assert_eq!(sent_to(&bench.hear(1, ask), 1), [newest]);
    assert!(matches!(bench.refuses(1, Message::AskNewest { epoch: 2 }), Fault::Unknown { .. }));
    let stray = Message::Newest(Some(vote(2, 1, Dummy, BlockId::NONE)));
    assert!(matches!(bench.refuses(1, stray), Fault::BadBallot { .. }));
}

#[test]
fn rule_8_14_records_go_when_the_last_but_one_final_block_has_passed_them() {
    let (mut bench, block) = finalised();
    let oldest =
        |bench: &Bench| bench.journal.keys().filter(|key| key.iteration > 0).map(|key| key.iteration).min();
    let mut parent = block;
    for iteration in 2..6 {
        let next = child_of(&parent);
        bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], iteration, Finalise, next.id())));
        let out = bench.hear(1, have(vec![], vec![next.clone()]));
        assert_eq!(finals(&out), std::slice::from_ref(&next));
        assert_eq!(oldest(&bench), Some(iteration - 1));
        parent = next;
    }
    assert!(bench.journal.values().any(|record| matches!(record, JournalRecord::Seat { .. })));
    assert!(!is_lost(&bench.restart()));
}

#[test]
fn rule_8_14_journal_keys_sort_as_their_bytes_do() {
    let slots = [
        Slot::Seat,
        Slot::Lost,
        Slot::Block,
        Slot::Certificate(Real),
        Slot::Certificate(Finalise),
        Slot::Ballot(Propose),
    ];
    let keys: Vec<JournalKey> = [0, 1, 255, 256]
        .into_iter()
        .flat_map(|iteration| slots.map(|slot| JournalKey { iteration, slot }))
        .collect();
    assert!(keys.is_sorted_by(|a, b| a < b && a.to_bytes() < b.to_bytes()));
}

#[test]
fn rule_8_15_these_pairs_contradict_each_other_and_no_others_do() {
    let (a, b) = (BlockId([1; 32]), BlockId([2; 32]));
    let lies = |first: (BallotKind, BlockId), second: (BallotKind, BlockId)| {
        let mut bench = Bench::new(4, 0);
        bench.hear(1, said(1, 1, first.0, first.1));
        let out = bench.hear(1, said(1, 1, second.0, second.1));
        let told = contradictions(&out);
        if let [(one, other)] = &told[..] {
            assert_eq!((one, other), (&vote(1, 1, first.0, first.1), &vote(1, 1, second.0, second.1)));
        }
        !told.is_empty()
    };
    let none = BlockId::NONE;
    for (first, second, contradict) in [
        ((Real, a), (Real, b), true),
        ((Real, a), (Finalise, b), true),
        ((Finalise, a), (Real, b), true),
        ((Finalise, a), (Finalise, b), true),
        ((Dummy, none), (Finalise, a), true),
        ((Finalise, a), (Dummy, none), true),
        ((Real, a), (Real, a), false),
        ((Real, a), (Finalise, a), false),
        ((Real, a), (Dummy, none), false),
        ((Dummy, none), (Real, a), false),
        ((Dummy, none), (Dummy, none), false),
    ] {
        assert_eq!(lies(first, second), contradict, "{first:?} and {second:?}");
    }
    let mut bench = Bench::new(4, 0);
    let block = block_on(&bench, genesis(), 0);
    let first = leader(4, 1);
    bench.hear(first, said(first, 1, Real, a));
    assert_eq!(contradictions(&bench.hear(first, proposal(4, 1, &block, vec![]))).len(), 1);
    assert_eq!(contradictions(&bench.hear(first, said(first, 1, Finalise, b))), [], "one proof of each liar");
}

#[test]
fn rule_8_15_a_ballot_in_a_certificate_is_evidence_too() {
    let mut bench = Bench::new(4, 0);
    let (a, b) = (BlockId([1; 32]), BlockId([2; 32]));
    bench.hear(1, said(1, 1, Real, a));
    let out = bench.hear(2, Message::Certificate(certificate(&[1, 2, 3], 1, Real, b)));
    assert_eq!(contradictions(&out), [(vote(1, 1, Real, a), vote(1, 1, Real, b))]);
}

#[test]
fn rule_8_15_a_ballot_in_a_certificate_that_is_no_news_is_evidence_too() {
    let (a, b) = (BlockId([1; 32]), BlockId([2; 32]));
    // Where there is such a certificate already, and where that one made the block final.
    for kind in [Real, Finalise] {
        let mut bench = Bench::new(7, 0);
        bench.hear(1, said(1, 1, kind, a));
        bench.hear(2, Message::Certificate(certificate(&[2, 3, 4, 5, 6], 1, kind, b)));
        let out = bench.hear(2, Message::Certificate(certificate(&[1, 2, 3, 4, 5], 1, kind, b)));
        assert_eq!(contradictions(&out), [(vote(1, 1, kind, a), vote(1, 1, kind, b))]);
    }
}

#[test]
fn rule_8_16_a_stranger_and_a_wrong_name_are_refused() {
    let mut bench = Bench::new(4, 0);
    for from in [0, 9] {
        assert!(matches!(bench.refuses(from, said(from, 1, Dummy, BlockId::NONE)), Fault::NotAllowed { .. }));
    }
    assert!(matches!(bench.refuses(1, said(2, 1, Dummy, BlockId::NONE)), Fault::BadBallot { .. }));
    assert!(matches!(bench.refuses(1, said(1, 1, Propose, BlockId([1; 32]))), Fault::BadBallot { .. }));
}

#[test]
fn rule_8_16_what_is_too_far_ahead_is_not_kept() {
    let mut bench = Bench::new(4, 0);
    let far = 1 + limits::ITERATIONS_AHEAD_MAX;
    bench.hear(1, said(1, far + 1, Dummy, BlockId::NONE));
    assert_eq!(bench.seat.rounds.len(), 0);
    bench.hear(1, said(1, far, Dummy, BlockId::NONE));
    assert_eq!(bench.seat.rounds.len(), 1);
    let block = block_on(&bench, genesis(), 0);
    let orphan = child_of(&block);
    for iteration in [2 + limits::PROPOSALS_AHEAD_MAX, 1 + limits::PROPOSALS_AHEAD_MAX] {
        // Seat 0 leads every fourth iteration itself, and neither of these.
        bench.hear(leader(4, iteration), proposal(4, iteration, &orphan, vec![]));
        assert_eq!(bench.seat.parked.len(), usize::from(iteration <= 1 + limits::PROPOSALS_AHEAD_MAX));
    }
}

#[test]
fn rule_8_16_a_flood_of_ballots_and_proposals_fills_no_more_than_its_places() {
    let mut bench = Bench::new(4, 0);
    let first = leader(4, 1);
    for n in 1..200_u8 {
        let parent =
            Tiny { parent: BlockId([n; 32]), height: 1, time: Timestamp(1), entries: 0, body_is_good: true };
        bench.hear(first, proposal(4, 1, &child_of(&parent), vec![]));
        bench.hear(first, said(first, 1, Real, BlockId([n; 32])));
        bench.hear(first, have(vec![], vec![parent]));
    }
    assert_eq!(bench.seat.parked.len(), 1);
    assert_eq!(bench.seat.known.len(), 0);
    assert_eq!(bench.seat.rounds.len(), 1);
}

#[test]
fn rule_8_16_answers_to_one_peer_are_counted_until_the_next_iteration() {
    let (mut bench, block) = finalised();
    let mut answers = |peer| {
        (0..40).map(|_| sent_to(&bench.hear(peer, want(1, vec![block.id()])), peer).len()).sum::<usize>()
    };
    assert_eq!(answers(2), limits::ANSWERS_PER_ITERATION_MAX as usize);
    assert_eq!(answers(3), limits::ANSWERS_PER_ITERATION_MAX as usize, "each has its own");
    bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 2, Dummy, BlockId::NONE)));
    assert_eq!(sent_to(&bench.hear(2, want(2, vec![])), 2).len(), 1);
}

#[test]
fn rule_8_16_an_answer_or_question_too_long_is_refused() {
    let mut bench = Bench::new(4, 0);
    let block = block_on(&bench, genesis(), 0);
    let many = limits::WANTED_MAX + 1;
    let ground = certificate(&[1, 2, 3], 1, Dummy, BlockId::NONE);
    for message in [
        want(1, vec![block.id(); many]),
        have(vec![], vec![block.clone(); many]),
        have(vec![ground.clone(); many], vec![]),
    ] {
        assert!(matches!(bench.refuses(1, message), Fault::TooMany { .. }));
    }
    let long = proposal(4, 2, &block, vec![ground; many]);
    assert!(matches!(bench.refuses(leader(4, 2), long), Fault::TooMany { .. }));
}

#[test]
fn rule_8_17_a_body_that_its_leader_spoilt_comes_from_those_who_voted_for_the_good_one() {
    let mut bench = Bench::new(4, 0);
    let good = block_on(&bench, genesis(), 1);
    let bad = Tiny { body_is_good: false, ..good.clone() };
    bench.refuses(leader(4, 1), proposal(4, 1, &bad, vec![]));
    bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 1, Real, good.id())));
    let asked = (0..4).find_map(|_| {
        let out = bench.next_tick();
        (1..4).find(|peer| sent_to(&out, *peer).contains(&want(0, vec![good.id()])))
    });
    let asked = asked.expect("nobody is asked for the body");
    assert!(matches!(bench.refuses(asked, have(vec![], vec![bad])), Fault::BadBlock { .. }));
    bench.hear(asked, have(vec![], vec![good.clone()]));
    let out = bench.hear(1, Message::Certificate(certificate(&[1, 2, 3], 1, Finalise, good.id())));
    assert_eq!(finals(&out), [good]);
}

#[test]
fn rule_8_17_a_spoilt_body_that_had_to_wait_for_its_parent_is_blamed_when_the_parent_comes_and_not_passed_on()
{
    let mut bench = Bench::new(4, 0);
    let parent = block_on(&bench, genesis(), 1);
    let bad = Tiny { body_is_good: false, ..child_of(&parent) };
    let second = leader(4, 2);
    bench.hear(second, proposal(4, 2, &bad, vec![certificate(&[1, 2, 3], 1, Real, parent.id())]));
    let out = bench.hear(1, want(0, vec![bad.id()]));
    assert!(!sent_to(&out, 1).iter().any(|message| matches!(message, Message::Have(_))));
    let out = bench.hear(1, have(vec![], vec![parent]));
    assert!(
        out.iter().any(|output| matches!(output, Output::Misbehaved { culprit, .. } if *culprit == second))
    );
    assert_eq!(ballots(&out, Real), []);
    let good = Tiny { body_is_good: true, ..bad };
    let out = bench.hear(second, proposal(4, 2, &good, vec![]));
    assert_eq!(ballots(&out, Real), [ballot(2, Real, good.id())]);
}

#[test]
fn rule_8_17_a_body_that_nobody_looked_at_replaces_none_that_was() {
    let (mut bench, block) = notarised();
    let bad = Tiny { body_is_good: false, ..block.clone() };
    bench.hear(leader(4, 1), proposal(4, 1, &bad, vec![]));
    assert_eq!(sent_to(&bench.hear(1, want(0, vec![block.id()])), 1), [have(vec![], vec![block])]);
}
