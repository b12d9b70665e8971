use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::process::Command;

use super::*;

const OWNER: Owner = Owner { node: NodeId([1; 32]), domain: DomainId([2; 32]) };

/// A home whose store holds one record of every kind that matters here.
struct Bench {
    home: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let home = tempfile::tempdir().unwrap();
        let bench = Bench { home };
        Store::create(&bench.dir(), OWNER, &[put(Table::Meta, "charter", "founding")], &[]).unwrap();
        bench
    }

    fn dir(&self) -> PathBuf {
        self.home.path().join("store")
    }

    fn journal(&self) -> PathBuf {
        self.dir().join("journal")
    }

    fn open(&self) -> Opened {
        Store::open(&self.dir(), OWNER.node, Some(OWNER.domain)).unwrap()
    }

    /// Commits each batch by itself, and closes.
    fn commit(&self, batches: &[&[Record]]) {
        let mut store = self.open().store;
        for batch in batches {
            store.commit(batch).unwrap();
        }
        store.close().unwrap();
    }

    /// Rewrites the journal's bytes.
    fn tamper(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.journal()).unwrap();
        change(&mut bytes);
        fs::write(self.journal(), bytes).unwrap();
    }

    /// As when the newest note of how far the journal is was lost with the power.
    fn forget_the_mark(&self) {
        let (tables, _) = Tables::open(&self.dir().join("tables"), &Quarantine(self.dir())).unwrap();
        tables.put(b"journal mark", None).unwrap();
        tables.flush().unwrap();
    }
}

fn put(table: Table, key: &str, value: &str) -> Record {
    Record { table, key: key.into(), value: Some(value.as_bytes().into()) }
}

fn remove(table: Table, key: &str) -> Record {
    Record { table, key: key.into(), value: None }
}

fn shown(records: &[Record]) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    records
        .iter()
        .map(|r| format!("{:?} {}={}", r.table, text(&r.key), text(r.value.as_deref().unwrap_or_default())))
        .collect()
}

fn only_journal_damage(opened: &Opened) -> &str {
    match &opened.damage[..] {
        [Damage::Journal { why, kept: _ }] => why,
        other => panic!("one damaged journal was expected, not {other:?}"),
    }
}

#[test]
fn what_was_committed_is_there_after_opening_again_in_order_of_table_and_key() {
    let bench = Bench::new();
    bench.commit(&[
        &[put(Table::Final, "b", "block"), put(Table::Journal, "2", "vote"), put(Table::Journal, "1", "old")],
        &[put(Table::Journal, "1", "new"), put(Table::Waiting, "w", "entry"), put(Table::Base, "s", "snap")],
        &[remove(Table::Waiting, "w"), remove(Table::Base, "s"), remove(Table::Endorsed, "never was")],
    ]);
    let opened = bench.open();
    assert_eq!(opened.damage, []);
    assert_eq!(
        shown(&opened.records),
        ["Meta charter=founding", "Journal 1=new", "Journal 2=vote", "Final b=block"]
    );
}

#[test]
fn a_write_that_the_end_of_the_machine_cut_short_is_dropped_whatever_its_length() {
    let bench = Bench::new();
    bench.commit(&[&[put(Table::Journal, "1", "acknowledged")]]);
    let whole = fs::read(bench.journal()).unwrap();
    bench.commit(&[&[put(Table::Journal, "2", "cut short")]]);
    let longer = fs::read(bench.journal()).unwrap();
    bench.forget_the_mark();
    for length in whole.len()..longer.len() {
        fs::write(bench.journal(), &longer[..length]).unwrap();
        let opened = bench.open();
        assert_eq!(opened.damage, [], "cut to {length} bytes");
        assert_eq!(shown(&opened.records), ["Meta charter=founding", "Journal 1=acknowledged"]);
        drop(opened);
        bench.forget_the_mark();
        assert_eq!(fs::read(bench.journal()).unwrap(), whole, "the tail was not cut off at {length} bytes");
    }
}

