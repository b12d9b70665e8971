//! From what a scenario says to an explicit list of faults, drawn before anything happens.

use crate::engine::{Action, Concern, NodeIndex, Plan, Random};
use crate::scenario::{FaultAt, NodeName, Script, TableName};
use frith_protocol::door::Table;

/// The index of a node: endorsers first, then newcomers in the order in which they come.
pub fn index_of(script: &Script, name: NodeName) -> NodeIndex {
    match name {
        NodeName::Endorser(number) => NodeIndex(number),
        NodeName::Newcomer(number) => NodeIndex(u32::from(script.mesh.endorsers) + number),
    }
}

/// What the node of an index is called.
pub fn name_of(script: &Script, node: NodeIndex) -> NodeName {
    let endorsers = u32::from(script.mesh.endorsers);
    match node.0.checked_sub(endorsers) {
        None => NodeName::Endorser(node.0),
        Some(number) => NodeName::Newcomer(number),
    }
}

/// All faults of domain number `domain`, in the order of time.
pub fn draw(script: &Script, domain: u32, seed: u64) -> Plan {
    let mut plan = Plan::default();
    let mut ids = 0;
    // Twins come after everybody else.
    let newcomers = script.newcomers_by_domain().get(domain as usize).copied().unwrap_or(0);
    let mut twins = (u32::from(script.mesh.endorsers) + newcomers..).map(NodeIndex);
    for fault in script.fault.iter().filter(|fault| fault.domain == domain) {
        named(script, fault, &mut ids, &mut twins, &mut plan);
    }
    chaos(script, &mut Random::new(seed, domain.into(), Concern::Plan), &mut ids, &mut plan);
    plan.0.sort_by_key(|fault| fault.at_us);
    plan
}

fn named(
    script: &Script,
    fault: &FaultAt,
    ids: &mut u32,
    twins: &mut impl Iterator<Item = NodeIndex>,
    plan: &mut Plan,
) {
    let (at, end) = (fault.at_ms, fault.for_ms.map(|ms| fault.at_ms.saturating_add(ms)));
    let nodes = |names: &Option<Vec<toml::Spanned<NodeName>>>| -> Vec<NodeIndex> {
        names.iter().flatten().map(|name| index_of(script, *name.as_ref())).collect()
    };
    let mut id = || {
        *ids += 1;
        *ids
    };
    for node in nodes(&fault.kill) {
        plan.at_ms(at, Action::Kill { node });
        end.map(|end| plan.at_ms(end, Action::Restart { node }));
    }
    for node in nodes(&fault.lose_power) {
        plan.at_ms(at, Action::LosePower { node });
        end.map(|end| plan.at_ms(end, Action::Restart { node }));
    }
    for node in nodes(&fault.pause) {
        plan.at_ms(at, Action::Pause { node });
        end.map(|end| plan.at_ms(end, Action::Resume { node }));
    }
    if fault.cut_off.is_some() {
        let (id, sides) = (id(), vec![nodes(&fault.cut_off)]);
        plan.at_ms(at, Action::Cut { id, sides });
        end.map(|end| plan.at_ms(end, Action::Heal { id }));
    }
    if let Some(ppm) = fault.loss_ppm {
        plan.at_ms(at, Action::Loss { ppm });
        end.map(|end| plan.at_ms(end, Action::Loss { ppm: script.network.loss_ppm }));
    }
    if let Some(ppm) = fault.duplicate_ppm {
        plan.at_ms(at, Action::Duplicates { ppm });
        end.map(|end| plan.at_ms(end, Action::Duplicates { ppm: script.network.duplicate_ppm }));
    }
    for node in nodes(&fault.roll_back) {
        let image = id();
        plan.at_ms(fault.as_of_ms.unwrap_or(at), Action::KeepImage { node, image });
        plan.at_ms(at, Action::Kill { node }).at_ms(at, Action::RollBack { node, image });
        end.map(|end| plan.at_ms(end, Action::Restart { node }));
    }
    for node in nodes(&fault.damage) {
        let table = fault.table.map(|table| table_of(table) as u8);
        plan.at_ms(at, Action::Kill { node }).at_ms(at, Action::Damage { node, table });
        end.map(|end| plan.at_ms(end, Action::Restart { node }));
    }
    for (node, twin) in nodes(&fault.twin).into_iter().zip(twins) {
        plan.at_ms(at, Action::Twin { node, twin });
    }
    for node in nodes(&fault.step_clock) {
        let by_ms = fault.by_ms.unwrap_or(0);
        plan.at_ms(at, Action::StepClock { node, by_ms });
        end.map(|end| plan.at_ms(end, Action::StepClock { node, by_ms: -by_ms }));
    }
}

fn table_of(name: TableName) -> Table {
    match name {
        TableName::Meta => Table::Meta,
        TableName::Journal => Table::Journal,
        TableName::Endorsed => Table::Endorsed,
        TableName::Proposals => Table::Proposals,
        TableName::Waiting => Table::Waiting,
        TableName::Final => Table::Final,
        TableName::Base => Table::Base,
    }
}

fn chaos(script: &Script, random: &mut Random, ids: &mut u32, plan: &mut Plan) {
    let chaos = &script.chaos;
    let endorsers = u64::from(script.mesh.endorsers);
    let everybody = endorsers + u64::from(script.mesh.newcomers);
    let span = |random: &mut Random| {
        let at = random.between(chaos.between_ms[0], chaos.between_ms[1]);
        (at, at + random.between(chaos.lasting_ms[0], chaos.lasting_ms[1]))
    };
    for number in 0..chaos.kills + chaos.power_losses {
        let node = NodeIndex(random.below(endorsers) as u32);
        let (at, end) = span(random);
        let action = if number < chaos.kills { Action::Kill { node } } else { Action::LosePower { node } };
        plan.at_ms(at, action).at_ms(end, Action::Restart { node });
    }
    for _ in 0..chaos.pauses {
        let node = NodeIndex(random.below(everybody) as u32);
        let (at, end) = span(random);
        plan.at_ms(at, Action::Pause { node }).at_ms(end, Action::Resume { node });
    }
    for _ in 0..chaos.cuts {
        let mut nodes: Vec<NodeIndex> = (0..endorsers as u32).map(NodeIndex).collect();
        random.shuffle(&mut nodes);
        nodes.truncate(random.between(1, endorsers.max(1)) as usize);
        nodes.sort();
        *ids += 1;
        let (at, end) = span(random);
        plan.at_ms(at, Action::Cut { id: *ids, sides: vec![nodes] }).at_ms(end, Action::Heal { id: *ids });
    }
}
