//! SPEC 3: which charters may be founded.

use frith_protocol::fault::Fault;
use frith_protocol::identity::{PublicKey, verify};
use frith_protocol::limits;
use frith_protocol::state::{Charter, Effective, Role, State};
use frith_protocol::time::Timestamp;

use crate::domain::{DAY, Domain, Person, START, charter, check, found, founders, noise, verified};

/// The reason for which a charter of four is refused once `change` was made.
fn refusal(change: impl FnOnce(&mut Charter)) -> String {
    let mut charter = charter(&founders(4));
    charter.check().expect("the charter is sound before it is changed");
    change(&mut charter);
    charter.check().expect_err("it must be refused").to_string()
}

#[track_caller]
fn refused_for(part: &str, change: impl FnOnce(&mut Charter)) {
    let why = refusal(change);
    assert!(why.contains(part), "refused for {why:?}, not for {part:?}");
}

#[test]
fn sound_charters_of_every_size_are_accepted() {
    for n in 1..=31 {
        let founders = founders(n);
        let founded = verified(found(charter(&founders), &founders));
        State::genesis(&founded).unwrap_or_else(|fault| panic!("n = {n}: {fault}"));
    }
}

#[test]
fn rule_3_1_seats_roles_and_capabilities_are_ordered_and_distinct() {
    refused_for("the endorsers are not in strict order", |c| c.endorsers.swap(0, 1));
    refused_for("the endorsers are not in strict order", |c| c.endorsers[1] = c.endorsers[0].clone());
    refused_for("the roles are not in strict order", |c| c.roles.swap(0, 1));
    refused_for("the roles are not in strict order", |c| c.roles[1] = c.roles[0].clone());
    refused_for("the capabilities of", |c| {
        c.roles[0].capabilities = vec!["b".into(), "a".into()];
    });
    refused_for("the roles of", |c| c.endorsers[0].roles = vec!["node".into(), "gateway".into()]);
}

#[test]
fn rule_3_1_there_are_1_to_64_endorsers_and_at_most_32_roles_of_64_capabilities() {
    refused_for("it has 0 endorsers", |c| c.endorsers.clear());
    let many = u32::try_from(limits::ENDORSERS_MAX).expect("small") + 1;
    let founders: Vec<_> = (0..many).map(Person::new).collect();
    refused_for("it has 65 endorsers", |c| {
        c.endorsers = charter(&founders).endorsers;
    });
    let role = |i: usize| Role { name: format!("r{i:02}"), capabilities: Vec::new(), freshness_ms: None };
    refused_for("it has 33 roles", |c| c.roles = (0..33).map(role).collect());
    refused_for("has 65 capabilities", |c| {
        c.roles[0].capabilities = (0..65).map(|i| format!("c{i:02}")).collect();
    });
}

#[test]
fn rule_3_2_a_charter_with_too_many_faults_is_refused() {
    refused_for("4 endorsers cannot bear 2 faulty ones", |c| c.faults = 2);
    let three = founders(3);
    let mut of_three = charter(&three);
    of_three.faults = 1;
    let why = of_three.check().expect_err("3 < 3·1+1").to_string();
    assert!(why.contains("n ≥ 3f+1 = 4"), "{why}");
}

#[test]
fn rule_3_2_thresholds_lie_between_their_bounds_for_every_size() {
    for n in 1u32..=16 {
        let founders = founders(n);
        let sound = charter(&founders);
        let (n, f) = (sound.size(), usize::from(sound.faults));
        // Written here as in SPEC 3.2, not as in the code.
        let q = (n + f) / 2 + 1;
        for value in 0..=u8::try_from(n).expect("few") + 1 {
            let v = usize::from(value);
            let expect = |name: &str, ok: bool, set: &dyn Fn(&mut Charter)| {
                let mut charter = sound.clone();
                set(&mut charter);
                assert_eq!(charter.check().is_ok(), ok, "n = {n}, f = {f}, {name} = {value}");
            };
            expect("amend", q <= v && v <= n - f, &|c| c.thresholds.amend = value);
            expect("revoke", f < v && v <= n - f, &|c| c.thresholds.revoke = value);
            expect("contain", f < v && v <= n - f, &|c| c.thresholds.contain = value);
            let admit_ok = f < v && v <= n - f && v >= n.min(2);
            expect("admit", admit_ok, &|c| c.thresholds.admit = value);
        }
    }
}

