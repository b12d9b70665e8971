use std::fs;

use frith_protocol::identity::SecretKey;

use super::*;
use crate::home::Home;
use crate::keys;
use frith_protocol::time::Timestamp;

/// A founder with keys that grow from a small number, so that a failure can be looked at twice.
pub(crate) struct Founder {
    pub(crate) keys: NodeKeys,
    pub(crate) card: Card,
}

pub(crate) fn founder(seed: u8) -> Founder {
    let key = |purpose: u8| SecretKey::from_seed([seed.wrapping_mul(3).wrapping_add(purpose); 32]);
    let (identity, next, voting) = (key(0), key(1), key(2));
    let inception = Inception::new(&identity, &next.public());
    let keys = NodeKeys {
        inception,
        rotations: Vec::new(),
        identity,
        successor: None,
        voting: vec![voting.clone()],
    };
    let address = format!("/ip4/192.0.2.{seed}/tcp/5747");
    let card = Card::new(&keys, voting.public(), vec![address]).unwrap();
    Founder { keys, card }
}

fn founders(count: u8) -> Vec<Founder> {
    (1..=count).map(founder).collect()
}

fn cards(founders: &[Founder]) -> Vec<(PathBuf, Card)> {
    founders.iter().enumerate().map(|(i, f)| (PathBuf::from(format!("card{i}")), f.card.clone())).collect()
}

fn options() -> DraftOptions {
    DraftOptions { name: "home".into(), ..DraftOptions::default() }
}

fn drafted(founders: &[Founder]) -> Draft {
    draft(&cards(founders), options(), Timestamp(1_000_000)).unwrap()
}

fn signatures(draft: &Draft, founders: &[Founder]) -> Vec<(PathBuf, FounderSignature)> {
    let sign = |(i, f): (usize, &Founder)| {
        (PathBuf::from(format!("{i}.sig")), sign(draft, Path::new("draft"), &f.keys).unwrap())
    };
    founders.iter().enumerate().map(sign).collect()
}

#[test]
fn four_founders_found_a_domain_by_files_alone_and_all_get_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: String| dir.path().join(name);
    let founders = founders(4);
    let mut card_files = Vec::new();
    for (i, founder) in founders.iter().enumerate() {
        let file = path(format!("{i}.card"));
        fs::write(&file, founder.card.to_toml()).unwrap();
        card_files.push((file.clone(), Card::read(&file).unwrap()));
    }
    let draft_file = path("draft".into());
    fs::write(&draft_file, draft(&card_files, options(), Timestamp(1_000_000)).unwrap().to_commented_toml())
        .unwrap();

    let draft = Draft::read(&draft_file).unwrap();
    assert_eq!(draft, drafted(&founders));
    assert_eq!((draft.charter.faults, draft.charter.quorum()), (1, 3));
    let mut signature_files = Vec::new();
    for (i, founder) in founders.iter().enumerate() {
        let file = path(format!("{i}.sig"));
        fs::write(&file, sign(&draft, &draft_file, &founder.keys).unwrap().to_toml()).unwrap();
        signature_files.push((file.clone(), FounderSignature::read(&file).unwrap()));
    }
    let mut domains = founders
        .iter()
        .map(|founder| put_together(&draft, &draft_file, &signature_files, &founder.keys).unwrap().domain());
    let first = domains.next().unwrap();
    assert!(domains.all(|domain| domain == first));
}

#[test]
fn a_charter_that_cannot_be_safe_is_refused_with_the_reason() {
    let cards = cards(&founders(4));
    let refusal = |change: fn(&mut DraftOptions)| {
        let mut options = options();
        change(&mut options);
        draft(&cards, options, Timestamp(1)).unwrap_err().to_string()
    };
    for (text, part) in [
        (refusal(|o| o.faults = Some(2)), "3f+1"),
        (refusal(|o| o.admit = Some(1)), "admit"),
        (refusal(|o| o.amend = Some(2)), "amend"),
        (refusal(|o| o.revoke = Some(4)), "revoke"),
        (refusal(|o| o.timing.freshness_ms = 1000), "freshness"),
        (refusal(|o| o.name = String::new()), "name"),
    ] {
        assert!(text.starts_with("charter refused: ") && text.contains(part), "{part}: {text}");
    }
}

#[test]
fn one_signature_short_founds_nothing_and_names_who_is_missing() {
    let founders = founders(4);
    let draft = drafted(&founders);
    let mut signatures = signatures(&draft, &founders);
    let (_, missing) = signatures.remove(2);
    // The same one twice does not count twice.
    signatures.push(signatures[0].clone());
    let text =
        put_together(&draft, Path::new("draft"), &signatures, &founders[0].keys).unwrap_err().to_string();
    assert!(
        text.starts_with("all 4 founders must sign") && text.contains(&missing.node.to_string()),
        "{text}"
    );
}

