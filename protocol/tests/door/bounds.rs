//! What a crash may not take, and what a peer may not claim.

use frith_protocol::door::{Phase, Standing};

use super::mesh::{Mesh, charter};
use super::revoke;

#[test]
fn rule_9_9_whoever_lost_power_right_after_it_said_that_somebody_is_gone_says_so_still() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.run(1_000);
    let ticket = mesh.ticket(2);
    let follower = mesh.join(10, Some(ticket.clone()));
    let thief = mesh.join(11, Some(ticket));
    mesh.run(5_000);
    assert_eq!(mesh.core(follower).standing_of(&thief), Standing::Member);
    revoke(&mut mesh, thief);
    assert_eq!(mesh.core(follower).standing_of(&thief), Standing::Gone);

    for key in [follower, mesh.endorsers()[0]] {
        mesh.lose_power(key);
        mesh.start(key);
        assert_eq!(mesh.core(key).standing_of(&thief), Standing::Gone);
    }
    mesh.lose_power(thief);
    mesh.start(thief);
    assert_eq!(mesh.core(thief).phase(), Phase::Gone);
}

#[test]
fn rule_9_9_whoever_lost_power_right_after_it_took_a_snapshot_has_it_still() {
    let mut mesh = Mesh::found(charter(4, 1, 3));
    mesh.run(1_000);
    let ticket = mesh.ticket(1);
    let key = mesh.join(10, Some(ticket));
    mesh.run(2_000);
    assert_eq!(mesh.core(key).phase(), Phase::Following);
    mesh.lose_power(key);
    mesh.start(key);
    assert_eq!(mesh.core(key).phase(), Phase::Following);
}
