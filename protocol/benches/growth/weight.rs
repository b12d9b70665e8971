//! What memory a core takes, by a process that does nothing else.

use std::io::Read as _;

use frith_protocol::door::{Core, Record, Table};
use frith_protocol::time::Timestamp;

use super::domain::Person;
use super::nodes::{Node, config};

/// A core of its own process, opened with the records in this file: what memory it takes, in KiB now and at most.
pub(crate) fn weigh(person: &Person, file: &str, now: Timestamp) {
    let records = unpack(std::fs::File::open(file).expect("the file was just written"));
    let node = Core::open(config(person), records, now).expect("the records are sound");
    let status = std::fs::read_to_string("/proc/self/status").expect("this bench runs on Linux");
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel says it");
        line.trim().trim_end_matches(" kB").to_string()
    };
    let height = node.head().map_or(0, |head| head.height);
    println!("{} {} {height}", kib("VmRSS:"), kib("VmHWM:"));
}

/// The records of `node`, for such a process: each as table, length of its key, key, length of its value, value.
pub(crate) fn pack(node: &Node) -> Vec<u8> {
    let mut bytes = Vec::new();
    for ((table, key), value) in &node.disk {
        bytes.push(*table as u8);
        for part in [&key[..], value] {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
    }
    bytes
}

fn unpack(file: std::fs::File) -> Vec<Record> {
    let mut file = std::io::BufReader::new(file);
    let mut records = Vec::new();
    let mut table = [0; 1];
    while file.read(&mut table).expect("the file can be read") == 1 {
        let mut part = || {
            let mut len = [0; 8];
            file.read_exact(&mut len).expect("a length follows");
            let mut part = vec![0; u64::from_le_bytes(len) as usize];
            file.read_exact(&mut part).expect("as many bytes follow");
            part
        };
        let table = Table::ALL[usize::from(table[0])];
        records.push(Record { table, key: part(), value: Some(part().into()) });
    }
    records
}
