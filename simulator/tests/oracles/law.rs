//! Holds that the log records, charters, and recoveries.

use std::sync::Arc;

use frith_protocol::encoding::Hash;
use frith_protocol::identity::{PublicKey, Rotation, SecretKey};
use frith_protocol::state::{
    Accuse, Amend, Basis, Block, BlockId, Charter, Consent, Contradiction, DomainId, Endorsement, Entry,
    Header, Hold, HoldTerms, Kind, Reason, Recover, Revoke, Rotate, Seat, Suspend, TermsId,
};
use frith_protocol::time::Timestamp;
use frith_simulator::oracles::{History, Invariant};

use crate::{
    A, NOW, accuse, admit, block, charter, endorsers, entry, genesis, history, inception, key, next, renew,
    revoke, suspend, told,
};

/// A hold by an endorser, or somebody else, in this slot of this day.
fn hold(by: u8, day: u64, slot: u8) -> Entry {
    hold_with(by, &key(by), day, slot)
}

fn hold_with(by: u8, with: &SecretKey, day: u64, slot: u8) -> Entry {
    let time = Timestamp(day * 24 * 3_600_000);
    let terms = HoldTerms {
        domain: DomainId::default(),
        subject: inception(9).node_id(),
        slot,
        basis: Basis { height: 0, block: BlockId::NONE, time },
        until: time.plus(1_000),
        reason: Reason::Misbehaved,
    };
    entry(Kind::Hold(Box::new(Hold::sign(terms, inception(by).node_id(), 0, with))), &[])
}

/// By which `whom` comes to the key 30 higher than its first.
fn rotate(whom: u8) -> Entry {
    let subject = inception(whom).node_id();
    let rotations = vec![Rotation::new(&subject, 1, &key(whom + 30), &key(whom).public())];
    entry(Kind::Rotate(Rotate { subject, rotations }), &[])
}

#[test]
fn a_hold_breaks_s1_if_its_slot_is_used_or_its_signer_may_not_hold_and_else_nothing() {
    assert_eq!(told(&[&[hold(2, 0, 0), hold(2, 0, 1), hold(3, 0, 0)], &[hold(2, 1, 0)]]), []);
    assert_eq!(told(&[&[hold(2, 0, 0)], &[hold(2, 0, 0)]]), [Invariant::S1], "one slot, twice");
    assert_eq!(told(&[&[hold(9, 0, 0)]]), [Invariant::S1], "it has no seat");
    assert_eq!(told(&[&[revoke(2, &[3, 4])], &[hold(2, 0, 0)]]), [Invariant::S1], "it is gone");
    assert_eq!(told(&[&[suspend(2, 1, 99, &[3, 4])], &[hold(2, 0, 0)]]), [Invariant::S1], "it is suspended");
    assert_eq!(told(&[&[accuse(1, &[])], &[hold(1, 0, 0)]]), [Invariant::S1], "it is convicted");
    assert_eq!(told(&[&[rotate(2)], &[hold(2, 0, 0)]]), [Invariant::S1], "it has another key");
    assert_eq!(told(&[&[rotate(2)], &[hold_with(2, &key(32), 0, 0)]]), []);
}

/// The proof that `whom` gave one slot to two holds: the oracle takes the log's word that it is one.
fn accuse_of_holds(whom: u8) -> Entry {
    let Kind::Hold(one) = hold(whom, 0, 0).statement.kind else { unreachable!("it is one") };
    let contradiction = Contradiction::Holds(*one, *one);
    entry(Kind::Accuse(Box::new(Accuse { subject: inception(whom).node_id(), contradiction })), &[])
}

