//! Changed, missing, doubled and torn lines are found and named.

use super::*;

#[test]
fn a_whole_log_is_verified() {
    let folder = Folder::new();
    let seen = folder.verify();
    assert_eq!((seen.lines, seen.files, seen.first_seq, seen.last_seq, &seen.fault), (100, 3, Some(1), Some(100), &None));
    assert!(!seen.beginning_is_gone && seen.chain.is_some());
    let gone = format!("{}.gz", folder.segment(1));
    std::fs::remove_file(folder.path(&gone)).unwrap();
    assert_eq!(folder.verify().fault.map(|fault| (fault.line, fault.seq, fault.kind)), Some((1, Some(41), FaultKind::NothingBefore)));
    // The limits on what is kept delete whole files from the front, and tell.
    folder.remember_deleted(40);
    let seen = folder.verify();
    assert_eq!((seen.lines, seen.first_seq, seen.fault, seen.beginning_is_gone), (60, Some(41), None, true));
}

#[test]
fn each_changed_byte_of_the_first_line_that_is_left_is_found() {
    let folder = Folder { folder: tempfile::tempdir().unwrap(), lines: lines(6) };
    folder.remember_deleted(1);
    folder.remember_deleted(3);
    let whole = file(&folder.lines[3..]);
    folder.write("log.jsonl", &whole);
    assert_eq!(folder.verify().fault, None);
    for place in 0..folder.lines[3].len() {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        folder.write("log.jsonl", &changed);
        assert_eq!(folder.verify().fault.unwrap_or_else(|| panic!("byte {place} goes unnoticed")).line, 1, "byte {place}");
    }
}

#[test]
fn the_first_lines_number_can_not_be_changed_to_another_one() {
    for first in [0, 9] {
        let folder = Folder { folder: tempfile::tempdir().unwrap(), lines: lines(11) };
        folder.remember_deleted(first as u64);
        for others in [0, 1] {
            let left = file(&folder.lines[first..=first + others]);
            for number in (0..130).filter(|number| *number != first + 1) {
                let told = format!("\"seq\":{},", first + 1);
                let changed = String::from_utf8(left.clone()).unwrap().replacen(&told, &format!("\"seq\":{number},"), 1);
                folder.write("log.jsonl", changed.as_bytes());
                let fault = folder.verify().fault.unwrap_or_else(|| panic!("seq {number} goes unnoticed"));
                assert_eq!(fault.line, 1, "seq {number}: {fault:?}");
            }
        }
    }
}

#[test]
fn each_changed_byte_is_found_and_its_line_is_named() {
    let folder = Folder { folder: tempfile::tempdir().unwrap(), lines: lines(4) };
    let whole = file(&folder.lines);
    for place in 0..whole.len() {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        folder.write("log.jsonl", &changed);
        let fault = folder.reader().verify(|| true).unwrap().fault.unwrap_or_else(|| panic!("byte {place} goes unnoticed"));
        let line = whole[..place].iter().filter(|&&byte| byte == b'\n').count() as u64 + 1;
        assert_eq!((fault.line, fault.file.as_path()), (line, folder.path("log.jsonl").as_path()), "byte {place}: {fault:?}");
    }
}

#[test]
fn what_is_missing_doubled_or_torn_is_found() {
    let folder = Folder { folder: tempfile::tempdir().unwrap(), lines: lines(6) };
    let fault = |lines: &[&[u8]]| {
        folder.write("log.jsonl", &lines.concat());
        folder.verify().fault.map(|fault| (fault.line, fault.kind))
    };
    let all: Vec<Vec<u8>> = folder.lines.iter().map(|line| [line, &b"\n"[..]].concat()).collect();
    let line = |seq: usize| &all[seq - 1][..];
    assert_eq!(fault(&[line(1), line(2), line(4)]), Some((3, FaultKind::Changed)));
    assert_eq!(fault(&[line(1), line(2), line(2)]), Some((3, FaultKind::Changed)));
    assert_eq!(fault(&[line(1), line(2), &line(3)[..20]]), Some((3, FaultKind::Torn)));
    // Without chains, numbers still tell.
    let bare: Vec<Vec<u8>> = [1, 2, 4].map(|seq| format!("{{\"seq\":{seq}}}\n").into_bytes()).to_vec();
    assert_eq!(fault(&[&bare[0], &bare[1], &bare[2]]), Some((3, FaultKind::WrongNumber { expected: 3 })));
    assert_eq!(fault(&[&bare[0], b"[]\n"]), Some((2, FaultKind::NotALine)));
    assert_eq!(fault(&[&bare[0], &bare[1]]), None);
}

#[test]
fn lines_of_older_formats_are_covered_by_the_next_chain() {
    let folder = Folder { folder: tempfile::tempdir().unwrap(), lines: Vec::new() };
    let old: [&[u8]; 2] = [br#"{"timestamp":"2024-01-01T00:00:00Z","prompt":"a","response":"b"}"#, br#"{"prompt":"c","seq":1}"#];
    let mut previous = chain::START;
    old.iter().for_each(|line| previous = chain::link(&previous, line));
    let mut new = br#"{"prompt":"d","seq":2}"#.to_vec();
    chain::seal(&previous, &mut new);
    folder.write("log.jsonl", &[old[0], b"\n", old[1], b"\n", &new, b"\n"].concat());
    let seen = folder.verify();
    assert_eq!((seen.lines, seen.without_chain, seen.fault), (3, 2, None));
    folder.write("log.jsonl", &[&old[0].to_ascii_uppercase()[..], b"\n", old[1], b"\n", &new, b"\n"].concat());
    assert!(folder.verify().fault.is_some());
}

#[test]
fn a_damaged_segment_is_named() {
    let folder = Folder::new();
    let name = format!("{}.gz", folder.segment(1));
    let mut bytes = std::fs::read(folder.path(&name)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    folder.write(&name, &bytes);
    let fault = folder.verify().fault.unwrap();
    assert_eq!(fault.file, folder.path(&name));
    assert!(Path::new(&fault.file).exists() && fault.to_string().contains("line"), "{fault}");
}