#[test]
fn a_write_of_which_any_page_did_not_arrive_is_a_torn_tail() {
    let bench = Bench::new();
    bench.commit(&[&[put(Table::Journal, "1", "acknowledged")]]);
    let before = fs::read(bench.journal()).unwrap().len();
    bench.commit(&[&[put(Table::Journal, "2", &"a block ".repeat(3_000))]]);
    let whole = fs::read(bench.journal()).unwrap();
    bench.forget_the_mark();
    let pages: Vec<usize> = (0..whole.len()).step_by(4096).collect();
    assert!(pages.len() > 5);
    for page in pages {
        let mut holed = whole.clone();
        let end = (page + 4096).min(whole.len());
        // What lay in the page before that write is there: it was synced.
        holed[page.max(before).min(end)..end].fill(0);
        fs::write(bench.journal(), &holed).unwrap();
        let opened = bench.open();
        assert_eq!(opened.damage, [], "without the page at {page}");
        assert_eq!(shown(&opened.records), ["Meta charter=founding", "Journal 1=acknowledged"]);
        drop(opened);
        bench.forget_the_mark();
    }
}

#[test]
fn a_file_that_grew_before_its_data_arrived_is_a_torn_tail() {
    let bench = Bench::new();
    bench.commit(&[&[put(Table::Journal, "1", "acknowledged")]]);
    bench.tamper(|bytes| bytes.resize(bytes.len() + 4096, 0));
    let opened = bench.open();
    assert_eq!(opened.damage, []);
    assert_eq!(opened.records.len(), 2);
}