#[test]
fn whoever_is_convicted_by_two_holds_rests_until_it_rotates_and_no_charter_ends_that() {
    let admits = || admit(9, 1, &[1, 2, 3]);
    assert_eq!(told(&[&[accuse_of_holds(1)], &[admits()]]), [Invariant::S1]);
    let fresh = amend(&[1, 2, 3, 4], &[1], &[2, 3, 4]);
    assert_eq!(told(&[&[accuse_of_holds(1)], &[fresh], &[admits()]]), [Invariant::S1]);
    assert_eq!(told(&[&[accuse_of_holds(1)], &[rotate(1)], &[admits()]]), [Invariant::S1], "by its old key");
    let mut by_its_new_key = admit(9, 1, &[2, 3]);
    let digest = Hash(by_its_new_key.statement.id().0);
    by_its_new_key.endorsements.push(Endorsement::sign(&digest, inception(1).node_id(), 1, &key(31)));
    assert_eq!(told(&[&[accuse_of_holds(1)], &[rotate(1)], &[by_its_new_key.clone()]]), []);
    assert_eq!(told(&[&[rotate(1)], &[accuse_of_holds(1)], &[by_its_new_key]]), [Invariant::S1]);
}

#[test]
fn whose_holds_are_to_be_heeded_may_endorse_and_whoever_is_convicted_may_not() {
    let mut history = history(endorsers());
    let may = |history: &History, whom: u8| history.may_endorse(&inception(whom).node_id(), Timestamp(9));
    assert!(may(&history, 1) && may(&history, 2) && !may(&history, 9));
    let entries = vec![accuse(1, &[]), suspend(2, 1, 99, &[3, 4])];
    history.enters(NOW, A, &Arc::new(Block { header: next(&genesis().1), entries }));
    assert!(!may(&history, 1) && !may(&history, 2) && may(&history, 3));
}

/// The charter of this epoch, which seats these.
fn charter_of(epoch: u64, seats: &[u8]) -> Charter {
    let mut charter = Charter { epoch, previous: Some(charter().id()), ..charter() };
    charter.endorsers = seats
        .iter()
        .map(|byte| Seat {
            inception: inception(*byte),
            voting_key: PublicKey::BLANK,
            roles: vec!["member".into()],
        })
        .collect();
    charter.endorsers.sort_by_key(Seat::node_id);
    charter
}

fn consents(of: &[u8]) -> Vec<Consent> {
    let basis = Basis { height: 0, block: BlockId::NONE, time: Timestamp::ZERO };
    let consent = |byte: &u8| {
        let by = (inception(*byte).node_id(), 0, &key(*byte));
        Consent::sign(&TermsId([0; 32]), by, &key(*byte + 70), basis)
    };
    let mut consents: Vec<Consent> = of.iter().map(consent).collect();
    consents.sort_by_key(|consent| consent.node);
    consents
}

/// The charter of epoch 2 with these seats, to which those consented.
fn amend(seats: &[u8], consented: &[u8], by: &[u8]) -> Entry {
    let (charter, consents) = (charter_of(2, seats), consents(consented));
    entry(Kind::Amend(Box::new(Amend { charter, consents })), by)
}

#[test]
fn a_conviction_ends_with_a_charter_that_binds_a_fresh_key_or_takes_the_seat_and_with_no_other() {
    let then = |charter: Entry, by: &[u8]| {
        told(&[&[admit(9, 1, &[2, 3, 4]), accuse(1, &[])], &[charter], &[admit(8, 1, by)]])
    };
    let silent = amend(&[1, 2, 3, 4], &[], &[2, 3, 4]);
    assert_eq!(then(silent, &[1, 2, 3]), [Invariant::S1], "its key stays");
    let fresh = amend(&[1, 2, 3, 4], &[1], &[2, 3, 4]);
    assert_eq!(then(fresh, &[1, 2, 3]), []);
    // It is a member like others, and may be renewed.
    let unseated = amend(&[2, 3, 4, 9], &[9], &[2, 3, 4]);
    assert_eq!(then(unseated.clone(), &[2, 3, 9]), []);
    let renewed: &[&[Entry]] =
        &[&[admit(9, 1, &[2, 3, 4]), accuse(1, &[])], &[unseated], &[renew(1, 1, &[2, 3, 9])]];
    assert_eq!(told(renewed), []);
    // Nor does whoever is convicted help a charter along.
    assert_eq!(then(amend(&[1, 2, 3, 4], &[1], &[1, 2, 3]), &[2, 3, 4]), [Invariant::S1]);
}

