use std::os::unix::fs::PermissionsExt;

use frith_protocol::state::TicketId;

use super::*;

fn node() -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path().join("node"));
    keys::create(&home).unwrap();
    fs::write(home.config(), "mdns = true\n").unwrap();
    (dir, home)
}

fn record(table: Table, key: &[u8]) -> Record {
    Record { table, key: key.to_vec(), value: Some(Arc::from(&b"value"[..])) }
}

const DOMAIN: DomainId = DomainId([4; 32]);

/// One record of each table, as a node may have them.
fn known() -> Known {
    let records = Table::ALL.into_iter().map(|table| record(table, b"key")).collect();
    Known { domain: DOMAIN, height: Some(7), records, notes: vec![("address hints".into(), b"{}".to_vec())] }
}

fn rotate(home: &Home) {
    let prepared = rotation::prepare(home, None).unwrap();
    rotation::stage(home, &prepared).unwrap();
    rotation::finish(home).unwrap();
}

/// Everything in a directory and below it, as text where it is text.
fn all_files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { all_files(&path) } else { vec![path] }).collect()
}

#[test]
fn what_comes_back_is_the_same_node_and_nothing_with_which_it_could_contradict_itself() {
    let (dir, home) = node();
    rotate(&home);
    keys::new_voting_key(&home).unwrap();
    keys::keep_ticket_key(&home, &TicketId([5; 32]), &keys::random_key().unwrap()).unwrap();
    let file = dir.path().join("backup");
    take(&home, Some(known()), Timestamp(10), true).unwrap().write(&file).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let there = Home::at(dir.path().join("there"));
    let backup = Backup::read(&file).unwrap();
    assert_eq!((backup.made, backup.height, backup.key_sequence), (Timestamp(10), Some(7), 1));
    restore(&there, &backup, &file, Timestamp(20)).unwrap();
    let (before, after) = (keys::load(&home).unwrap(), keys::load(&there).unwrap());
    assert_eq!((after.inception, after.rotations), (before.inception, before.rotations));
    assert_eq!(after.identity.public(), before.identity.public());
    assert_eq!(fs::read(there.config()).unwrap(), fs::read(home.config()).unwrap());
    assert_eq!(
        Restored::of(&there).unwrap(),
        Some(Restored { made: Timestamp(10), at: Timestamp(20), began: None })
    );
    assert_eq!(Restored::of(&home).unwrap(), None);
    // It can go on rotating.
    assert_eq!(rotation::prepare(&there, None).unwrap().rotation.sequence, 2);

    // What it signed, and what it signed it with, did not come along.
    assert_eq!((before.voting.len(), after.voting.len()), (1, 0));
    let opened = Store::open(&there.store(), backup.node, Some(DOMAIN)).unwrap();
    let tables: Vec<Table> = opened.records.iter().map(|record| record.table).collect();
    assert_eq!(tables, [Table::Meta, Table::Meta, Table::Charters]);
    // It begins without a state, and takes a snapshot.
    assert!(opened.records.contains(&frith_protocol::door::returning_record(7)));
    assert_eq!(opened.store.note("address hints").unwrap(), Some(b"{}".to_vec()));
    let kept: Vec<_> =
        all_files(&there.keys()).into_iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
}

#[test]
fn the_next_key_can_be_left_out_or_may_have_been_moved_away() {
    let (dir, home) = node();
    assert!(take(&home, None, Timestamp(1), true).unwrap().has_next_key());
    let without = take(&home, None, Timestamp(1), false).unwrap();
    assert!(!without.has_next_key());
    let there = Home::at(dir.path().join("there"));
    restore(&there, &without, Path::new("b"), Timestamp(2)).unwrap();
    assert!(!there.store().exists() && !there.keys().join("next.key").exists());
    let missing = rotation::prepare(&there, None).unwrap_err().to_string();
    assert!(missing.contains("--next-key"), "{missing}");
    rotation::prepare(&there, Some(&home.keys().join("next.key"))).unwrap();
    fs::remove_file(home.keys().join("next.key")).unwrap();
    assert!(!take(&home, None, Timestamp(1), true).unwrap().has_next_key());
}

#[test]
fn a_backup_that_is_not_whole_or_was_changed_is_refused_whatever_is_wrong_with_it() {
    let (dir, home) = node();
    let file = dir.path().join("backup");
    let backup = take(&home, Some(known()), Timestamp(10), true).unwrap();
    backup.write(&file).unwrap();
    let again = backup.write(&file).unwrap_err().to_string();
    assert!(again.contains("never written over"), "{again}");
    let whole = fs::read(&file).unwrap();
    for length in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
        fs::write(&file, &whole[..length]).unwrap();
        Backup::read(&file).expect_err("a backup that was cut short was taken");
    }
    for at in (0..whole.len()).step_by(11) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&file, &changed).unwrap();
        Backup::read(&file).expect_err("a changed backup was taken");
    }
    fs::write(&file, b"frith backup 2\n").unwrap();
    assert!(matches!(Backup::read(&file), Err(BackupError::Newer { .. })));

    // Nor does one that somebody put together of the parts of two.
    let (_other_dir, other) = node();
    let mut mixed = backup.clone();
    mixed.identity = Secret::of(&keys::load(&other).unwrap().identity);
    let there = Home::at(dir.path().join("there"));
    let why = restore(&there, &mixed, &file, Timestamp(20)).unwrap_err().to_string();
    assert!(why.contains("not the one that its rotations lead to"), "{why}");
    let mut mixed = backup.clone();
    mixed.next = Some(Secret::of(&keys::random_key().unwrap()));
    let why = restore(&there, &mixed, &file, Timestamp(20)).unwrap_err().to_string();
    assert!(why.contains("not the one that was committed to"), "{why}");
    let mut forged = backup.clone();
    forged.records.push(Kept { table: Table::Journal, key: "00".into(), value: "00".into() });
    let why = restore(&there, &forged, &file, Timestamp(20)).unwrap_err().to_string();
    assert!(why.contains("one of its records cannot be read"), "{why}");
    // None of them stands in the way of one that is right.
    restore(&there, &backup, &file, Timestamp(20)).unwrap();
    assert_eq!(keys::load(&there).unwrap().identity.public(), keys::load(&home).unwrap().identity.public());
}

