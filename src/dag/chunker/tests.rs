use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

/// A safetensors file of tensors with those lengths, its payload cut off at `payload` bytes.
fn file(header: &str, payload: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.resize(file.len() + payload, 7);
    file
}

fn header(lengths: &[u64]) -> String {
    let mut end = 0;
    let members = lengths.iter().enumerate().map(|(number, len)| {
        let from = end;
        end += len;
        format!(r#""t{number}":{{"dtype":"U8","shape":[{len}],"data_offsets":[{from},{end}]}}"#)
    });
    let members: Vec<_> = members.collect();
    format!(
        r#"{{"__metadata__":{{"format":"pt"}},{}}}"#,
        members.join(",")
    )
}

/// The lengths of all chunks, and of those that begin a stretch its length.
fn cuts(bytes: &[u8], chunker: Chunker) -> (Vec<u64>, Vec<Option<u64>>) {
    let mut reader = ChunkReader::new(bytes, chunker);
    let (mut lengths, mut runs) = (Vec::new(), Vec::new());
    let mut chunk = Vec::new();
    let mut seen = Vec::new();
    loop {
        let cut = reader.next(&mut chunk).unwrap();
        if chunk.is_empty() {
            assert!(seen == bytes, "every byte once, in order");
            return (lengths, runs);
        }
        lengths.push(chunk.len() as u64);
        runs.push(cut.starts_run.then_some(cut.run_bytes));
        seen.extend_from_slice(&chunk);
    }
}

fn tensor_v1(bytes: &[u8]) -> Vec<u64> {
    cuts(bytes, Chunker::TensorV1).0
}

#[test]
fn large_tensors_are_cut_from_their_own_start_and_small_neighbours_share_a_chunk() {
    let lengths = [
        10,
        20,
        65_536,
        65_535,
        3 * MIB + 5,
        MIB,
        0,
        7,
        MIB - 1,
        65_535,
    ];
    let header = header(&lengths);
    let payload = lengths.iter().sum::<u64>() as usize;
    let (found, runs) = cuts(&file(&header, payload + 9), Chunker::TensorV1);
    let head = 8 + header.len() as u64;
    let expected = [
        head,
        30,
        65_536,
        65_535,
        MIB,
        MIB,
        MIB,
        5,
        MIB,
        7,
        MIB - 1,
        65_535,
        9,
    ];
    assert_eq!(found, expected);
    let all = Some(u64::MAX);
    let runs_of = |number: usize| runs[number];
    assert_eq!(runs_of(0), Some(head));
    assert_eq!(runs_of(4), Some(3 * MIB + 5));
    assert_eq!((runs_of(5), runs_of(6), runs_of(7)), (None, None, None));
    assert_eq!((runs_of(8), runs_of(12)), (Some(MIB), all));
}

#[test]
fn small_tensors_fill_a_chunk_as_far_as_they_fit_it_whole() {
    let lengths = [65_535; 40];
    let header = header(&lengths);
    let found = tensor_v1(&file(&header, 40 * 65_535));
    // Sixteen are 1,048,560 bytes, one more would be too much.
    let head = 8 + header.len() as u64;
    assert_eq!(found, [head, 16 * 65_535, 16 * 65_535, 8 * 65_535]);
}

#[test]
fn a_header_over_a_mebibyte_is_cut_at_each_mebibyte() {
    let header = header(&[1; 20_000]);
    let len = 8 + header.len() as u64;
    assert!(len > MIB && len < 2 * MIB);
    let found = tensor_v1(&file(&header, 20_000));
    assert_eq!(found, [MIB, len - MIB, 20_000]);
}

#[test]
fn the_order_of_the_members_and_their_names_do_not_count() {
    let one = r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[70000,70002]},"b":{"data_offsets":[0,70000]}}"#;
    let two = r#"{"é\n":{"data_offsets":[0,70000]},"x":{"shape":[9],"data_offsets":[70000,70002]}}       "#;
    for header in [one, two] {
        let found = tensor_v1(&file(header, 70_002));
        assert_eq!(found[1..], [70_000, 2], "{header}");
    }
}

#[test]
fn a_file_that_ends_early_is_cut_as_far_as_it_goes() {
    let lengths = [2 * MIB + 1, MIB];
    let header = header(&lengths);
    let head = 8 + header.len() as u64;
    let found = tensor_v1(&file(&header, MIB as usize + 5));
    assert_eq!(found, [head, MIB, 5]);
    assert_eq!(tensor_v1(&file(&header, 0)), [head]);
}

