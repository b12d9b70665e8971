//! Four founders in one process: a domain is founded, makes its first blocks, and revokes nobody.
//!
//! The host's whole part is in `main`: give the core inputs, store its records, then deliver what it sends. Run it with
//! `cargo run -p frith-protocol --example four_nodes`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use frith_protocol::door::{Config, Core, Effects, Input, Keys, Message, founding_records};
use frith_protocol::following::PlainWorkshop;
use frith_protocol::identity::{BatchCheck, Inception, PublicKey, SecretKey, verify};
use frith_protocol::state::{AdmissionPolicy, Charter, Founded, Recovery, Role, Seat, Thresholds, Timing};
use frith_protocol::time::Timestamp;
use rand_core::SeedableRng as _;

const DAY_MS: u64 = 24 * 3_600_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A node takes its seeds from the operating system, and so does the check of signatures. These are for show.
    let founders: Vec<Keys> = (0..4).map(keys).collect();
    let check = BatchCheck::new(rand_chacha::ChaCha8Rng::from_seed([7; 32]));

    // Each founder signs the charter with a key that stays where it is; the signatures are put together.
    let charter = charter(&founders);
    charter.check()?;
    let mut signatures = Vec::new();
    for seat in &charter.endorsers {
        let founder =
            founders.iter().find(|keys| keys.inception == seat.inception).ok_or("no such founder")?;
        signatures.push(charter.sign_founding(&founder.identity));
    }
    let founded = verify(Founded { charter, signatures }, &check)?;

    let mut now = Timestamp(1);
    let mut cores: BTreeMap<PublicKey, Core> = BTreeMap::new();
    let mut inbox: VecDeque<(PublicKey, Input)> = VecDeque::new();
    for keys in founders {
        let key = keys.identity.public();
        let voting = keys.voting.first().ok_or("a founder has a voting key")?.public();
        let config = Config {
            keys,
            seed: key.0,
            workshop: Arc::new(PlainWorkshop),
            archive: false,
            journal_lost: None,
        };
        cores.insert(key, Core::open(config, founding_records(&founded, &voting), now)?);
    }
    for a in cores.keys() {
        inbox.extend(cores.keys().filter(|b| *b != a).map(|b| (*a, Input::Connected(*b))));
    }

    // A minute of an idle domain: whatever is due is handled, and time jumps to the next deadline.
    let end = now.plus(60_000);
    while now < end {
        while let Some((to, input)) = inbox.pop_front() {
            let mut effects = Effects::new();
            let core = cores.get_mut(&to).ok_or("no such core")?;
            if let Err(why) = core.handle(now, input, &mut effects) {
                println!("{to:?} refused something: {why}");
            }
            let unsettled = effects.take();
            // Here a node writes `unsettled.records()` to its disk, and only then goes on.
            for (peer, message) in unsettled.settled().sends {
                let message: Message = (*message).clone();
                inbox.push_back((
                    peer,
                    Input::Received { from: to, message: Arc::new(verify(message, &check)?) },
                ));
            }
        }
        let Some(next) = cores.values().filter_map(Core::next_deadline).min() else { break };
        now = now.max(next);
        let due = cores.iter().filter(|(_, core)| core.next_deadline().is_some_and(|at| at <= now));
        inbox.extend(due.map(|(key, _)| (*key, Input::Tick)));
    }

    for core in cores.values() {
        let head = core.head().ok_or("a founder has a head")?;
        println!("{:?} is at height {} with {:?}", core.node_id(), head.height, head.state_root);
    }
    Ok(())
}

fn keys(name: u8) -> Keys {
    let secret = |purpose: u8| SecretKey::from_seed([name * 4 + purpose; 32]);
    Keys {
        inception: Inception::new(&secret(1), &secret(2).public()),
        rotations: Vec::new(),
        successor: None,
        identity: secret(1),
        voting: vec![secret(3)],
    }
}

fn charter(founders: &[Keys]) -> Charter {
    let seat = |keys: &Keys| Seat {
        inception: keys.inception.clone(),
        voting_key: keys.voting.first().map(SecretKey::public).unwrap_or_default(),
        roles: vec!["server".into()],
    };
    let mut endorsers: Vec<Seat> = founders.iter().map(seat).collect();
    endorsers.sort_by_key(Seat::node_id);
    Charter {
        previous: None,
        epoch: 1,
        name: "four nodes".into(),
        written: Timestamp::ZERO,
        endorsers,
        faults: 1,
        thresholds: Thresholds { admit: 3, revoke: 2, contain: 2, amend: 3 },
        recovery: Recovery::default(),
        roles: vec![Role { name: "server".into(), capabilities: vec!["serve".into()], freshness_ms: None }],
        timing: Timing {
            heartbeat_ms: 10_000,
            freshness_ms: 60_000,
            silence_ms: 14 * DAY_MS,
            skew_ms: 2_000,
            first_timeout_ms: 1_000,
            timeout_cap_ms: 8_000,
            member_lifetime_ms: 90 * DAY_MS,
            basis_ms: DAY_MS,
            ticket_lifetime_ms: 7 * DAY_MS,
            proposal_lifetime_ms: DAY_MS,
            hold_ms: 3_600_000,
        },
        admission: AdmissionPolicy { tickets: true, approval: true },
        last_day: Timestamp(3650 * DAY_MS),
    }
}
