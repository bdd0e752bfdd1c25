//! Lengths of time.

use std::time::Duration;

use ipfs_accelerate::error::Explain;
use ipfs_accelerate::{Config, ConfigValue, TimeSpan, TimeSpanError};
use proptest::prelude::*;

#[test]
fn time_spans_are_read_as_people_write_them() {
    for (text, nanoseconds) in [
        ("0", 0),
        (" 0 ", 0),
        ("0s", 0),
        ("500ms", 500_000_000),
        ("30s", 30_000_000_000),
        ("30 s", 30_000_000_000),
        (" 5m ", 300_000_000_000),
        ("1.5h", 5_400_000_000_000),
        ("24h", 86_400_000_000_000),
        ("1d", 86_400_000_000_000),
        ("2w", 1_209_600_000_000_000),
        ("7 days", 604_800_000_000_000),
        ("1h30m", 5_400_000_000_000),
        ("1 hour 30 mins 1 sec", 5_401_000_000_000),
        ("3us", 3_000),
        ("3µs", 3_000),
        ("7ns", 7),
        ("1.9ns", 1),
        ("0.0000000019s", 1),
        ("007s", 7_000_000_000),
        (
            "18446744073709551615s 999ms",
            u128::from(u64::MAX) * 1_000_000_000 + 999_000_000,
        ),
    ] {
        let span: TimeSpan = text
            .parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(span.duration().as_nanos(), nanoseconds, "{text}");
    }
}

#[test]
fn what_is_no_time_span_is_refused() {
    use TimeSpanError::{Negative, NoUnit, NotATimeSpan, TooLong, UnknownUnit};
    fn error(text: &str) -> TimeSpanError {
        text.parse::<TimeSpan>().expect_err(text)
    }
    for text in [
        "",
        " ",
        "s",
        "soon",
        ".5s",
        "1.s",
        "1..5s",
        "1.2.3s",
        "+1s",
        "-",
        "-s",
        "１s",
        "5s,",
        "1,5s",
        "1h-30m",
        "1h, 30m",
        "1h and 30m",
        "\u{0}",
    ] {
        assert!(
            matches!(error(text), NotATimeSpan { .. }),
            "{text}: {}",
            error(text)
        );
    }
    for text in ["-1s", "- 5 m", "-0"] {
        assert!(
            matches!(error(text), Negative { .. }),
            "{text}: {}",
            error(text)
        );
    }
    for text in ["30", "1.5", "00", "1h 30", "0.0"] {
        assert!(
            matches!(error(text), NoUnit { .. }),
            "{text}: {}",
            error(text)
        );
    }
    for text in [
        "5M",
        "1H",
        "1month",
        "1 y",
        "2 years",
        "1e3s",
        "3 parsecs",
        "1ſ",
        "1hs",
        "10S",
    ] {
        assert!(
            matches!(error(text), UnknownUnit { .. }),
            "{text}: {}",
            error(text)
        );
    }
    let digits = format!("{}s", "9".repeat(1_000));
    for text in [
        "18446744073709551616s",
        "18446744073709551615s 1000ms",
        "18446744073709551615w",
        "340282366920938463463374607431768211455w",
        &digits,
    ] {
        assert!(
            matches!(error(text), TooLong { .. }),
            "{text}: {}",
            error(text)
        );
    }
    assert!(error("x").hint().unwrap().contains("24h"));
    assert_eq!(error("5M").to_string(), "`M` in `5M` is not a unit of time");
}

#[test]
fn time_spans_are_shown_in_days_and_less() {
    for (duration, text) in [
        (Duration::ZERO, "0s"),
        (Duration::from_secs(30), "30s"),
        (Duration::from_secs(86_400), "1d"),
        (Duration::from_secs(31 * 86_400), "31d"),
        (Duration::from_secs(5_401), "1h 30m 1s"),
        (Duration::from_millis(1_500), "1s 500ms"),
        (Duration::from_nanos(1_001), "1us 1ns"),
    ] {
        assert_eq!(TimeSpan::new(duration).to_string(), text);
    }
    let longest = TimeSpan::new(Duration::MAX);
    assert_eq!(longest.to_string().parse::<TimeSpan>().unwrap(), longest);
    assert_eq!(
        format!("{:>5}", TimeSpan::new(Duration::from_secs(9))),
        "   9s"
    );
}

proptest! {
    #[test]
    fn what_is_shown_is_read_as_the_same(seconds: u64, nanoseconds in 0..1_000_000_000_u32) {
        let span = TimeSpan::new(Duration::new(seconds, nanoseconds));
        prop_assert_eq!(span.to_string().parse::<TimeSpan>().unwrap(), span);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[0-9.]{0,40}[ a-zµ-]{0,6}[0-9.]{0,40}\\PC{0,6}") {
        let _ = text.parse::<TimeSpan>();
    }
}

#[test]
fn time_spans_go_through_serde_as_text() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Spans {
        a: TimeSpan,
        b: TimeSpan,
    }
    let spans: Spans = toml::from_str("a = \"90s\"\nb = 0\n").unwrap();
    assert_eq!(spans.a, TimeSpan::new(Duration::from_secs(90)));
    assert_eq!(spans.b, TimeSpan::ZERO);
    let json = serde_json::to_string(&spans).unwrap();
    assert_eq!(json, r#"{"a":"1m 30s","b":"0s"}"#);
    assert_eq!(serde_json::from_str::<Spans>(&json).unwrap(), spans);
    for wrong in [
        "a = 30\nb = 0",
        "a = -1\nb = 0",
        "a = 1.5\nb = 0",
        "a = \"x\"\nb = 0",
    ] {
        assert!(toml::from_str::<Spans>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_configuration_holds_time_spans() {
    let mut config = Config::default();
    assert_eq!(config.store.lock_timeout, TimeSpan::ZERO);
    config.set("store", "lock_timeout", "1h 30m").unwrap();
    assert_eq!(
        config.store.lock_timeout.duration(),
        Duration::from_secs(5_400)
    );
    assert_eq!(
        config.get("store", "lock_timeout"),
        Some(ConfigValue::from("1h 30m"))
    );
    config.set("store", "lock_timeout", 0).unwrap();
    assert_eq!(config.store.lock_timeout, TimeSpan::ZERO);
    // Thirty of what?
    let error = config.set("store", "lock_timeout", 30).unwrap_err();
    assert!(
        error.to_string().contains("found the integer 30"),
        "{error}"
    );
    assert!(config.set_text("store", "lock_timeout", "30").is_err());
    config.set_text("store", "lock_timeout", "0").unwrap();
}
