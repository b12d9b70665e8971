//! The engine against the naive model where random histories seldom come: see [`frith_tests::edges`].

use frith_tests::edges;

#[test]
fn rule_6_7_model_and_engine_agree_on_where_grants_and_denials_have_their_places() {
    edges::places();
}

#[test]
fn rule_6_7_model_and_engine_agree_on_how_many_rotations_a_block_holds() {
    edges::rotations();
}

#[test]
fn rule_6_7_model_and_engine_agree_on_how_many_holds_a_block_records() {
    edges::records();
}

#[test]
fn rule_6_7_model_and_engine_agree_that_a_block_has_one_amendment_at_most() {
    edges::amendments();
}

#[test]
fn rule_4_6_model_and_engine_agree_on_which_expired_tickets_a_block_forgets() {
    edges::forgotten_tickets();
}

#[test]
fn model_and_engine_agree_on_which_charters_can_be_founded() {
    edges::charters();
}
