//! Lines found, page by page and by name, whatever files they stand in.

use super::*;

#[test]
fn lines_come_newest_first_page_by_page_over_all_files() {
    let folder = Folder::new();
    assert_eq!(folder.found(&Filter::default()), down(100, 1));
    for before in 1..=101_u64 {
        assert_eq!(folder.found(&Filter { before: Some(before as Place), ..Filter::default() }), down(before - 1, 1), "before {before}");
        assert_eq!(folder.found(&Filter { after: Some(before), ..Filter::default() }), down(100, before + 1), "after {before}");
    }
}

#[test]
fn each_line_is_found_by_name() {
    let folder = Folder::new();
    for (seq, line) in (1..).zip(&folder.lines) {
        assert_eq!(folder.reader().find(&format!("id-{seq}"), || true).unwrap().as_ref(), Some(line));
    }
    assert_eq!(folder.reader().find("id-", || true).unwrap(), None);
}

#[test]
fn filters_say_what_is_wanted() {
    let folder = Folder::new();
    let of = |text: TextPattern| folder.found(&Filter { text: Some(text), ..Filter::default() });
    let tens: Vec<u64> = (1..=10).rev().map(|ten| ten * 10).collect();
    assert_eq!(of(TextPattern::literal("ten\nfold")), tens);
    assert_eq!(of(TextPattern::expression(r"(?i)TEN\sf").unwrap()), tens);
    assert_eq!(of(TextPattern::literal("no. 42")), [42]);
    assert_eq!(of(TextPattern::literal("even")), [0; 0], "the model's name is no text");
    let at = |second: i64| Some(Timestamp::from_second(1_700_000_000 + second).unwrap());
    assert_eq!(folder.found(&Filter { since: at(955), ..Filter::default() }), down(100, 96));
    assert_eq!(folder.found(&Filter { since: at(300), until: at(510), ..Filter::default() }), down(50, 30));
    let odd = Filter { model: Some("odd".into()), after: Some(90), ..Filter::default() };
    assert_eq!(folder.found(&odd), [99, 97, 95, 93, 91]);
    assert_eq!(folder.found(&Filter { status: Some(500), ..Filter::default() }), [0; 0]);
}

#[test]
fn a_compressed_file_is_read_without_an_index_and_with_a_wrong_one() {
    let folder = Folder::new();
    let index = format!("{}.gz.index", folder.segment(1));
    let right = std::fs::read_to_string(folder.path(&index)).unwrap();
    let without =
        |left_out: usize| right.lines().enumerate().filter(|(at, _)| *at != left_out).map(|(_, line)| format!("{line}\n")).collect();
    let mut wrong: Vec<String> = (0..right.lines().count()).map(without).collect();
    wrong.extend([String::new(), "nonsense\n".into(), right.replace("\"offset\":0", "\"offset\":1")]);
    for wrong in wrong {
        folder.write(&index, wrong.as_bytes());
        assert_eq!(folder.found(&Filter::default()), down(100, 1), "{wrong}");
        assert_eq!(folder.found(&Filter { before: Some(20), ..Filter::default() }), down(19, 1), "{wrong}");
    }
    std::fs::remove_file(folder.path(&index)).unwrap();
    assert_eq!(folder.found(&Filter::default()), down(100, 1));
}