#[test]
fn a_flipped_bit_anywhere_in_an_acknowledged_journal_is_reported_and_no_vote_of_it_is_used() {
    let bench = Bench::new();
    bench.commit(&[
        &[put(Table::Journal, "1", "first")],
        &[put(Table::Journal, "2", "second"), put(Table::Endorsed, "e", "signed")],
        &[put(Table::Journal, "3", "third")],
    ]);
    let whole = fs::read(bench.journal()).unwrap();
    // The version byte has a test of its own: a flip there is a journal from the future.
    for bit in (0..whole.len() * 8).filter(|bit| bit / 8 != 15).step_by(61) {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(bench.journal(), bytes).unwrap();
        let copy = tempfile::tempdir().unwrap();
        copy_dir(bench.home.path(), copy.path());
        let opened = Store::open(&copy.path().join("store"), OWNER.node, None).unwrap();
        only_journal_damage(&opened);
        let shown = shown(&opened.records);
        assert!(shown.iter().all(|record| !record.starts_with("Journal")), "bit {bit}: {shown:?}");
        assert!(shown.contains(&"Meta charter=founding".to_string()), "bit {bit}: {shown:?}");
    }
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

#[test]
fn frames_missing_in_the_middle_are_damage_even_when_nothing_else_remembers_them() {
    let bench = Bench::new();
    let ends: Vec<usize> = ["1", "2", "3"]
        .iter()
        .map(|key| {
            bench.commit(&[&[put(Table::Journal, key, "vote")]]);
            fs::read(bench.journal()).unwrap().len()
        })
        .collect();
    bench.forget_the_mark();
    bench.tamper(|bytes| drop(bytes.drain(ends[0]..ends[1])));
    let opened = bench.open();
    let why = only_journal_damage(&opened);
    assert!(why.contains("does not verify") || why.contains("missing or altered"), "{why}");
    assert_eq!(shown(&opened.records), ["Meta charter=founding"]);
}

#[test]
fn a_length_that_runs_past_the_end_is_damage_when_a_good_frame_follows() {
    let bench = Bench::new();
    bench.commit(&[&[put(Table::Journal, "1", "vote")]]);
    let first_ends = fs::read(bench.journal()).unwrap().len();
    bench.commit(&[&[put(Table::Journal, "2", "vote")], &[put(Table::Journal, "3", "vote")]]);
    bench.forget_the_mark();
    bench.tamper(|bytes| bytes[first_ends + 2] ^= 1);
    let opened = bench.open();
    assert!(only_journal_damage(&opened).contains("missing or altered"));
}

#[test]
fn acknowledged_frames_missing_at_the_end_are_noticed() {
    let bench = Bench::new();
    bench.commit(&[&[put(Table::Journal, "1", "vote"), put(Table::Endorsed, "e", "signed")]]);
    let shorter = fs::read(bench.journal()).unwrap();
    bench.commit(&[&[put(Table::Journal, "2", "vote")]]);
    fs::write(bench.journal(), shorter).unwrap();
    let opened = bench.open();
    assert!(only_journal_damage(&opened).contains("its end is missing"), "{:?}", opened.damage);
    assert_eq!(shown(&opened.records), ["Meta charter=founding", "Endorsed e=signed"]);
}

#[test]
fn a_lost_journal_costs_the_votes_and_not_the_charter_and_is_told_once() {
    let bench = Bench::new();
    bench.commit(&[&[put(Table::Journal, "1", "vote"), put(Table::Final, "b", "block")]]);
    fs::remove_file(bench.journal()).unwrap();
    let opened = bench.open();
    assert_eq!(only_journal_damage(&opened), "the file is missing");
    assert_eq!(shown(&opened.records), ["Meta charter=founding", "Final b=block"]);
    drop(opened);
    let again = bench.open();
    assert_eq!(again.damage, []);
    assert_eq!(shown(&again.records), ["Meta charter=founding", "Final b=block"]);
}

#[test]
fn the_journal_of_an_earlier_life_does_not_pass_for_this_one() {
    let bench = Bench::new();
    bench.commit(&[&[put(Table::Journal, "1", "vote")]]);
    let earlier = fs::read(bench.journal()).unwrap();
    fs::remove_file(bench.journal()).unwrap();
    drop(bench.open());
    fs::write(bench.journal(), earlier).unwrap();
    let opened = bench.open();
    assert!(only_journal_damage(&opened).contains("another life"), "{:?}", opened.damage);
    assert_eq!(shown(&opened.records), ["Meta charter=founding"]);
}

#[test]
fn a_journal_is_rewritten_once_most_of_it_is_dead_and_loses_nothing() {
    let bench = Bench::new();
    let mut store = bench.open().store;
    let big = "x".repeat(64 * 1024);
    let lengths: Vec<u64> = (0..40)
        .map(|i| {
            store
                .commit(&[
                    put(Table::Journal, "same", &format!("{i} {big}")),
                    put(Table::Endorsed, &i.to_string(), "kept"),
                ])
                .unwrap();
            fs::metadata(bench.journal()).unwrap().len()
        })
        .collect();
    assert!(lengths.is_sorted().eq(&false), "it never shrank: {lengths:?}");
    store.close().unwrap();
    let opened = bench.open();
    assert_eq!(opened.damage, []);
    assert_eq!(opened.records.len(), 1 + 1 + 40);
    assert!(opened.records.iter().any(|r| r.value.as_ref().is_some_and(|v| v.starts_with(b"39 x"))));
}

#[test]
fn a_rewrite_that_was_interrupted_leaves_the_old_journal_in_force() {
    let bench = Bench::new();
    bench.commit(&[&[put(Table::Journal, "1", "vote")]]);
    fs::write(bench.dir().join("journal.new"), "half of a rewritten journal").unwrap();
    let opened = bench.open();
    assert_eq!(opened.damage, []);
    assert_eq!(opened.records.len(), 2);
    assert!(!bench.dir().join("journal.new").exists());
}

#[test]
fn a_damaged_record_is_named_set_aside_and_not_used() {
    let bench = Bench::new();
    bench.commit(&[&[put(Table::Final, "good", "block"), put(Table::Final, "bad", "block")]]);
    let (tables, _) = Tables::open(&bench.dir().join("tables"), &Quarantine(bench.dir())).unwrap();
    let mut sealed = tables.get_raw(Table::Final, b"bad");
    sealed[3] ^= 0x40;
    tables.put_raw(Table::Final, b"bad", &sealed);
    drop(tables);

    let opened = bench.open();
    assert_eq!(shown(&opened.records), ["Meta charter=founding", "Final good=block"]);
    let [Damage::Record { table: Table::Final, key, why, kept }] = &opened.damage[..] else {
        panic!("one damaged record was expected, not {:?}", opened.damage);
    };
    assert_eq!((key.as_str(), why.as_str()), ("626164", "its checksum does not hold"));
    assert_eq!(fs::read(kept).unwrap(), sealed);
    drop(opened);
    assert_eq!(bench.open().damage, []);
}

#[test]
fn a_record_moved_to_another_key_or_table_does_not_verify() {
    let bench = Bench::new();
    bench.commit(&[&[put(Table::Final, "1", "block"), put(Table::Base, "1", "snapshot")]]);
    let (tables, _) = Tables::open(&bench.dir().join("tables"), &Quarantine(bench.dir())).unwrap();
    let block = tables.get_raw(Table::Final, b"1");
    tables.put_raw(Table::Final, b"2", &block);
    tables.put_raw(Table::Base, b"1", &block);
    drop(tables);
    let opened = bench.open();
    assert_eq!(shown(&opened.records), ["Meta charter=founding", "Final 1=block"]);
    assert_eq!(opened.damage.len(), 2);
}

#[test]
fn a_database_that_does_not_open_is_set_aside_and_a_new_one_takes_its_place() {
    let bench = Bench::new();
    bench.commit(&[&[put(Table::Journal, "1", "vote"), put(Table::Final, "1", "block")]]);
    fs::write(bench.dir().join("tables/db"), "nonsense").unwrap();
    let opened = bench.open();
    let [Damage::Tables { kept, .. }] = &opened.damage[..] else {
        panic!("a damaged database was expected, not {:?}", opened.damage);
    };
    assert!(kept.join("conf").exists());
    assert_eq!(shown(&opened.records), ["Meta charter=founding", "Journal 1=vote"]);
}

#[test]
fn what_the_database_drops_of_itself_is_missed_after_a_clean_stop() {
    let bench = Bench::new();
    let blocks: Vec<Record> =
        (0..50).map(|i| put(Table::Final, &i.to_string(), &"block".repeat(100))).collect();
    bench.commit(&[&[put(Table::Journal, "1", "vote")], &blocks]);
    let whole = fs::read(bench.dir().join("tables/db")).unwrap();
    let mut fewer = 0;
    for at in (0..60_000).step_by(4_999) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        fs::write(bench.dir().join("tables/db"), bytes).unwrap();
        let copy = tempfile::tempdir().unwrap();
        copy_dir(bench.home.path(), copy.path());
        let opened = Store::open(&copy.path().join("store"), OWNER.node, None).unwrap();
        assert!(shown(&opened.records).contains(&"Journal 1=vote".to_string()));
        let missing = 52 - opened.records.len();
        assert_eq!(
            missing == 0,
            opened.damage.is_empty(),
            "byte {at}: {missing} missing, {:?}",
            opened.damage
        );
        fewer += usize::from(missing > 0);
    }
    assert!(fewer > 5, "the damage did not bite: {fewer}");
}

