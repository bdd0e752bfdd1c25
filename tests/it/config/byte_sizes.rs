//! Byte sizes.

use ipfs_accelerate::error::Explain;
use ipfs_accelerate::{ByteSize, ByteSizeError};

#[test]
fn byte_sizes_are_read_as_people_write_them() {
    for (text, bytes) in [
        ("0", 0),
        ("512", 512),
        ("512 B", 512),
        ("10GiB", 10 << 30),
        ("10GB", 10_000_000_000),
        ("1.5 GiB", 3 << 29),
        ("100 MB", 100_000_000),
        (" 1kb ", 1_000),
        ("1KIB", 1_024),
        ("0.3 KiB", 307),
        ("15.99999999999999999999 EiB", u64::MAX - 17),
        ("18446744073709551615", u64::MAX),
        ("1.000", 1),
        ("007", 7),
    ] {
        let size: ByteSize = text
            .parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(
            size.bytes().abs_diff(bytes) <= 17 * u64::from(bytes > 1 << 63),
            "{text}: {size:?}"
        );
    }
}

#[test]
fn what_is_no_byte_size_is_refused_with_the_units() {
    use ByteSizeError::{Negative, NotANumber, PartOfAByte, TooLarge, UnknownUnit};
    fn error(text: &str) -> ByteSizeError {
        text.parse::<ByteSize>().expect_err(text)
    }
    for text in [
        "", " ", ".", "1.", ".5GB", "1.2.3", "GiB", "-", "-x", "+1", "NaN", "1..2", "１",
    ] {
        assert!(
            matches!(error(text), NotANumber { .. }),
            "{text}: {}",
            error(text)
        );
    }
    for text in ["-1", "-1 GiB", "- 5"] {
        assert!(
            matches!(error(text), Negative { .. }),
            "{text}: {}",
            error(text)
        );
    }
    for text in [
        "1 Gb", "1 Kb", "1G", "1 XiB", "1e3", "1_000", "0x10", "1 GiB 2", "1,5 GB", "1 ſB",
    ] {
        assert!(
            matches!(error(text), UnknownUnit { .. }),
            "{text}: {}",
            error(text)
        );
    }
    for text in ["1.5", "0.1 B"] {
        assert!(
            matches!(error(text), PartOfAByte { .. }),
            "{text}: {}",
            error(text)
        );
    }
    let long = "9".repeat(1000);
    for text in ["16 EiB", "18446744073709551616", "19 EB", long.as_str()] {
        assert!(
            matches!(error(text), TooLarge { .. }),
            "{text}: {}",
            error(text)
        );
    }
    assert!(error("x").hint().unwrap().contains("GiB"));
}

#[test]
fn byte_sizes_are_shown_in_binary_units() {
    for (bytes, text) in [
        (0, "0 B"),
        (12, "12 B"),
        (1_023, "1023 B"),
        (1_024, "1.0 KiB"),
        (15 << 10, "15.0 KiB"),
        (1_048_575, "1.0 MiB"),
        (1_288_490_189, "1.2 GiB"),
        (u64::MAX, "16.0 EiB"),
    ] {
        assert_eq!(ByteSize::new(bytes).to_string(), text);
    }
    assert_eq!(format!("{:>8}", ByteSize::new(12)), "    12 B");
}

#[test]
fn byte_sizes_go_through_serde_as_text_or_number() {
    #[derive(serde::Deserialize)]
    struct Sizes {
        a: ByteSize,
        b: ByteSize,
    }
    let sizes: Sizes = toml::from_str("a = \"1KiB\"\nb = 7\n").unwrap();
    assert_eq!((sizes.a.bytes(), sizes.b.bytes()), (1024, 7));
    for wrong in ["a = -1\nb = 1", "a = \"x\"\nb = 1", "a = 1.5\nb = 1"] {
        assert!(toml::from_str::<Sizes>(wrong).is_err(), "{wrong}");
    }
}