#[test]
fn what_is_no_safetensors_file_is_cut_by_length() {
    let good = header(&[70_000]);
    let holed = r#"{"a":{"data_offsets":[0,5]},"b":{"data_offsets":[6,9]}}"#;
    let overlapping = r#"{"a":{"data_offsets":[0,5]},"b":{"data_offsets":[4,9]}}"#;
    let backwards = r#"{"a":{"data_offsets":[5,0]}}"#;
    let late = r#"{"a":{"data_offsets":[1,5]}}"#;
    let negative = r#"{"a":{"data_offsets":[-1,5]}}"#;
    let without = r#"{"a":{"dtype":"U8"}}"#;
    let twice = r#"{"a":{"data_offsets":[0,5]},"a":{"data_offsets":[0,5]}}"#;
    let mut inputs: Vec<Vec<u8>> = [
        holed,
        overlapping,
        backwards,
        late,
        negative,
        without,
        twice,
        "[]",
        "{",
        "{}x",
        "",
    ]
    .map(|header| file(header, 3_000_000))
    .to_vec();
    let mut cut_header = file(&good, 0);
    cut_header.pop();
    let mut too_long = file(&good, 3_000_000);
    too_long[..8].copy_from_slice(&100_000_001_u64.to_le_bytes());
    let mut endless = too_long.clone();
    endless[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    inputs.extend([
        cut_header,
        too_long,
        endless,
        vec![],
        vec![b'{'; 9],
        vec![0; 8],
    ]);
    for input in inputs {
        let start = String::from_utf8_lossy(&input[..input.len().min(60)]).into_owned();
        let plain = cuts(&input, Chunker::Size(1 << 20)).0;
        assert_eq!(tensor_v1(&input), plain, "{start}");
    }
}

#[test]
fn a_header_without_tensors_is_a_chunk_of_its_own() {
    for header in ["{}", r#"{"__metadata__":{"a":"b"}}"#] {
        let head = 8 + header.len() as u64;
        assert_eq!(tensor_v1(&file(header, 5)), [head, 5]);
        assert_eq!(tensor_v1(&file(header, 0)), [head]);
    }
}

#[test]
fn no_more_of_a_file_is_looked_at_than_its_header() {
    struct Counted<'a>(&'a [u8], usize);
    impl Read for Counted<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let len = self.0.read(out)?;
            self.1 += len;
            Ok(len)
        }
    }
    let header = header(&[100]);
    let safetensors = file(&header, 5_000);
    let other = vec![1; 5_000];
    for (input, limit) in [(&safetensors, 8 + header.len()), (&other, 9)] {
        let mut counted = Counted(input, 0);
        Cutter::new(Chunker::TensorV1, &mut counted).unwrap();
        assert_eq!(counted.1, limit);
    }
    let mut counted = Counted(&safetensors, 0);
    Cutter::new(Chunker::Size(10), &mut counted).unwrap();
    assert_eq!(counted.1, 0);
}

/// The rules as the documentation has them, with nothing shared with the code above.
fn naive(header_bytes: u64, lengths: &[u64]) -> Vec<u64> {
    let mut chunks: Vec<u64> = Vec::new();
    let cut = |mut len: u64, out: &mut Vec<u64>| {
        while len > 0 {
            out.push(len.min(1_048_576));
            len -= len.min(1_048_576);
        }
    };
    cut(header_bytes, &mut chunks);
    let mut open = false;
    for &len in lengths.iter().filter(|len| **len > 0) {
        if len >= 65_536 {
            cut(len, &mut chunks);
            open = false;
        } else if open && chunks.last().unwrap() + len <= 1_048_576 {
            *chunks.last_mut().unwrap() += len;
        } else {
            chunks.push(len);
            open = true;
        }
    }
    chunks
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_cuts_are_those_of_the_rules(
        lengths in prop::collection::vec(
            prop_oneof![0..200_u64, 60_000..70_000_u64, 1_000_000..2_200_000_u64],
            0..24,
        ),
    ) {
        let header = header(&lengths).replace(",}", "}");
        let bytes = file(&header, lengths.iter().sum::<u64>() as usize);
        prop_assert_eq!(tensor_v1(&bytes), naive(8 + header.len() as u64, &lengths));
    }

    #[test]
    fn any_bytes_are_cut_whole(bytes: Vec<u8>, length: u16, text in r#"\{("[a-c]":\{"data_offsets":\[[0-9],[0-9]\]\},?){0,3}\}"#) {
        tensor_v1(&bytes);
        tensor_v1(&file(&text, usize::from(length)));
    }
}