#[test]
fn a_store_is_refused_by_whoever_is_not_its_owner_or_is_older_than_it() {
    let bench = Bench::new();
    let refusal = |node, domain| Store::open(&bench.dir(), node, domain).err().unwrap().to_string();

    let other = refusal(NodeId([9; 32]), None);
    assert!(other.contains("belongs to node 0101") && other.contains("those of 0909"), "{other}");
    let domain = refusal(OWNER.node, Some(DomainId([7; 32])));
    assert!(domain.contains("is of domain 0202") && domain.contains("not of 0707"), "{domain}");

    let label = fs::read_to_string(bench.dir().join("label")).unwrap();
    fs::write(bench.dir().join("label"), label.replace("format = 1", "format = 2\nsecrets = true")).unwrap();
    let newer = refusal(OWNER.node, None);
    assert!(newer.contains("format 2") && newer.contains("use a newer frith"), "{newer}");
    fs::write(bench.dir().join("label"), "format = \"?").unwrap();
    assert!(refusal(OWNER.node, None).contains("restore this file"));
    fs::write(bench.dir().join("label"), label).unwrap();

    bench.tamper(|bytes| bytes[15] = 2);
    let newer = refusal(OWNER.node, None);
    assert!(newer.contains("journal") && newer.contains("use a newer frith"), "{newer}");
}

