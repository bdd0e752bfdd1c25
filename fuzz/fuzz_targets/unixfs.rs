#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ipfs_accelerate::fuzzing::unixfs(data);
});
