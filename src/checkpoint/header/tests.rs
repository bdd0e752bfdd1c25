//! The header's checks, and how they compare with the safetensors crate's.

use super::super::error::{Foreign, LoadError};
use super::super::fuzz::{compare_with_crate, read};
use super::*;
use crate::error::Explain;
use proptest::prelude::*;
use safetensors::SafeTensors;

const SHARD: &str = "model.safetensors";

fn file(json: &str, data_len: usize) -> Vec<u8> {
    let mut file = (json.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(json.as_bytes());
    file.resize(file.len() + data_len, 7);
    file
}

fn entry(name: &str, dtype: &str, shape: &str, begin: u64, end: u64) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
}

fn error(json: &str, data_len: usize) -> LoadError {
    read(&file(json, data_len)).expect_err(json)
}

#[test]
fn tensors_come_in_the_order_of_their_data_with_offsets_in_the_file() {
    let json = format!(
        r#"{{{},"__metadata__":{{"format":"pt"}},{},{}}}   "#,
        entry("b", "F32", "[2,1]", 4, 12),
        entry("a", "BF16", "[2]", 0, 4),
        entry("scalar", "U8", "[]", 12, 13),
    );
    let header = read(&file(&json, 13)).unwrap();
    let start = 8 + json.len() as u64;
    assert_eq!(header.data_start, start);
    assert_eq!(header.file_len(), start + 13);
    let names: Vec<_> = header.tensors.iter().map(|tensor| &*tensor.name).collect();
    assert_eq!(names, ["a", "b", "scalar"]);
    assert_eq!(header.tensors[1].range, start + 4..start + 12);
    assert_eq!(header.tensors[1].bytes(), 8);
    assert_eq!(*header.tensors[1].shape, [2, 1]);
    assert_eq!(header.metadata["format"], "pt");
}

#[test]
fn empty_tensors_and_headers_without_tensors_are_fine() {
    let json = format!(
        "{{{},{},{}}}",
        entry("full", "F32", "[1]", 0, 4),
        entry("none", "F32", "[0,5]", 0, 0),
        entry("last", "F4", "[3,0]", 4, 4),
    );
    let header = read(&file(&json, 4)).unwrap();
    assert_eq!(&*header.tensors[0].name, "none");
    assert!(read(&file("{}", 0)).unwrap().tensors.is_empty());
}

#[test]
fn a_git_lfs_pointer_is_called_one() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:77\nsize 4976698672\n";
    let error = read(pointer).unwrap_err();
    assert!(matches!(
        error,
        LoadError::LfsPointer {
            size: Some(4_976_698_672),
            ..
        }
    ));
    assert!(error.to_string().contains("4,976,698,672 bytes"), "{error}");
    assert!(error.hint().unwrap().contains("git lfs pull"));
}

#[test]
fn other_formats_are_named() {
    let cases: [(&[u8], Foreign); 9] = [
        (b"PK\x03\x04\0\0\x08\x08\0\0\0\0", Foreign::Zip),
        (b"PK\x03\x04\0\0\0\0\0\0\0\0", Foreign::Zip),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P", Foreign::Pickle),
        (b"\n<!DOCTYPE html><html>", Foreign::Html),
        (b"<HTML><body>", Foreign::Html),
        (b"GGUF\x03\0\0\0\x01", Foreign::Gguf),
        (b"{\"metadata\": {}}", Foreign::Json),
        (b"Entry not found", Foreign::Text),
        (&[0; 64], Foreign::Zeros),
    ];
    for (bytes, expected) in cases {
        for seen in [bytes, &bytes[..bytes.len().min(12)]] {
            let error = header_len(SHARD, seen, 1 << 30).unwrap_err();
            assert!(
                matches!(error, LoadError::NotSafetensors { found, .. } if found == expected),
                "{bytes:?}: {error:?}"
            );
        }
    }
}

#[test]
fn a_header_as_long_as_the_letters_of_a_zip_file_is_still_a_header() {
    let mut first = b"PK\x03\x04\0\0\0\0{".to_vec();
    assert_eq!(header_len(SHARD, &first, 1 << 30).unwrap(), 0x0403_4b50);
    first[8] = b' ';
    assert!(header_len(SHARD, &first, 1 << 30).is_err());
}