#[test]
fn a_store_is_made_once_and_wholly() {
    let bench = Bench::new();
    let again =
        Store::create(&bench.dir(), Owner { domain: DomainId([3; 32]), ..OWNER }, &[], &[]).unwrap_err();
    assert!(again.to_string().contains("there is a store already, of domain 0202"), "{again}");

    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("store");
    assert!(matches!(Store::open(&dir, OWNER.node, None), Err(StoreError::Missing { .. })));
    // What a crash in the middle leaves is no store, and no obstacle.
    fs::create_dir_all(home.path().join("store.new/tables")).unwrap();
    Store::create(&dir, OWNER, &[], &[]).unwrap();
    assert!(Store::open(&dir, OWNER.node, None).is_ok());
}

#[test]
fn a_second_opening_is_refused_and_names_the_process_that_holds_the_store() {
    let bench = Bench::new();
    let _held = bench.open();
    let refusal = Store::open(&bench.dir(), OWNER.node, None).err().unwrap().to_string();
    assert!(refusal.contains(&format!("in use by process {}", std::process::id())), "{refusal}");
}

#[test]
fn the_hosts_own_notes_are_kept_beside_the_records() {
    let bench = Bench::new();
    let mut store = bench.open().store;
    assert_eq!(store.note("addresses").unwrap(), None);
    store.set_note("addresses", b"book").unwrap();
    store.close().unwrap();
    let opened = bench.open();
    assert_eq!(opened.store.note("addresses").unwrap().as_deref(), Some(&b"book"[..]));
    assert_eq!(opened.records.len(), 1);
}

#[test]
fn after_a_write_that_failed_the_journal_takes_nothing_more() {
    let home = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(&home.path().join("journal"), OWNER, [3; 16]).unwrap();
    journal.append(&[&put(Table::Journal, "1", "vote")]).unwrap();
    // Every write to this device fails as on a full disk.
    let good = journal.swap_file(OpenOptions::new().write(true).open("/dev/full").unwrap());
    let refusal = journal.append(&[&put(Table::Journal, "2", "vote")]).unwrap_err().to_string();
    assert!(refusal.contains("make room"), "{refusal}");
    journal.swap_file(good);
    let refusal = journal.append(&[&put(Table::Journal, "2", "vote")]).unwrap_err().to_string();
    assert!(refusal.contains("takes nothing more"), "{refusal}");
    drop(journal);
    let read = Journal::read(&home.path().join("journal"), OWNER).unwrap();
    let Reading::Intact { journal, torn_bytes: 0 } = read else { panic!("{read:?}") };
    assert_eq!(journal.records().unwrap().len(), 1);
}

/// A small file system of its own, where the one who runs the tests may mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<SmallDisk> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(dir.path())
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then_some(SmallDisk(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(self.0.path()).status();
        assert!(status.is_ok_and(|status| status.success()), "the small disk was not unmounted");
    }
}