#[test]
fn rule_3_3_a_roles_bound_on_freshness_is_one_that_an_idle_domain_keeps_and_no_wider_than_the_charters() {
    let least = |c: &Charter| c.timing.heartbeat_ms + c.timing.skew_ms + 2 * c.timing.timeout_cap_ms;
    refused_for("the role \"gateway\" bounds freshness", |c| c.roles[0].freshness_ms = Some(least(c)));
    refused_for("the role \"gateway\" bounds freshness", |c| {
        c.roles[0].freshness_ms = Some(c.timing.freshness_ms + 1);
    });
    let mut just = charter(&founders(4));
    just.roles[0].freshness_ms = Some(least(&just) + 1);
    just.roles[1].freshness_ms = Some(just.timing.freshness_ms);
    just.check().expect("both bounds can be kept");
}

#[test]
fn rule_3_3_timing_that_could_not_stay_fresh_is_refused() {
    refused_for("first_timeout_ms is 0", |c| c.timing.first_timeout_ms = 0);
    refused_for("above timeout_cap_ms", |c| c.timing.first_timeout_ms = c.timing.timeout_cap_ms + 1);
    refused_for("freshness_ms", |c| {
        // Exactly the bound: one more is needed.
        c.timing.freshness_ms = c.timing.heartbeat_ms + c.timing.skew_ms + 2 * c.timing.timeout_cap_ms;
    });
    refused_for("silence_ms", |c| c.timing.silence_ms = c.timing.freshness_ms);
    let mut just = charter(&founders(4));
    just.timing.freshness_ms =
        just.timing.heartbeat_ms + just.timing.skew_ms + 2 * just.timing.timeout_cap_ms + 1;
    just.timing.silence_ms = just.timing.freshness_ms + 1;
    assert_eq!(just.check(), Ok(()));
}

#[test]
fn rule_3_3_every_lifetime_is_positive_and_within_limits() {
    type Bound = fn(&mut Charter) -> &mut u64;
    let bounds: [(&str, Bound); 8] = [
        ("heartbeat_ms", |c| &mut c.timing.heartbeat_ms),
        ("freshness_ms", |c| &mut c.timing.freshness_ms),
        ("silence_ms", |c| &mut c.timing.silence_ms),
        ("timeout_cap_ms", |c| &mut c.timing.timeout_cap_ms),
        ("member_lifetime_ms", |c| &mut c.timing.member_lifetime_ms),
        ("basis_ms", |c| &mut c.timing.basis_ms),
        ("ticket_lifetime_ms", |c| &mut c.timing.ticket_lifetime_ms),
        ("proposal_lifetime_ms", |c| &mut c.timing.proposal_lifetime_ms),
    ];
    for (name, bound) in bounds {
        refused_for(&format!("{name} is 0"), |c| *bound(c) = 0);
        refused_for(&format!("{name} is {}", u64::MAX), |c| *bound(c) = u64::MAX);
    }
    refused_for("skew_ms is", |c| c.timing.skew_ms = u64::MAX);
}

#[test]
fn rule_3_4_no_key_occurs_twice() {
    refused_for("occurs twice", |c| c.endorsers[1].voting_key = c.endorsers[0].voting_key);
    refused_for("occurs twice", |c| c.endorsers[1].voting_key = c.endorsers[0].inception.key);
    refused_for("occurs twice", |c| {
        c.recovery.keys = vec![c.endorsers[0].inception.key];
        c.recovery.threshold = 1;
    });
}

#[test]
fn rule_3_4_a_voting_or_recovery_key_that_is_no_good_is_refused() {
    let bad = PublicKey([0; 32]);
    refused_for("may not be introduced", |c| c.endorsers[2].voting_key = bad);
    refused_for("may not be introduced", |c| {
        c.recovery.keys = vec![bad];
        c.recovery.threshold = 1;
    });
}

