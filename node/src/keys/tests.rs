use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn home() -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path().join("node"));
    (dir, home)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn voting_name(key: &SecretKey) -> String {
    format!("voting-{}.key", key.public())
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn keys_are_made_for_their_owner_only_and_read_back_as_they_were() {
    let (_dir, home) = home();
    let made = create(&home).unwrap();
    let voting = voting_or_new(&home).unwrap();
    for path in [home.dir().to_path_buf(), home.keys()] {
        assert_eq!(mode(&path), 0o700, "{path:?}");
    }
    for name in ["identity.key", "next.key", &voting_name(&voting)] {
        assert_eq!(mode(&home.keys().join(name)), 0o600, "{name}");
    }
    let read = load(&home).unwrap();
    assert_eq!(read.inception, made.inception);
    assert_eq!(read.identity.seed(), made.identity.seed());
    assert_eq!(read.voting.iter().map(SecretKey::seed).collect::<Vec<_>>(), [voting.seed()]);
    assert_eq!(voting_or_new(&home).unwrap().seed(), voting.seed());
    assert!(!home.dir().join("keys.new").exists());
}

#[test]
fn a_second_identity_is_not_made_over_the_first() {
    let (_dir, home) = home();
    let first = create(&home).unwrap();
    assert!(matches!(create(&home), Err(KeyError::Exists { .. })));
    assert_eq!(load(&home).unwrap().inception, first.inception);
}

#[test]
fn keys_that_others_may_read_are_refused_with_the_command_that_mends_it() {
    let (_dir, home) = home();
    create(&home).unwrap();
    let voting = voting_or_new(&home).unwrap();
    let refusal = || load(&home).unwrap_err().to_string();
    for name in ["identity.key", "next.key", &voting_name(&voting)] {
        let path = home.keys().join(name);
        set_mode(&path, 0o640);
        let text = refusal();
        assert!(text.ends_with(&format!("run: chmod 0600 {}", path.display())), "{text}");
        set_mode(&path, 0o600);
    }
    set_mode(&home.keys(), 0o750);
    assert!(refusal().contains("run: chmod 0700"), "{}", refusal());
    set_mode(&home.keys(), 0o700);
    set_mode(home.dir(), 0o770);
    assert!(refusal().contains("run: chmod 0700"), "{}", refusal());
    set_mode(home.dir(), 0o755);
    load(&home).unwrap();
}

#[test]
fn a_key_file_that_is_a_link_is_refused() {
    let (_dir, home) = home();
    create(&home).unwrap();
    let (path, elsewhere) = (home.keys().join("identity.key"), home.dir().join("elsewhere"));
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    let text = load(&home).unwrap_err().to_string();
    assert!(text.contains("it is a link"), "{text}");
}

#[test]
fn any_changed_character_of_a_key_file_is_noticed_and_none_is_told() {
    let (_dir, home) = home();
    create(&home).unwrap();
    let path = home.keys().join("identity.key");
    let whole = fs::read_to_string(&path).unwrap();
    for at in 0..whole.len() - 1 {
        let mut bytes = whole.clone().into_bytes();
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        fs::write(&path, bytes).unwrap();
        let error = load(&home).expect_err(&whole);
        let secret = whole.lines().last().unwrap().strip_prefix("secret ").unwrap();
        let told = format!("{error} {error:?}");
        assert!(!secret.as_bytes().windows(12).any(|part| told.contains(str::from_utf8(part).unwrap())));
    }
    for length in 0..whole.len() - 1 {
        fs::write(&path, &whole[..length]).unwrap();
        load(&home).expect_err("a truncated key was taken");
    }
}

#[test]
fn keys_that_were_swapped_or_lie_beside_another_identity_are_refused() {
    let (_dir, home) = home();
    create(&home).unwrap();
    let keys = home.keys();
    let identity = fs::read(keys.join("identity.key")).unwrap();
    fs::copy(keys.join("next.key"), keys.join("identity.key")).unwrap();
    let text = load(&home).unwrap_err().to_string();
    assert!(text.contains("it is the next key, and the identity key belongs here"), "{text}");
    fs::write(keys.join("identity.key"), identity).unwrap();

    let (_other_dir, other) = self::home();
    create(&other).unwrap();
    fs::copy(other.inception(), home.inception()).unwrap();
    let text = load(&home).unwrap_err().to_string();
    assert!(text.contains("of another identity"), "{text}");
}

#[test]
fn a_directory_without_keys_says_which_command_makes_them() {
    let (_dir, home) = home();
    let text = load(&home).unwrap_err().to_string();
    assert!(text.ends_with(&format!("run: frith init --dir {}", home.dir().display())), "{text}");
}

#[test]
fn the_next_key_may_be_moved_away() {
    let (_dir, home) = home();
    create(&home).unwrap();
    fs::remove_file(home.keys().join("next.key")).unwrap();
    load(&home).unwrap();
}

#[test]
fn what_can_be_printed_of_keys_shows_no_secret() {
    let (_dir, home) = home();
    let keys = create(&home).unwrap();
    let seed: String = keys.identity.seed().iter().map(|byte| format!("{byte:02x}")).collect();
    let shown = format!("{keys:?}");
    assert!(shown.contains("SecretKey(of"));
    assert!(!seed.as_bytes().windows(8).any(|part| shown.contains(str::from_utf8(part).unwrap())));
}

#[test]
fn the_key_of_a_ticket_is_kept_until_it_is_forgotten() {
    let (_dir, home) = home();
    create(&home).unwrap();
    let (id, key) = (TicketId([5; 32]), random_key().unwrap());
    assert!(ticket_key(&home, &id).unwrap().is_none());
    keep_ticket_key(&home, &id, &key).unwrap();
    assert_eq!(ticket_key(&home, &id).unwrap().unwrap().seed(), key.seed());
    forget_ticket_key(&home, &id);
    assert!(ticket_key(&home, &id).unwrap().is_none());
}

#[test]
fn of_all_keys_only_those_of_tickets_that_are_over_are_forgotten() {
    let (_dir, home) = home();
    create(&home).unwrap();
    voting_or_new(&home).unwrap();
    let (alive, over) = (TicketId([5; 32]), TicketId([6; 32]));
    for id in [&alive, &over] {
        keep_ticket_key(&home, id, &random_key().unwrap()).unwrap();
    }
    fs::write(home.keys().join("ticket-notes.key"), "").unwrap();
    forget_ticket_keys_but(&home, &BTreeSet::from([alive])).unwrap();
    assert!(ticket_key(&home, &alive).unwrap().is_some());
    assert!(ticket_key(&home, &over).unwrap().is_none());
    assert!(home.keys().join("ticket-notes.key").exists());
    load(&home).unwrap();
}

#[test]
fn only_voting_keys_that_are_over_are_destroyed_and_nothing_else() {
    let (_dir, home) = home();
    create(&home).unwrap();
    let (over, seat, fresh) =
        (new_voting_key(&home).unwrap(), new_voting_key(&home).unwrap(), new_voting_key(&home).unwrap());
    keep_ticket_key(&home, &TicketId([5; 32]), &random_key().unwrap()).unwrap();
    assert_eq!(destroy_voting_keys(&home, |key| *key == over.public()).unwrap(), 1);
    let left: BTreeSet<_> = load(&home).unwrap().voting.iter().map(SecretKey::public).collect();
    assert_eq!(left, BTreeSet::from([seat.public(), fresh.public()]));
    assert!(ticket_key(&home, &TicketId([5; 32])).unwrap().is_some());
}

#[test]
fn a_voting_key_that_was_half_written_when_the_node_was_killed_does_not_keep_it_from_starting() {
    let (_dir, home) = home();
    create(&home).unwrap();
    let key = new_voting_key(&home).unwrap();
    let whole = fs::read(home.keys().join(voting_name(&key))).unwrap();
    let half = home.keys().join(format!("voting-{}.new", random_key().unwrap().public()));
    fs::write(&half, &whole[..100]).unwrap();
    assert_eq!(load(&home).unwrap().voting.len(), 1);
    sweep(&home).unwrap();
    assert!(!half.exists());
    assert_eq!(load(&home).unwrap().voting.len(), 1);
}

#[test]
fn a_voting_key_under_the_name_of_another_is_refused() {
    let (_dir, home) = home();
    create(&home).unwrap();
    let key = new_voting_key(&home).unwrap();
    let other = home.keys().join(voting_name(&random_key().unwrap()));
    fs::rename(home.keys().join(voting_name(&key)), other).unwrap();
    let text = load(&home).unwrap_err().to_string();
    assert!(text.contains("another voting key than its name says"), "{text}");
}