/// The recovery on genesis to the charter of this epoch, and to which of its seats consented.
fn recover(epoch: u64, seats: &[u8], consented: &[u8]) -> Recover {
    recover_on(&genesis().1, epoch, seats, consented)
}

fn recover_on(base: &Header, epoch: u64, seats: &[u8], consented: &[u8]) -> Recover {
    let base = Basis { height: base.height, block: base.id(), time: base.time };
    let (charter, consents) = (charter_of(epoch, seats), consents(consented));
    Recover { base, gone: Vec::new(), suspended: Vec::new(), charter, consents }
}

fn recovered(recover: Recover) -> Entry {
    entry(Kind::Recover(Box::new(recover)), &[])
}

#[test]
fn after_a_recovery_those_whom_it_seats_endorse_and_whom_it_denies_stays_out() {
    let (seats, revoked) = ([1, 2, 3, 4], inception(2).node_id());
    let whole = || recover(5, &seats, &seats);
    assert_eq!(told(&[&[recovered(whole())], &[admit(9, 1, &[1, 2, 3])]]), []);
    let mut without_2 = recover(5, &[1, 3, 4], &[1, 3, 4]);
    without_2.gone = vec![Revoke { subject: revoked, reason: Reason::Unspecified }];
    assert_eq!(told(&[&[recovered(without_2.clone())], &[admit(9, 1, &[1, 3, 4])]]), []);
    assert_eq!(told(&[&[recovered(without_2.clone())], &[admit(9, 1, &[1, 2, 3])]]), [Invariant::S1]);
    assert_eq!(told(&[&[recovered(without_2)], &[admit(2, 1, &[1, 3, 4])]]), [Invariant::S2]);
    let mut resting = whole();
    let (number, until, reason) = (3, Timestamp(99), Reason::Unspecified);
    resting.suspended = vec![Suspend { subject: revoked, number, until, reason }];
    assert_eq!(told(&[&[recovered(resting.clone())], &[admit(9, 1, &[1, 2, 3])]]), [Invariant::S1]);
    resting.suspended[0].subject = inception(9).node_id();
    assert_eq!(told(&[&[recovered(resting)]]), [Invariant::S1], "it does not stand");
}

#[test]
fn a_recovery_uses_no_number_of_a_suspension_again_and_ends_every_conviction() {
    let (seats, first) = ([1, 2, 3, 4], next(&genesis().1));
    let mut again = recover_on(&first, 5, &seats, &seats);
    let (subject, until, reason) = (inception(2).node_id(), Timestamp(99), Reason::Unspecified);
    for (number, breaks) in [(1, &[Invariant::S1][..]), (2, &[])] {
        again.suspended = vec![Suspend { subject, number, until, reason }];
        let suspended = suspend(2, 1, 99, &[3, 4]);
        assert_eq!(told(&[&[suspended], &[recovered(again.clone())]]), breaks, "{number}");
    }
    let whole = recovered(recover_on(&first, 5, &seats, &seats));
    assert_eq!(told(&[&[accuse(1, &[])], &[whole], &[admit(9, 1, &[1, 2, 3])]]), []);
}

#[test]
fn a_recovery_breaks_s1_by_whom_it_seats_and_s3_by_where_it_goes_on() {
    let seats = [1, 2, 3, 4];
    assert_eq!(told(&[&[recovered(recover(5, &seats, &[1, 2, 3]))]]), [Invariant::S1], "4 did not consent");
    let others = [2, 3, 4, 9];
    assert_eq!(told(&[&[recovered(recover(5, &others, &others))]]), [Invariant::S1], "9 is no member");
    assert_eq!(told(&[&[recovered(recover(1, &seats, &seats))]]), [Invariant::S3], "the epoch is not later");
    let mut elsewhere = recover(5, &seats, &seats);
    elsewhere.base.block = block(9);
    assert_eq!(told(&[&[recovered(elsewhere)]]), [Invariant::S3], "that block is not final");
}
