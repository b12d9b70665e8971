//! Every block that cores make final among themselves, executed again by the naive model: with newcomers who race, operators who
//! disagree, endorsers that stop in the middle, and members who are revoked or leave.

use std::sync::Arc;

use frith_protocol::door::{Command, Input};
use frith_protocol::encoding::Hash;
use frith_protocol::identity::PublicKey;
use frith_tests::mesh::Mesh;
use frith_tests::model::Model;
use frith_tests::people::{Dice, people};

/// A mesh in which a little of everything happens, and the endorser that never stopped.
fn eventful(seed: u64) -> (Mesh, PublicKey) {
    let mut dice = Dice::new(seed);
    let n = 4 + dice.below(4);
    let mut mesh = Mesh::of(n);
    mesh.run(1_000);
    let ticket = mesh.ticket(4);
    let endorsers = mesh.endorsers();
    let mut newcomers: Vec<PublicKey> = Vec::new();
    let mut stopped: Option<PublicKey> = None;
    for person in &people()[20..32] {
        let by_ticket = dice.chance(2, 3);
        newcomers.push(mesh.join(person, by_ticket.then(|| ticket.clone())));
        mesh.run(dice.between(1, 400));
        match dice.below(6) {
            0 => {
                if let Some(back) = stopped.take() {
                    mesh.start(back);
                    mesh.connect(back);
                } else {
                    let victim = endorsers[1 + dice.below(n - 1)];
                    mesh.stop(victim);
                    stopped = Some(victim);
                }
            }
            1 => {
                let member = newcomers[dice.below(newcomers.len())];
                let _ = mesh.input(member, Input::Command(Command::Leave));
            }
            2 => {
                let member = newcomers[dice.below(newcomers.len())];
                let known = mesh.core(endorsers[0]).state().is_some_and(|state| {
                    let id = mesh.id(member);
                    state.standing(&id).is_some()
                });
                if known {
                    mesh.revoke(member);
                }
            }
            _ => {
                for endorser in endorsers.iter().filter(|key| Some(**key) != stopped) {
                    let waits: Vec<Hash> = mesh.core(*endorser).proposals().map(|(id, _)| *id).collect();
                    for id in waits {
                        let yes = if dice.chance(4, 5) { Command::Endorse(id) } else { Command::Decline(id) };
                        let _ = mesh.input(*endorser, Input::Command(yes));
                    }
                }
            }
        }
        mesh.run(dice.between(1, 3_000));
    }
    mesh.run(30_000);
    (mesh, endorsers[0])
}

#[test]
fn every_block_that_a_mesh_makes_final_is_what_the_model_makes_of_it() {
    let (mut blocks, mut denials, mut grants) = (0, 0, 0);
    for seed in 0..40 {
        let (mesh, endorser) = eventful(seed);
        let core = mesh.core(endorser);
        let mut model = Model::found(&mesh.founded).expect("the charter is sound");
        let held: Vec<_> = core.chain().expect("it has one").recent_blocks().collect();
        for held in held.into_iter().rev() {
            let block = Arc::clone(&held.block);
            assert_eq!(model.check(true, &block), Ok(()), "seed {seed}: {block:#?}");
            model.push(&block);
            blocks += 1;
            denials += block.entries.iter().filter(|entry| entry.statement.is_denial()).count();
            grants += block.entries.iter().filter(|entry| !entry.statement.is_denial()).count();
        }
        let (root, _) = model.facts().roots();
        assert_eq!(core.state().expect("it has one").root(), Hash(root), "seed {seed}");
    }
    println!("{blocks} blocks: {grants} grants, {denials} denials");
    assert!(
        blocks > 200 && grants > 200 && denials > 20,
        "{blocks} blocks: {grants} grants, {denials} denials"
    );
}
