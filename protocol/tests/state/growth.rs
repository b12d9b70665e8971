//! SPEC 9, where it takes a long log: what a newcomer and a returner cost, and what is kept of history.

use std::sync::LazyLock;

use frith_protocol::limits;

use super::history::History;
use super::nodes::{Node, replay, sync, talk};

/// More than fits one answer, and several times as many entries as stand.
static HISTORY: LazyLock<History> = LazyLock::new(|| History::of(4_000, 300, &[]));

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