#[test]
fn what_is_being_written_torn_or_not_there_is_no_line() {
    let folder = Folder::new();
    let active = file(&folder.lines[70..]);
    for cut in active.len() - folder.lines[99].len() - 1..active.len() {
        folder.write("log.jsonl", &active[..cut]);
        assert_eq!(folder.found(&Filter::default()), down(99, 1));
    }
    std::fs::remove_file(folder.path("log.jsonl")).unwrap();
    assert_eq!(folder.found(&Filter::default()), down(70, 1));
    assert_eq!(LogReader::new("/nowhere/log.jsonl").page(&Filter::default(), PageLimits::default()).unwrap(), Page::default());
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_is_read_of_a_device_that_never_ends() {
    let log = LogReader::new("/dev/full");
    assert_eq!(log.page(&Filter::default(), PageLimits::default()).unwrap(), Page::default());
    assert_eq!(log.verify(|| true).unwrap(), Verification::default());
}

#[test]
fn a_line_longer_than_a_block_is_read_whole() {
    let folder = Folder { folder: tempfile::tempdir().unwrap(), lines: Vec::new() };
    let long = |seq: u64| format!(r#"{{"prompt":"{}","response":"","seq":{seq}}}"#, "x".repeat(700_000)).into_bytes();
    let folder = Folder { lines: vec![long(1), long(2), br#"{"prompt":"","response":"","seq":3}"#.to_vec(), long(4)], ..folder };
    folder.write("log.jsonl", &file(&folder.lines));
    assert_eq!(folder.found(&Filter::default()), [4, 3, 2, 1]);
    assert_eq!(folder.found(&Filter { before: Some(3), ..Filter::default() }), [2, 1]);
}

#[test]
fn a_file_sealed_while_it_is_read_is_read_once() {
    let folder = Folder::new();
    let filter = Filter::default();
    let files = Files::open(&folder.path("log.jsonl"), &filter).unwrap();
    std::fs::rename(folder.path("log.jsonl"), folder.path(&folder.segment(71))).unwrap();
    folder.write("log.jsonl", b"");
    drop(files);
    assert_eq!(folder.found(&filter), down(100, 1));
    // Sealed between the opening and the listing: there as the active file's handle and as a segment.
    std::fs::hard_link(folder.path(&folder.segment(71)), folder.path("again")).unwrap();
    std::fs::rename(folder.path("again"), folder.path("log.jsonl")).unwrap();
    assert_eq!(folder.found(&filter), down(100, 1));
    assert_eq!(folder.verify().lines, 100);
}

#[test]
fn a_segment_that_is_compressed_after_it_was_listed_is_found() {
    let folder = Folder::new();
    let filter = Filter::default();
    let mut files = Files::open(&folder.path("log.jsonl"), &filter).unwrap();
    let (bytes, _) = compressed(&folder.lines[40..70], 41, 10);
    folder.write(&format!("{}.gz", folder.segment(41)), &bytes);
    std::fs::remove_file(folder.path(&folder.segment(41))).unwrap();
    let (mut block, mut count) = (Vec::new(), 0);
    while files.previous(&mut block).unwrap().is_some() {
        count += line::backwards(&block).count();
    }
    assert_eq!(count, 100);
}

#[test]
fn numbers_by_model_and_day() {
    let folder = Folder::new();
    let mut stats = folder.reader().stats(&Filter::default(), || true).unwrap();
    assert_eq!((stats.next, stats.rows.iter().map(|row| row.requests).sum::<u64>()), (None, 100));
    let models = stats.by_model();
    assert_eq!(
        models.iter().map(|row| (&*row.model, row.requests, row.completion_tokens)).collect::<Vec<_>>(),
        [("even", 50, 250), ("odd", 50, 250)]
    );
    assert!((models[0].tokens_per_second - 100.0).abs() < 1e-9 && (models[0].ttft_ms - 10.0).abs() < 0.2, "{models:?}");
    // Counted in parts, it comes to the same.
    let newer = folder.reader().stats(&Filter { after: Some(50), ..Filter::default() }, || true).unwrap();
    let older = folder.reader().stats(&Filter { before: Some(51), ..Filter::default() }, || true).unwrap();
    stats.rows.sort_by(|one, other| (&one.day, &one.model).cmp(&(&other.day, &other.model)));
    let mut added = newer;
    added.add(older);
    assert_eq!(added.by_day(), stats.by_day());
}

#[test]
fn lines_without_numbers_are_told_page_by_page_and_counted_in_parts() {
    let old: Vec<Vec<u8>> = (0..10).map(|at| format!(r#"{{"prompt":"old {at}","response":""}}"#).into_bytes()).collect();
    let mut mixed = old;
    mixed.extend(lines(10));
    let folder = Folder { folder: tempfile::tempdir().unwrap(), lines: mixed };
    let first_segment = format!("log-{:012}-20231114T221320Z.jsonl", 0);
    let (bytes, index) = compressed(&folder.lines[..10], 0, 3);
    let index = index.lines().map(|line| {
        let member: Member = serde_json::from_str(line).unwrap();
        serde_json::to_string(&Member { first_seq: 0, last_seq: 0, ..member }).unwrap() + "\n"
    });
    let (mixed_member, _) = compressed(&folder.lines[..15], 0, 12);
    // Plain and active, sealed, compressed with an index and without; and with a member that has lines of both kinds.
    let layouts: [Vec<(String, Vec<u8>)>; 5] = [
        vec![("log.jsonl".into(), file(&folder.lines))],
        vec![(first_segment.clone(), file(&folder.lines[..12])), ("log.jsonl".into(), file(&folder.lines[12..]))],
        vec![
            (format!("{first_segment}.gz"), bytes.clone()),
            (format!("{first_segment}.gz.index"), index.collect::<String>().into_bytes()),
            ("log.jsonl".into(), file(&folder.lines[10..])),
        ],
        vec![(format!("{first_segment}.gz"), bytes), ("log.jsonl".into(), file(&folder.lines[10..]))],
        vec![(format!("{first_segment}.gz"), mixed_member), ("log.jsonl".into(), file(&folder.lines[15..]))],
    ];
    let newest_first: Vec<Vec<u8>> = folder.lines.iter().rev().cloned().collect();
    for layout in &layouts {
        for entry in std::fs::read_dir(folder.folder.path()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        layout.iter().for_each(|(name, bytes)| folder.write(name, bytes));
        for lines in [1, 3, 7, 100] {
            let (mut filter, mut found, mut pages) = (Filter::default(), Vec::new(), 0);
            loop {
                let page = folder.reader().page(&filter, PageLimits { lines, ..PageLimits::default() }).unwrap();
                found.extend(page.lines);
                (filter.before, pages) = (page.next, pages + 1);
                if page.next.is_none() {
                    break;
                }
                assert!(pages <= 30, "the pages end");
            }
            assert_eq!(found, newest_first, "pages of {lines}: {:?}", layout.iter().map(|(name, _)| name).collect::<Vec<_>>());
        }
        let (mut filter, mut stats) = (Filter::default(), Stats::default());
        loop {
            // A block at a time.
            stats.add(folder.reader().stats(&filter, || false).unwrap());
            filter.before = stats.next;
            if stats.next.is_none() {
                break;
            }
        }
        assert_eq!(stats.rows.iter().map(|row| row.requests).sum::<u64>(), 20);
    }
}
