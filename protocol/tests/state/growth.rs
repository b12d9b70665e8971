//! SPEC 9, where it takes a long log: what a newcomer and a returner cost, and what is kept of history.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use frith_protocol::door::{Effects, Input, Message, Phase, Table};
use frith_protocol::encoding::decode;
use frith_protocol::following::Proof;
use frith_protocol::identity::verify;
use frith_protocol::joining::{Offered, Waiting};
use frith_protocol::limits;
use frith_protocol::state::{Block, Entry, Kind, LogProof, Reason, Revoke, State};

use super::domain::{Person, check, endorsed_by, verified};
use super::history::History;
use super::nodes::{Disk, Node, put, replay, replay_at, sync, talk};

/// More than fits one answer, and several times as many entries as stand.
static HISTORY: LazyLock<History> = LazyLock::new(|| {
    crate::set_scene();
    History::of(4_000, 300, &[])
});

/// An endorser that has taken all of it.
fn server() -> Node {
    replay(&HISTORY, &HISTORY.domain.founders[0]).0
}

#[test]
fn rule_9_4_whoever_takes_a_snapshot_executes_a_few_entries_and_serves_the_same_one() {
    let mut server = server();
    let (newcomer, _) = sync(&HISTORY, &mut server, &HISTORY.living[0]);
    let (chain, again) = (server.core.chain().unwrap(), newcomer.core.chain().unwrap());
    assert_eq!(chain.checkpoint().header, again.checkpoint().header);
    let since: usize = chain
        .recent_blocks()
        .take_while(|held| held.block.header.height > chain.checkpoint().header.height)
        .map(|held| held.block.entries.len())
        .sum();
    let bound = limits::CHECKPOINT_ENTRIES + 2 * limits::BLOCK_ENTRIES_MAX;
    assert!(since < bound, "{since} entries were made since the state that snapshots are of");
}

#[test]
fn rule_9_3_an_answer_that_is_full_is_followed_by_the_next_question_at_once() {
    let mut server = server();
    assert!(HISTORY.chains.len() > 1, "{} answer is too little to try anything", HISTORY.chains.len());
    let mut returner = Node::at_genesis(&HISTORY, &HISTORY.living[1]);
    talk(&HISTORY, &mut server, &mut returner);
    assert_eq!(returner.core.state(), server.core.state());
}

/// So many bytes that the oldest of it is removed, again and again.
static LONG: LazyLock<History> = LazyLock::new(|| {
    crate::set_scene();
    History::bulky(7_200, 100)
});

/// Who has taken all of it, and what it wrote meanwhile.
fn keeper() -> Node {
    replay(&LONG, &LONG.domain.founders[0]).0
}

/// The heights of the states on a disk, and of the blocks.
fn on_disk(disk: &Disk) -> (BTreeSet<u64>, Vec<u64>) {
    (on_disk_of(disk, Table::Base).into_iter().collect(), on_disk_of(disk, Table::Final))
}

#[test]
fn rule_9_20_a_node_keeps_two_states_and_the_blocks_since_the_older() {
    let keeper = keeper();
    let (states, blocks) = on_disk(&keeper.disk);
    assert_eq!(states.len(), limits::BASES_KEPT, "{states:?}");
    let oldest = *states.first().unwrap();
    let last = LONG.domain.head.height;
    assert!(blocks.iter().copied().eq(oldest + 1..=last), "{blocks:?} beside {states:?}");
    let (state, kept) = (keeper.stored(&[Table::Base]) / 2, keeper.stored(&[Table::Final]));
    let whole: usize = LONG.chains.iter().map(Vec::len).sum();
    assert!(whole > 4 * limits::BASE_AFTER_BYTES_MIN, "{whole} bytes are too few to try anything");
    assert!(kept < 3 * limits::BASE_AFTER_BYTES_MIN + 3 * state, "{kept} bytes of {whole} are kept");

    let again = keeper.reopened(&keeper.disk);
    assert_eq!(again.core.state(), keeper.core.state());
    assert_eq!(again.core.head(), keeper.core.head());
    let (before, after) = (keeper.core.chain().unwrap(), again.core.chain().unwrap());
    assert_eq!(before.checkpoint().header, after.checkpoint().header);
    assert!(after.since(oldest).is_some(), "whoever is behind by no more is served blocks");
    assert!(after.since(oldest - 1).is_none());
}

#[test]
fn rule_9_20_whatever_beginning_of_its_writes_a_crash_leaves_a_node_opens_no_further_back() {
    let keeper = keeper();
    let mut disk = Node::at_genesis(&LONG, &LONG.domain.founders[0]).disk;
    let (mut highest, mut tried) = (0, 0);
    for (nth, record) in keeper.writes.iter().enumerate() {
        put(&mut disk, record);
        // Each step of writing a state and of removing what was before; and every block that comes between.
        let next_is_of_the_base = |at: usize| {
            keeper.writes.get(at).is_some_and(|next| next.table == Table::Base || next.value.is_none())
        };
        if !next_is_of_the_base(nth) && !next_is_of_the_base(nth + 1) {
            continue;
        }
        tried += 1;
        let again = keeper.reopened(&disk);
        let height = again.core.head().expect("it has a state").height;
        assert!(height >= highest, "after write {nth} it is at {height}, and was at {highest}");
        highest = height;
    }
    assert!(tried > 20, "{tried} crashes are too few to try anything");
}