#[test]
fn a_draft_that_was_changed_after_signing_is_told_from_a_signature_that_does_not_hold() {
    let founders = founders(4);
    let draft = drafted(&founders);
    let mut signatures = signatures(&draft, &founders);
    let together = |draft: &Draft, signatures: &[_]| {
        put_together(draft, Path::new("draft"), signatures, &founders[0].keys).unwrap_err().to_string()
    };
    let mut changed = draft.clone();
    changed.charter.thresholds.admit = 3;
    assert!(together(&changed, &signatures).contains("changed the draft after signing"));

    signatures[1].1.signature.bytes[3] ^= 1;
    let text = together(&draft, &signatures);
    assert!(text.starts_with("1.sig: the signature of") && text.ends_with("does not hold"), "{text}");

    let stranger = founder(9);
    let by_stranger = draft.charter.sign_founding(&stranger.keys.identity);
    signatures[1].1 =
        FounderSignature::new(draft.charter.founds(), stranger.keys.inception.node_id(), by_stranger);
    assert!(together(&draft, &signatures).contains("none of the founders"));
}

#[test]
fn only_a_founder_with_the_voting_key_of_its_seat_signs() {
    let founders = founders(4);
    let draft = drafted(&founders);
    let refusal = |keys: &NodeKeys| sign(&draft, Path::new("draft"), keys).unwrap_err().to_string();
    assert!(refusal(&founder(9).keys).contains("none of the founders"));
    let mut other = founder(1).keys;
    other.voting = vec![SecretKey::from_seed([77; 32])];
    assert!(refusal(&other).contains("another voting key"));
    other.voting.clear();
    assert!(refusal(&other).contains("another voting key"));
}

#[test]
fn a_draft_edited_into_something_unsafe_is_not_signed() {
    let founders = founders(4);
    let mut draft = drafted(&founders);
    draft.charter.thresholds.admit = 1;
    let text = sign(&draft, Path::new("draft.toml"), &founders[0].keys).unwrap_err().to_string();
    assert!(text.starts_with("draft.toml: charter refused"), "{text}");
}

#[test]
fn a_file_taken_for_another_or_from_the_future_is_told_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let founder = founder(1);
    let card = write("card", founder.card.to_toml());
    let text = Draft::read(&card).unwrap_err().to_string();
    assert!(text.contains("it is a founder's card, and a draft of a charter is wanted here"), "{text}");

    let newer = write("newer", founder.card.to_toml().replace("card = 1", "card = 2"));
    assert!(Card::read(&newer).unwrap_err().to_string().contains("use a newer frith"));

    let broken = write("broken", founder.card.to_toml().replace("voting_key", "voting_kye"));
    let text = Card::read(&broken).unwrap_err().to_string();
    assert!(text.contains("did you mean `voting_key`?"), "{text}");
}

#[test]
fn a_card_that_does_not_hold_together_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refusal = |card: &Card| {
        let path = dir.path().join("card");
        fs::write(&path, card.to_toml()).unwrap();
        Card::read(&path).unwrap_err().to_string()
    };
    let card = founder(1).card;
    let other = founder(2).card;
    assert!(refusal(&Card { node: other.node, ..card.clone() }).contains("does not follow"));
    let mut forged = card.clone();
    forged.inception.possession = other.inception.possession;
    assert!(refusal(&forged).contains("a signature by"));
    let addresses = vec!["192.0.2.1:5747".to_string()];
    assert!(refusal(&Card { addresses, ..card.clone() }).contains("not an address"));
    let mut small = card.clone();
    small.voting_key.0 = [0; 32];
    small.voting_key.0[0] = 1;
    assert!(refusal(&small).contains("voting key cannot be used"));
}

#[test]
fn one_founder_twice_is_refused_by_the_names_of_the_files() {
    let mut cards = cards(&founders(2));
    cards.push(("again".into(), cards[0].1.clone()));
    let text = draft(&cards, options(), Timestamp(1)).unwrap_err().to_string();
    assert!(text.starts_with("card0 and again are cards of the same founder"), "{text}");
}

#[test]
fn bounds_on_time_and_roles_are_read_from_flags() {
    let mut timing = options().timing;
    parse_timing(&mut timing, "heartbeat=5s").unwrap();
    assert_eq!(timing.heartbeat_ms, 5000);
    let text = parse_timing(&mut timing, "hartbeat=5s").unwrap_err().to_string();
    assert!(text.contains("did you mean `heartbeat`?"), "{text}");
    assert!(parse_timing(&mut timing, "skew").is_err() && parse_timing(&mut timing, "skew=fast").is_err());

    let role = parse_role("gateway=route,relay").unwrap();
    assert_eq!(
        (role.name.as_str(), role.capabilities),
        ("gateway", vec!["relay".to_string(), "route".into()])
    );
    assert!(parse_role("=x").is_err());
}

#[test]
fn secrets_stay_in_their_directory() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path().join("node"));
    keys::create(&home).unwrap();
    let voting = keys::voting_or_new(&home).unwrap();
    let keys = keys::load(&home).unwrap();
    let card = Card::new(&keys, voting.public(), vec![]).unwrap();
    let draft = draft(&[("card".into(), card.clone())], options(), Timestamp(1)).unwrap();
    let signature = sign(&draft, Path::new("draft"), &keys).unwrap();
    let mailed = format!("{}{}{}", card.to_toml(), draft.to_commented_toml(), signature.to_toml());
    for secret in [&keys.identity, &voting] {
        let hex: String = secret.seed().iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!hex.as_bytes().windows(12).any(|part| mailed.contains(str::from_utf8(part).unwrap())));
    }
}
