//! What the fuzz targets of the configuration run; see [`crate::fuzzing`].

use std::path::Path;

use super::{Config, ConfigError, ConfigValue, Origin, Secret, document};

/// A file. What was loaded can be saved, with no change and with one, and shows no secret.
pub fn config_file(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let path = Path::new("/home/ann/config.toml");
    let Ok(mut config) = load(path, text) else {
        return false;
    };
    let unchanged = config.edited(path).expect("a file that was loaded");
    let unmarked = text.strip_prefix('\u{feff}').unwrap_or(text);
    let expected = unmarked.replace("\r\n", "\n");
    assert!(
        unchanged == expected || unchanged == format!("{expected}\n"),
        "{unchanged:?}, {text:?}"
    );

    config.docker.timeout = config.docker.timeout.wrapping_add(1) >> 1;
    let edited = config.edited(path).expect("a changed file");
    assert_eq!(load(path, &edited).expect("what was saved"), config);
    check_shown(&config);
    true
}

/// A section, a key and the text of a value, a line each.
pub fn config_value(data: &[u8]) -> bool {
    let lines = std::str::from_utf8(data).map_or(None, |text| {
        let (section, rest) = text.split_once('\n')?;
        let (key, value) = rest.split_once('\n')?;
        Some((section, key, value))
    });
    let Some((section, key, value)) = lines else {
        return false;
    };
    let mut config = defaults();
    if config.set_text(section, key, value).is_err() {
        assert_eq!(config, defaults(), "changed in spite of an error");
        return false;
    }
    let set = config.get(section, key).expect("a key that was set");
    assert_eq!(config.get_or(section, key, ""), set);
    assert!(config.origin(section, key).is_some(), "[{section}] {key}");
    check_shown(&config);

    let path = Path::new("/home/ann/config.toml");
    if let Ok(edited) = config.edited(path) {
        let again = load(path, &edited).expect("what was saved");
        let saved = again.get(section, key).expect("a key that was saved");
        assert!(
            saved == set || is_absolute_form(&saved, &set),
            "{saved}, {set}"
        );
    }
    config.unset(section, key).expect("a key that was set");
    assert_eq!(
        config.origin(section, key).unwrap_or(Origin::Default),
        Origin::Default
    );
    true
}

/// Whether one is the path that the other is from the root on.
fn is_absolute_form(whole: &ConfigValue, value: &ConfigValue) -> bool {
    let whole_of = |value: &ConfigValue| std::path::absolute(value.as_str()?).ok();
    whole_of(value).is_some_and(|path| whole.as_str() == path.to_str())
}

fn defaults() -> Config {
    let mut config = Config::default();
    config.source.home = Some("/home/ann".into());
    config
}

fn load(path: &Path, text: &str) -> Result<Config, ConfigError> {
    let mut config = defaults();
    config.apply(&document::parse(path, text)?, path.parent())?;
    config.source.path = Some(path.into());
    config.source.text = Some(text.to_owned());
    Ok(config)
}

/// What is shown of a configuration does not depend on its secrets.
fn check_shown(config: &Config) {
    let mut other = config.clone();
    for endpoint in other.endpoints.named.values_mut() {
        if endpoint.api_key.is_some() {
            endpoint.api_key = Some(Secret::new("another"));
        }
    }
    // So that it does not count as changed by the program.
    other.settle();
    let mut settled = config.clone();
    settled.settle();
    assert_eq!(format!("{other:?}"), format!("{settled:?}"));
    assert_eq!(other.show(), settled.show());
}

#[cfg(test)]
pub(crate) mod seeds {
    fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    pub(crate) fn config_file() -> Vec<Vec<u8>> {
        let shipped = include_str!("../../config.toml");
        let bare: String = shipped
            .lines()
            .filter(|line| !line.starts_with('#'))
            .fold(String::new(), |text, line| text + line + "\n");
        let mut seeds = texts(&[
            "",
            &bare,
            "[endpoints.\"my node\"]\nhost = 'h'\nport = 0x50\ngateway = \"http://h/ipfs/\"\napi_key = \"k\"\n",
            "[checkpoint.max_memory]\n\"cuda:0\" = \"16GiB\"\ncpu = 10_000\ndisk = \"1.5 TB\"\n",
            "[endpoints]\ndefault = \"n\"\nn = { host = \"h\", port = 1 } # one line\n",
            "store.path = \"~/models\"\ncache = { path = \"~/models\", enabled = false }\r\n",
            "[general]\ndebug = true\nlog_level = \"\"\"warning\"\"\"\n\n[checkpoint]\ndevice_map = \"maps/a.json\"\nthreads = 2\n",
        ]);
        // The shipped file in halves, as a whole it is longer than what is fuzzed.
        let half = shipped.find("[docker]").unwrap();
        let endpoints = shipped.find("[endpoints]").unwrap();
        seeds.extend(texts(&[
            &shipped[..endpoints],
            &shipped[endpoints..half],
            &shipped[half..],
        ]));
        seeds
    }

    pub(crate) fn config_value() -> Vec<Vec<u8>> {
        texts(&[
            "general\ndebug\ntrue",
            "general\nlog_level\nerror",
            "store\npath\n~/models",
            "store\nprofile\nkubo-cidv1",
            "cache\nenabled\n0",
            "cache\nmax_size_mb\n200",
            "endpoints\ndefault\nlocal",
            "endpoints.local\nport\n8080",
            "endpoints.my node\napi_key\nput-your-key-here",
            "endpoints.a\"b\ngateway\nhttp://localhost/",
            "docker\ntimeout\n9223372036854775807",
            "checkpoint\ndevice_map\nsequential",
            "checkpoint\ndevice_map\nmap.json",
            "checkpoint.max_memory\ncuda:0\n1.5 GiB",
            "checkpoint.max_memory\ncpu\n10000000",
        ])
    }
}