#[test]
fn rule_9_20_whoever_loses_one_of_the_two_states_comes_to_the_same_head_from_the_other() {
    let keeper = keeper();
    let (states, _) = on_disk(&keeper.disk);
    let without = |lost: &[u64]| {
        let is_lost = |(table, key): &(Table, Vec<u8>)| {
            *table == Table::Base && lost.iter().any(|height| key.starts_with(&height.to_be_bytes()))
        };
        let mut disk = keeper.disk.clone();
        disk.retain(|place, _| !is_lost(place));
        keeper.reopened(&disk)
    };
    let states: Vec<u64> = states.into_iter().collect();
    for lost in &states {
        let again = without(&[*lost]);
        assert_eq!(again.core.state(), keeper.core.state(), "without the one at {lost}");
    }
    // Without both it knows that it lacks a state, and never takes the first for the newest.
    let mut again = without(&states);
    assert_eq!((again.core.phase(), again.core.state().is_none()), (Phase::Syncing, true));
    let mut server = replay(&LONG, &LONG.living[0]).0;
    talk(&LONG, &mut server, &mut again);
    assert_eq!(again.core.state(), server.core.state());
}

#[test]
fn rule_9_22_a_removal_finds_room_in_a_full_queue_and_in_the_next_block_whatever_the_members_did() {
    let domain = &HISTORY.domain;
    let now = domain.now();
    let mut waiting = Waiting::default();
    let offer = |waiting: &mut Waiting, entry: Entry| {
        waiting.offer(&verified(Arc::new(entry)), &domain.state, &domain.head, now)
    };
    // All but one of the members leave at once, and newcomers come until there is no room.
    let depart = |person: &Person| {
        let kind = Kind::Revoke(Revoke { subject: person.node, reason: Reason::Unspecified });
        endorsed_by(domain.statement(kind), &[person])
    };
    let (thief, leavers) = (&HISTORY.living[0], HISTORY.living.iter().skip(1));
    let mut left = 0;
    for leaver in leavers {
        assert_eq!(offer(&mut waiting, depart(leaver)), Ok(Offered::Waits { instead_of: None }));
        left += 1;
    }
    assert!(left > limits::BLOCK_ENTRIES_MAX, "{left} are too few to fill a block");
    let room = limits::WAITING_ENTRIES_MAX - limits::WAITING_DENIALS_RESERVED;
    for number in left..room {
        let newcomer = Person::new(9_000_000 + number as u32);
        let entry = domain.admission(domain.admit(&newcomer));
        assert_eq!(offer(&mut waiting, entry), Ok(Offered::Waits { instead_of: None }));
    }
    let last = domain.admission(domain.admit(&Person::new(8_000_000)));
    assert!(offer(&mut waiting, last).is_err(), "there is no room for a grant");
    assert!(offer(&mut waiting, depart(thief)).is_err(), "and none for another departure");

    let removal = domain.revocation(thief.node);
    let id = removal.statement.id();
    assert_eq!(offer(&mut waiting, removal), Ok(Offered::Waits { instead_of: None }));
    let (block, state, refused) = domain.state.build(&domain.head, now, waiting.iter());
    assert_eq!(refused, []);
    assert_eq!(block.entries.len(), limits::BLOCK_ENTRIES_MAX);
    assert_eq!(block.entries[0].statement.id(), id, "it is the first of all");
    assert!(state.is_gone(&thief.node));
    // Its own departure keeps nobody's removal waiting.
    let sly = domain.revocation(HISTORY.living[1].node);
    assert!(matches!(offer(&mut waiting, sly), Ok(Offered::Waits { instead_of: Some(_) })));
}

/// An endorser that keeps everything.
fn archivist() -> Node {
    restarted(&replay_at(&LONG, Node::archiving(&LONG, &LONG.domain.founders[0])).0)
}

/// What it has in its memory of the log is what was on its disk.
fn restarted(node: &Node) -> Node {
    node.reopened(&node.disk)
}