#[test]
fn lengths_that_cannot_be_are_told_apart() {
    let of = |length: u64, file_len| header_len(SHARD, &length.to_le_bytes(), file_len);
    assert!(matches!(
        header_len(SHARD, b"abc", 3),
        Err(LoadError::FileTooShort { found: 3, .. })
    ));
    assert!(matches!(
        header_len(SHARD, b"abc", 9),
        Err(LoadError::ShortRead {
            expected: 8,
            found: 3,
            ..
        })
    ));
    assert!(matches!(
        of(0x8000_0001, 1 << 40),
        Err(LoadError::HeaderTooLarge { .. })
    ));
    assert!(matches!(
        of(u64::MAX, u64::MAX),
        Err(LoadError::HeaderTooLarge { .. })
    ));
    assert!(matches!(
        of(0x101, 0x108),
        Err(LoadError::HeaderTruncated {
            expected: 0x109,
            ..
        })
    ));
    assert_eq!(of(MAX_HEADER_BYTES, 1 << 30).unwrap(), MAX_HEADER_BYTES);
    assert_eq!(of(0x100, 0x108).unwrap(), 0x100);
    assert_eq!(of(0, 8).unwrap_err().kind(), "not_safetensors");
    let spaced = file(" {}", 0);
    assert!(matches!(
        read(&spaced),
        Err(LoadError::HeaderNotObject {
            found: Some(b' '),
            ..
        })
    ));
    assert!(matches!(
        Header::parse(SHARD, b"", 8),
        Err(LoadError::HeaderNotObject { .. })
    ));
}

#[test]
fn a_short_and_a_long_file_say_by_how_much() {
    let json = format!("{{{}}}", entry("a", "U8", "[3145728]", 0, 3_145_728));
    let message = error(&json, 0).to_string();
    assert!(
        message.contains("3,145,728 bytes short: not downloaded whole"),
        "{message}"
    );
    let message = error(&json, 3_146_728).to_string();
    assert!(
        message.contains("1,000 bytes after the last tensor"),
        "{message}"
    );
}

#[test]
fn offsets_that_leave_holes_or_overlap_name_the_tensors() {
    let two = |begin, end| {
        format!(
            "{{{},{}}}",
            entry("a", "U8", "[4]", 0, 4),
            entry("b", "U8", "[4]", begin, end)
        )
    };
    let hole = error(&two(6, 10), 10);
    assert!(
        matches!(&hole, LoadError::Hole { tensor, .. } if tensor == "b"),
        "{hole:?}"
    );
    let lap = error(&two(2, 6), 6);
    assert!(
        matches!(&lap, LoadError::Overlap { tensor, other, .. } if tensor == "b" && other == "a"),
        "{lap:?}"
    );
    let first = format!("{{{}}}", entry("a", "U8", "[4]", 2, 6));
    assert!(matches!(error(&first, 6), LoadError::Hole { .. }));
    let reversed = error(&two(4, 1), 4);
    assert_eq!(reversed.kind(), "wrong_tensor_offsets");
}

#[test]
fn sizes_that_do_not_match_or_overflow_are_typed() {
    let one = |dtype, shape, end| error(&format!("{{{}}}", entry("a", dtype, shape, 0, end)), 8);
    let wrong = one("F32", "[3]", 8);
    assert!(
        matches!(
            wrong,
            LoadError::TensorSize {
                expected: 12,
                found: 8,
                ..
            }
        ),
        "{wrong:?}"
    );
    let max = format!("[{},2]", usize::MAX);
    assert!(matches!(one("U8", &max, 8), LoadError::SizeOverflow { .. }));
    let bits = format!("[{}]", usize::MAX / 8);
    assert!(matches!(
        one("F64", &bits, 8),
        LoadError::SizeOverflow { .. }
    ));
    // 2^64 elements would wrap to none.
    let wraps = one("U8", "[4294967296,4294967296]", 0);
    assert!(matches!(wraps, LoadError::SizeOverflow { .. }));
    assert!(matches!(one("F4", "[3]", 2), LoadError::PartialByte { .. }));
    assert!(matches!(
        one("F6_E2M3", "[2]", 2),
        LoadError::PartialByte { .. }
    ));
    let far = one("U8", &format!("[{}]", u64::MAX / 8), u64::MAX / 8);
    assert!(matches!(far, LoadError::DataTooShort { .. }), "{far:?}");
}

