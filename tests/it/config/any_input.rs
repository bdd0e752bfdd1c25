//! Whatever is given.

use ipfs_accelerate::{ByteSize, Config};
use proptest::prelude::*;

use super::{COMMENTED, NO_FLAGS, file, load};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn exact_byte_sizes_come_back(bytes: u64, shift in 0u32..64) {
        for size in [ByteSize::new(bytes), ByteSize::new(bytes >> shift << (shift / 2))] {
            prop_assert_eq!(size.to_exact().parse::<ByteSize>().unwrap(), size);
        }
    }

    #[test]
    fn no_text_makes_parsing_panic(text in "\\PC*", number in "[0-9.]{0,40} ?[KMGTPEkib]{0,4}") {
        let _ = text.parse::<ByteSize>();
        let _ = number.parse::<ByteSize>();
        let mut config = Config::default();
        for (section, key) in Config::keys() {
            let _ = config.set_text(section, key, &text);
        }
        let _ = config.set_text(&text, &text, &text);
        let _ = Config::from_layers(None, [(format!("IPFS_ACCELERATE__{text}"), text)], NO_FLAGS);
    }

    #[test]
    fn what_is_set_is_what_is_loaded_after_saving(
        size in 0u64..1 << 62,
        device in "\\PC{1,8}",
        name in "[^\\x00.]{1,8}",
        key in "\\PC{1,20}",
    ) {
        let (_folder, path) = file(COMMENTED);
        let mut config = Config::load(&path).unwrap();
        config.checkpoint.max_memory.insert(device, ByteSize::new(size));
        config.set(&format!("endpoints.{name}"), "api_key", key.as_str()).unwrap();
        config.docker.timeout = size;
        config.save(None).unwrap();
        prop_assert_eq!(&Config::load(&path).unwrap(), &config);
        prop_assert_eq!(&load(&config.show().replace("\"********\"", "\"x\"")).unwrap().docker, &config.docker);
    }
}