#[test]
fn rule_9_21_an_archive_serves_from_genesis_on_what_others_have_removed() {
    let (mut archivist, mut other) = (archivist(), restarted(&keeper()));
    let auditor = || Node::archiving(&LONG, &LONG.living[0]);
    let mut shown = auditor();
    let had = talk(&LONG, &mut archivist, &mut shown);
    assert_eq!((had.snapshot_bytes, shown.core.state()), (0, archivist.core.state()));
    let archived = |node: &Node| on_disk_of(&node.disk, Table::Archive);
    assert_eq!(archived(&shown).len() as u64, LONG.domain.head.height, "it has every block itself now");

    let mut sent_away = auditor();
    let had = talk(&LONG, &mut other, &mut sent_away);
    assert!(had.snapshot_bytes > 0, "who keeps no archive shows its head, and serves a snapshot");
    assert_eq!(sent_away.core.state(), archivist.core.state());
    assert_eq!(archived(&sent_away).first().copied().unwrap_or(u64::MAX), {
        let base = sent_away.core.chain().unwrap().checkpoint().header.height;
        if base == LONG.domain.head.height { u64::MAX } else { base + 1 }
    });
}

#[test]
fn rule_9_21_an_archive_that_begins_later_or_lacks_a_block_shows_its_head() {
    let whole = archivist();
    for lost in [1, 2, 7] {
        let mut archivist = restarted(&whole);
        archivist.disk.remove(&(Table::Archive, u64::to_be_bytes(lost).to_vec()));
        let mut returner = Node::at_genesis(&LONG, &LONG.living[0]);
        let had = talk(&LONG, &mut archivist, &mut returner);
        assert!(had.snapshot_bytes > 0, "without block {lost}");
        assert_eq!(returner.core.state(), archivist.core.state());
    }
}

#[test]
fn rule_9_21_whoever_asks_an_archive_is_rationed_like_whoever_asks_for_blocks() {
    let mut archivist = archivist();
    let mut had = 0;
    // It forgets each time what it was sent.
    for _ in 0..20 {
        let mut glutton = Node::at_genesis(&LONG, &LONG.living[0]);
        had += talk(&LONG, &mut archivist, &mut glutton).other_bytes as u64;
    }
    let most = limits::ANSWER_BYTES_BURST + limits::MESSAGE_BYTES_MAX as u64;
    assert!(had > limits::ANSWER_BYTES_BURST / 2 && had < most, "it was sent {had} bytes at once");
}

#[test]
fn rule_9_21_questions_to_an_archive_count_before_they_are_looked_up() {
    let mut archivist = archivist();
    let (now, member) = (LONG.domain.head.time, LONG.living[0].public());
    let most = limits::ANSWER_BYTES_BURST / limits::ARCHIVE_ANSWER_BYTES_MAX as u64;
    let mut give = |input: Input| {
        let mut effects = Effects::new();
        let _ = archivist.core.handle(now, input, &mut effects);
        effects.take().settled().lookups.len() as u64
    };
    for round in 1..=2 {
        // All of them before the host has looked up the first.
        let asked = (0..64).map(|_| {
            let question = Message::Follow { height: 0, head: [0; 8] };
            let message = Arc::new(verify(question, &check()).unwrap());
            give(Input::Received { from: member, message })
        });
        let looked_up: u64 = asked.sum();
        assert_eq!(looked_up, most, "round {round}: as if each had the most that an answer may have");
        // It finds nothing: what was counted too much is given back.
        for _ in 0..looked_up {
            give(Input::LookedUp { to: member, height: 0, records: Vec::new() });
        }
    }
}

#[test]
fn rule_9_21_each_block_of_an_archive_is_proven_under_the_newest_state_and_another_body_is_not() {
    let archivist = archivist();
    let state = archivist.core.state().unwrap();
    let genesis = State::genesis(&LONG.domain.founded).unwrap().1.id();
    let blocks: Vec<Block> = archivist
        .disk
        .iter()
        .filter(|((table, _), _)| *table == Table::Archive)
        .map(|(_, value)| block_of(value))
        .collect();
    let mut ids = vec![genesis];
    ids.extend(blocks.iter().map(Block::id));
    assert_eq!(ids.len() as u64, state.log_len());
    for (index, block) in (1..).zip(&blocks).step_by(9) {
        let proof = LogProof::of(&ids, index).expect("it is one of them");
        assert!(proof.holds(&block.id(), &state.log_root_after()) && block.has_its_entries());
        let mut forged = block.clone();
        forged.entries.pop();
        assert!(!forged.has_its_entries());
        forged.header.entries_root = forged.root_of_entries();
        assert!(!proof.holds(&forged.id(), &state.log_root_after()));
    }
}

/// A stored block without its proof.
fn block_of(record: &[u8]) -> Block {
    type Stored = (Arc<Block>, Option<Proof>);
    let (block, _): Stored = decode("a stored block", record, limits::MESSAGE_BYTES_MAX).unwrap();
    (*block).clone()
}

/// The heights of the records of a table.
fn on_disk_of(disk: &Disk, table: Table) -> Vec<u64> {
    let keys = disk.keys().filter(|(at, _)| *at == table).filter_map(|(_, key)| key.first_chunk());
    keys.map(|height| u64::from_be_bytes(*height)).collect()
}