#[test]
fn rule_3_5_a_domain_is_founded_by_all_or_not_at_all() {
    let founders = founders(4);
    let whole = found(charter(&founders), &founders);
    verify(whole.clone(), &check()).expect("all signed");

    let mut short = whole.clone();
    short.signatures.pop();
    let fault = verify(short, &check()).expect_err("one is missing");
    assert!(fault.to_string().contains("3 founders signed, and all 4 must"), "{fault}");

    let mut swapped = whole.clone();
    swapped.signatures.swap(0, 1);
    assert!(matches!(verify(swapped, &check()), Err(Fault::BadSignature { .. })));

    let mut changed = whole.clone();
    changed.charter.thresholds.revoke += 1;
    assert!(matches!(verify(changed, &check()), Err(Fault::BadSignature { .. })));

    let mut unpossessed = whole;
    unpossessed.charter.endorsers[0].inception.possession = founders[1].inception.possession;
    unpossessed.signatures = founders.iter().map(|p| unpossessed.charter.sign_founding(&p.key)).collect();
    assert!(matches!(verify(unpossessed, &check()), Err(Fault::BadSignature { .. })));
}

#[test]
fn rule_3_6_genesis_holds_each_endorser_standing_with_its_seat() {
    let domain = Domain::new(4);
    let header = &domain.head;
    assert_eq!((header.epoch, header.height, header.time), (1, 0, START));
    assert_eq!((header.parent.0, header.previous.0, header.entries_root.0), ([0; 32], [0; 32], [0; 32]));
    assert_eq!(header.state_root, domain.state.root());
    assert!(!header.is_heartbeat());
    assert_eq!(domain.state.member_count(), 4);
    for person in &domain.founders {
        let standing = domain.state.standing(&person.node).expect("a founder stands");
        assert_eq!((standing.number, standing.height, &standing.roles[..]), (0, 0, &["node".to_owned()][..]));
        assert_eq!(domain.state.owner_of(&person.public()), Some(person.node));
        assert_eq!(domain.state.owner_of(&person.voting.public()), Some(person.node));
        let far = Timestamp(u64::MAX);
        assert_eq!(domain.state.effective(&person.node, far), Effective::Yes);
    }
}

#[test]
fn rule_3_6_equal_charters_give_equal_genesis_and_others_another_domain() {
    let (one, two) = (Domain::new(4), Domain::new(4));
    assert_eq!((one.head.clone(), one.state), (two.head, two.state));
    let other = Domain::with(4, |c| c.name = "other".into());
    assert_ne!(one.head.id(), other.head.id());
}

#[test]
fn rule_3_7_names_seats_recovery_and_days_are_within_reason() {
    refused_for("the domain's name", |c| c.name = String::new());
    refused_for("the domain's name", |c| c.name = "x".repeat(65));
    refused_for("the domain's name", |c| c.name = "\u{1b}[2J".into());
    refused_for("the role", |c| c.roles[0].name = String::new());
    refused_for("the capability", |c| c.roles[0].capabilities = vec!["\n".into()]);
    refused_for("unknown role", |c| c.endorsers[0].roles = vec!["king".into()]);
    refused_for("recovery by 1 of 0 keys", |c| c.recovery.threshold = 1);
    refused_for("recovery by 0 of 1 keys", |c| c.recovery.keys = vec![Person::new(77).public()]);
    refused_for("its last day", |c| c.last_day = c.written);
    refused_for("epochs start at 1", |c| c.epoch = 0);
    refused_for("of epoch 2", |c| c.epoch = 2);
    refused_for("of epoch 1", |c| c.previous = Some(noise(1).into()));
}

#[test]
fn only_a_charter_of_epoch_1_founds() {
    let founders = founders(4);
    let mut later = charter(&founders);
    later.epoch = 2;
    later.previous = Some(noise(1).into());
    later.written = START.plus(DAY);
    assert_eq!(later.check(), Ok(()));
    let founded = verified(found(later, &founders));
    assert!(matches!(State::genesis(&founded), Err(Fault::BadCharter { .. })));
}