#[test]
fn nothing_of_a_node_is_written_over_and_a_restore_that_was_cut_short_is_gone_on_with() {
    let (dir, home) = node();
    let backup = take(&home, Some(known()), Timestamp(10), true).unwrap();
    let occupied = restore(&home, &backup, Path::new("b"), Timestamp(20)).unwrap_err();
    assert!(matches!(occupied, BackupError::Occupied { .. }), "{occupied}");

    let there = Home::at(dir.path().join("there"));
    restore(&there, &backup, Path::new("b"), Timestamp(20)).unwrap();
    let occupied = restore(&there, &backup, Path::new("b"), Timestamp(20)).unwrap_err();
    assert!(matches!(occupied, BackupError::Occupied { .. }), "{occupied}");
    // As a kill before its last step leaves it.
    fs::rename(there.keys(), there.dir().join("keys.new")).unwrap();
    let (_other_dir, other) = node();
    let not_begun = restore(&there, &backup, Path::new("b"), Timestamp(30)).unwrap_err();
    assert!(
        matches!(not_begun, BackupError::Occupied { .. }),
        "a node whose keys were moved away: {not_begun}"
    );
    fs::write(begun(&there), "").unwrap();
    fs::write(mark(&there), "").unwrap();
    let half = keys::load(&there).expect_err("half a node can be run").to_string();
    assert!(half.contains("cut short") && half.contains("frith restore"), "{half}");
    restore(&there, &backup, Path::new("b"), Timestamp(30)).unwrap();
    keys::load(&there).unwrap();
    assert!(!begun(&there).exists());
    Store::open(&there.store(), backup.node, Some(DOMAIN)).unwrap();
    // Another backup may have been begun with, of a node that had rotated.
    rotate(&home);
    let rotated = take(&home, Some(known()), Timestamp(10), true).unwrap();
    let twice = Home::at(dir.path().join("twice"));
    restore(&twice, &rotated, Path::new("b"), Timestamp(20)).unwrap();
    fs::remove_dir_all(twice.keys()).unwrap();
    fs::write(begun(&twice), "").unwrap();
    restore(&twice, &backup, Path::new("b"), Timestamp(30)).unwrap();
    assert_eq!(keys::load(&twice).unwrap().rotations, []);
    // A store that no restore made stays as it is.
    fs::remove_dir_all(other.keys()).unwrap();
    let occupied = restore(&other, &backup, Path::new("b"), Timestamp(20)).unwrap_err();
    assert!(matches!(occupied, BackupError::Occupied { .. }), "{occupied}");
}

#[test]
fn a_next_key_that_a_restore_would_refuse_is_not_backed_up() {
    let (_dir, home) = node();
    let (_other_dir, other) = node();
    fs::copy(other.keys().join("next.key"), home.keys().join("next.key")).unwrap();
    assert!(matches!(take(&home, None, Timestamp(1), true), Err(BackupError::WrongNext { .. })));
    take(&home, None, Timestamp(1), false).unwrap();
}

#[test]
fn while_a_rotation_is_on_its_way_there_is_no_backup() {
    let (_dir, home) = node();
    let prepared = rotation::prepare(&home, None).unwrap();
    rotation::stage(&home, &prepared).unwrap();
    assert!(matches!(take(&home, None, Timestamp(1), true), Err(BackupError::Rotating)));
    rotation::finish(&home).unwrap();
    take(&home, None, Timestamp(1), true).unwrap();
}

#[test]
fn whether_the_log_has_moved_since_a_restore_does_not_rest_on_the_clock_of_one_machine() {
    let (_dir, home) = node();
    let at = |ms| Some(Timestamp(ms));
    // Restored on a machine whose clock had begun at zero, of one whose clock was no better.
    let mut restored = Restored { made: Timestamp(3), at: Timestamp(5), began: None };
    assert!(!restored.has_seen_later(at(1_000)), "it has seen one block, and none that is later");
    restored.begin_at(&home, Timestamp(1_000)).unwrap();
    assert!(!restored.has_seen_later(None) && !restored.has_seen_later(at(1_000)));
    assert!(restored.has_seen_later(at(1_001)));
    // The first is the first, also after a restart.
    restored.begin_at(&home, Timestamp(2_000)).unwrap();
    assert_eq!(Restored::of(&home).unwrap(), Some(restored));
    assert_eq!(restored.began, at(1_000));
    // A clock that was ahead makes one wait, and no more.
    let ahead = Restored { at: Timestamp(9_000), ..restored };
    assert!(!ahead.has_seen_later(at(9_000)) && ahead.has_seen_later(at(9_001)));
    let ahead = Restored { made: Timestamp(9_000), ..restored };
    assert!(!ahead.has_seen_later(at(9_000)) && ahead.has_seen_later(at(9_001)));
}
