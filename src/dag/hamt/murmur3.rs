//! murmur3-x64-64, the hash that places names in sharded folders: the first half of Austin Appleby's
//! MurmurHash3 x64 128 with seed 0 (multihash 0x22).

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

/// The hash of some bytes. Written out, its most significant byte is the first.
pub(super) fn murmur3_x64_64(bytes: &[u8]) -> u64 {
    let (mut h1, mut h2) = (0_u64, 0_u64);
    let mut blocks = bytes.chunks_exact(16);
    for block in &mut blocks {
        let (k1, k2) = words(block);
        h1 ^= mix_k1(k1);
        h1 = h1
            .rotate_left(27)
            .wrapping_add(h2)
            .wrapping_mul(5)
            .wrapping_add(0x52dc_e729);
        h2 ^= mix_k2(k2);
        h2 = h2
            .rotate_left(31)
            .wrapping_add(h1)
            .wrapping_mul(5)
            .wrapping_add(0x3849_5ab5);
    }
    // Missing bytes count as zeros, and a word of zeros mixes to zero.
    let mut tail = [0; 16];
    let rest = blocks.remainder();
    tail[..rest.len()].copy_from_slice(rest);
    let (k1, k2) = words(&tail);
    h1 ^= mix_k1(k1) ^ bytes.len() as u64;
    h2 ^= mix_k2(k2) ^ bytes.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    finish(h1).wrapping_add(finish(h2))
}

/// The two words of a block of 16 bytes.
fn words(block: &[u8]) -> (u64, u64) {
    let word = |at: usize| {
        block[at..at + 8]
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u64::from(*byte))
    };
    (word(0), word(8))
}

fn mix_k1(word: u64) -> u64 {
    word.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn mix_k2(word: u64) -> u64 {
    word.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn finish(mut word: u64) -> u64 {
    word ^= word >> 33;
    word = word.wrapping_mul(0xff51_afd7_ed55_8ccd);
    word ^= word >> 33;
    word = word.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    word ^ word >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with github.com/spaolacci/murmur3 1.1.0, which boxo uses.
    #[test]
    fn hashes_are_those_of_other_implementations() {
        for (text, hash) in VECTORS {
            assert_eq!(murmur3_x64_64(text.as_bytes()), hash, "{text:?}");
        }
    }

    const VECTORS: [(&str, u64); 9] = [
        ("", 0),
        ("a", 0x8555_5565_f659_7889),
        ("1234567", 0x2cda_c5f7_f2c6_23a2),
        ("12345678", 0x3b4a_6406_38b1_419c),
        ("123456789abcdef", 0x7f33_fb62_c27e_4346),
        ("123456789abcdef0", 0x76d8_28b6_3ebd_ed13),
        ("123456789abcdef01", 0xc273_564f_92a8_d0d0),
        ("é日本🎼", 0x01d8_d48a_5e6c_4a9e),
        (
            "The quick brown fox jumps over the lazy dog",
            0xe34b_bc7b_bc07_1b6c,
        ),
    ];
}