#[test]
fn a_full_disk_is_an_error_that_says_so_and_nothing_acknowledged_is_lost() {
    let Some(disk) = SmallDisk::mount("6m") else {
        eprintln!("skipped: mounting a small disk needs more rights; the /dev/full test stands in");
        return;
    };
    let dir = disk.0.path().join("store");
    Store::create(&dir, OWNER, &[put(Table::Meta, "charter", "founding")], &[]).unwrap();
    let mut store = Store::open(&dir, OWNER.node, None).unwrap().store;
    let mut acknowledged = 0;
    let value = "v".repeat(20_000);
    let failure = loop {
        match store.commit(&[put(Table::Endorsed, &format!("{acknowledged:06}"), &value)]) {
            Ok(()) => acknowledged += 1,
            Err(failure) => break failure.to_string(),
        }
        assert!(acknowledged < 1000, "the disk never filled up");
    };
    assert!(acknowledged > 20 && failure.contains("make room"), "after {acknowledged}: {failure}");
    assert!(store.commit(&[put(Table::Endorsed, "more", "x")]).is_err());
    drop(store);

    // Room is made: what was said to be stored is there, and what was not may be only as a whole.
    let opened = {
        let ballast = disk.0.path().join("store/journal.new");
        drop(fs::remove_file(ballast));
        let status = Command::new("mount").args(["-o", "remount,size=16m"]).arg(disk.0.path()).status();
        assert!(status.unwrap().success());
        Store::open(&dir, OWNER.node, None).unwrap()
    };
    assert!(
        !opened.damage.iter().any(|damage| matches!(damage, Damage::Journal { .. })),
        "{:?}",
        opened.damage
    );
    let kept = opened.records.iter().filter(|record| record.table == Table::Endorsed).count();
    assert_eq!(kept, acknowledged);
    drop(opened);
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_that_names_it() {
    let home = tempfile::tempdir().unwrap();
    // Not by permissions: whoever runs the tests may be above them.
    let file = home.path().join("file");
    fs::write(&file, "").unwrap();
    let refusal = Store::create(&file.join("store"), OWNER, &[], &[]).unwrap_err().to_string();
    assert!(refusal.contains("file/store.lock: cannot create the lock"), "{refusal}");
}

impl Journal {
    fn swap_file(&mut self, file: std::fs::File) -> std::fs::File {
        let mut old = self.replace_file(file);
        old.seek(SeekFrom::End(0)).unwrap();
        old.flush().unwrap();
        old
    }
}

#[test]
fn what_was_synced_is_in_the_files_and_not_in_this_process_alone() {
    let bench = Bench::new();
    let mut store = bench.open().store;
    store.commit(&[put(Table::Final, "b", "denial")]).unwrap();
    store.sync_all().unwrap();
    // What another process would find if this one were killed now.
    let found = Bench { home: tempfile::tempdir().unwrap() };
    copy(&bench.dir(), &found.dir());
    drop(store);
    assert_eq!(shown(&found.open().records), ["Meta charter=founding", "Final b=denial"]);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

#[test]
fn an_archive_is_not_opened_with_the_rest_and_pieces_of_it_are_looked_up_by_height() {
    let bench = Bench::new();
    let block = |height: u64, bytes: usize| Record {
        table: Table::Archive,
        key: height.to_be_bytes().to_vec(),
        value: Some(vec![height as u8; bytes].into()),
    };
    let large = ARCHIVE_ANSWER_BYTES_MAX / 2;
    bench.commit(&[&[block(3, 10), block(5, 20), block(8, large), block(9, large), block(12, 30)]]);
    let opened = bench.open();
    assert_eq!((shown(&opened.records), opened.damage), (vec!["Meta charter=founding".to_string()], vec![]));
    let heights = |above: u64| -> Vec<u8> {
        opened.store.archived(above).unwrap().iter().map(|record| record[0]).collect()
    };
    // The newest up to there, and what follows, as much as fits.
    assert_eq!(heights(0), [3, 5, 8]);
    assert_eq!(heights(4), [3, 5, 8]);
    assert_eq!(heights(5), [5, 8]);
    assert_eq!(heights(9), [9, 12]);
    assert_eq!(heights(u64::MAX), [12]);
}