#[test]
fn what_stands_twice_is_named() {
    let entry = entry("a", "U8", "[0]", 0, 0);
    let twice = error(
        &format!(
            "{{{entry},{}}}",
            entry
                .replace('a', "\\u0061")
                .replace("d\\u0061t\\u0061", "data")
                .replace("sh\\u0061pe", "shape")
        ),
        0,
    );
    assert!(
        matches!(&twice, LoadError::DuplicateTensor { tensor, .. } if tensor == "a"),
        "{twice:?}"
    );
    let field = error(
        r#"{"a":{"dtype":"U8","shape":[0],"dtype":"U8","data_offsets":[0,0]}}"#,
        0,
    );
    assert!(
        matches!(&field, LoadError::DuplicateField { field: "dtype", .. }),
        "{field:?}"
    );
    let key = error(r#"{"__metadata__":{"k":"1","k":"2"}}"#, 0);
    assert!(
        matches!(&key, LoadError::DuplicateMetadata { key, .. } if key == "k"),
        "{key:?}"
    );
    assert_eq!(
        error(r#"{"__metadata__":{},"__metadata__":null}"#, 0).kind(),
        "wrong_header"
    );
}

#[test]
fn an_unknown_dtype_and_a_missing_field_are_typed() {
    let dtype = error(&format!("{{{}}}", entry("a", "F3", "[1]", 0, 1)), 1);
    assert!(
        matches!(&dtype, LoadError::UnknownDtype { found, .. } if found == "F3"),
        "{dtype:?}"
    );
    let missing = error(r#"{"a":{"dtype":"U8","data_offsets":[0,0]}}"#, 0);
    assert!(
        matches!(&missing, LoadError::MissingField { field: "shape", .. }),
        "{missing:?}"
    );
}

#[test]
fn wrong_json_says_where_and_in_which_tensor() {
    let json = r#"{"a":{"dtype":"U8","shape":["x"],"data_offsets":[0,0]}}"#;
    let error = error(json, 0);
    let LoadError::HeaderJson { tensor, offset, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(tensor.as_deref(), Some("a"));
    let at = json.find("\"x\"").unwrap() as u64 + 8;
    assert!((at..at + 3).contains(offset), "{offset} is not at {at}");

    let mut file = file(r#"{"a":{"dtype":"?"}}"#, 0);
    file[8 + 15] = 0xff;
    let error = read(&file).unwrap_err();
    assert!(
        matches!(error, LoadError::HeaderNotUtf8 { offset: 23, .. }),
        "{error:?}"
    );
}

#[test]
fn deep_json_is_an_error() {
    for inner in [r#"{"a":"#, r#"{"a":{"unknown":"#, r#"{"__metadata__":"#] {
        let error = error(&format!("{inner}{}", "[".repeat(1 << 20)), 0);
        assert_eq!(error.kind(), "wrong_header");
    }
    // Closed again it would be JSON; the safetensors crate refuses it too.
    let (open, close) = ("[".repeat(500), "]".repeat(500));
    let deep =
        format!(r#"{{"a":{{"x":{open}{close},"dtype":"U8","shape":[0],"data_offsets":[0,0]}}}}"#);
    assert_eq!(error(&deep, 0).kind(), "wrong_header");
    assert!(SafeTensors::read_metadata(&file(&deep, 0)).is_err());
}

const DTYPES: [&str; 9] = [
    "F4", "F6_E2M3", "F6_E3M2", "BOOL", "F8_E4M3", "BF16", "F32", "C64", "I64",
];

fn bits(dtype: &str) -> usize {
    Dtype::deserialize(StrDeserializer::<ValueError>::new(dtype))
        .unwrap()
        .bitsize()
}

/// The JSON of a valid header and the length of its data.
fn valid_header() -> impl Strategy<Value = (String, usize)> {
    let tensor = (
        prop::sample::select(&DTYPES),
        prop::collection::vec(0..5_usize, 0..4),
    );
    let metadata = prop::option::of(prop::collection::btree_map("[a-z]{1,3}", ".{0,4}", 0..3));
    (
        prop::collection::vec((tensor, any::<u16>()), 0..6),
        metadata,
        0..4_usize,
    )
        .prop_map(|(tensors, metadata, padding)| {
            let mut end = 0;
            let mut entries = Vec::new();
            for (i, ((dtype, mut shape), place)) in tensors.into_iter().enumerate() {
                if !(shape.iter().product::<usize>() * bits(dtype)).is_multiple_of(8) {
                    shape.push(8);
                }
                let begin = end;
                end += shape.iter().product::<usize>() * bits(dtype) / 8;
                let shape = format!("{shape:?}");
                let name = format!("t{i}");
                entries.push((place, entry(&name, dtype, &shape, begin as u64, end as u64)));
            }
            if let Some(metadata) = metadata {
                let json = serde_json::to_string(&metadata).unwrap();
                entries.push((0, format!(r#""__metadata__":{json}"#)));
            }
            entries.sort();
            let entries: Vec<_> = entries.into_iter().map(|(_, entry)| entry).collect();
            (
                format!("{{{}}}{}", entries.join(","), " ".repeat(padding)),
                end,
            )
        })
}

#[derive(Debug, Clone)]
enum Mutation {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Grow(u8),
    Number(prop::sample::Index, &'static str),
    Insert(prop::sample::Index, &'static str),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let numbers = [
        "0",
        "1",
        "2",
        "8",
        "-0",
        "-1",
        "1.0",
        "1e2",
        "1e999",
        "01",
        "null",
        "[]",
        "18446744073709551615",
        "18446744073709551616",
        "2305843009213693951",
    ];
    let tokens = [
        "null",
        "{}",
        "[",
        "]",
        "}",
        ",",
        ":",
        " ",
        "\n",
        "\0",
        "\"",
        "\\",
        "\\u0061",
        "\\ud800",
        "0",
        "\"t1\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},",
        "\"extra\":[1,{\"a\":null}],",
        "\"dtype\":\"U8\",",
        "\"__metadata__\":null,",
        "\"__metadata__\":{\"a\":\"b\",\"a\":\"c\"},",
    ];
    prop_oneof![
        (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, bits)| Mutation::Flip(at, bits)),
        any::<prop::sample::Index>().prop_map(Mutation::Cut),
        (1..9_u8).prop_map(Mutation::Grow),
        (
            any::<prop::sample::Index>(),
            prop::sample::select(numbers.to_vec())
        )
            .prop_map(|(at, number)| Mutation::Number(at, number)),
        (
            any::<prop::sample::Index>(),
            prop::sample::select(tokens.to_vec())
        )
            .prop_map(|(at, token)| Mutation::Insert(at, token)),
    ]
}

fn mutate(json: &str, data_len: usize, mutation: &Mutation) -> Vec<u8> {
    let mut whole = file(json, data_len);
    match mutation {
        Mutation::Flip(at, bits) => {
            let header = 8 + json.len();
            whole[at.index(header)] ^= bits;
        }
        Mutation::Cut(at) => whole.truncate(at.index(whole.len())),
        Mutation::Grow(by) => whole.resize(whole.len() + usize::from(*by), b' '),
        Mutation::Number(at, number) => {
            let starts: Vec<usize> = json
                .char_indices()
                .filter(|(i, c)| c.is_ascii_digit() && json[..*i].ends_with(['[', ',']))
                .map(|(i, _)| i)
                .collect();
            if !starts.is_empty() {
                let start = starts[at.index(starts.len())];
                let rest = json[start..].trim_start_matches(|c: char| c.is_ascii_digit());
                whole = file(&format!("{}{number}{rest}", &json[..start]), data_len);
            }
        }
        Mutation::Insert(at, token) => {
            let places: Vec<usize> = json.char_indices().map(|(i, _)| i).collect();
            let at = places[at.index(places.len())];
            whole = file(&format!("{}{token}{}", &json[..at], &json[at..]), data_len);
        }
    }
    whole
}

#[test]
fn the_documented_differences_to_the_safetensors_crate_are_there() {
    for json in [
        " {}",
        r#"{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#,
        r#"{"__metadata__":{"k":"1","k":"2"}}"#,
        r#"{"a":["U8",[0],[0,0]]}"#,
        r#"{"a":{"dtype":{"U8":null},"shape":[0],"data_offsets":[0,0]}}"#,
    ] {
        let file = file(json, 0);
        assert!(SafeTensors::read_metadata(&file).is_ok(), "{json}");
        assert!(read(&file).is_err(), "{json}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn valid_headers_read_as_the_safetensors_crate_reads_them((json, data_len) in valid_header()) {
        let file = file(&json, data_len);
        prop_assert!(read(&file).is_ok());
        compare_with_crate(&file);
    }

    #[test]
    fn damaged_headers_are_judged_as_the_safetensors_crate_judges_them(
        (json, data_len) in valid_header(),
        mutation in mutation(),
    ) {
        compare_with_crate(&mutate(&json, data_len, &mutation));
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
        let _ = Header::parse(SHARD, &bytes, 100);
    }
}
