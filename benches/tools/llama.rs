//! What a synthetic checkpoint holds: the tensors of a Llama model, and bytes
//! to fill them with.

use std::io;

use serde_json::json;

use super::{Spec, invalid};

/// At one layer and this size, rounding is just within the promised 1 %.
const MIN_BYTES_PER_LAYER: u64 = 4096;

/// A Llama model of about the size asked for: the hidden size follows from the
/// layers, and the vocabulary takes up what rounding it leaves.
pub(super) struct Architecture {
    layers: usize,
    hidden: usize,
    intermediate: usize,
    heads: usize,
    kv_heads: usize,
    vocab: usize,
}

impl Architecture {
    pub(super) fn of(spec: &Spec) -> io::Result<Self> {
        let layers = spec.layers as u64;
        let least = layers.saturating_mul(MIN_BYTES_PER_LAYER);
        if layers == 0 || spec.size_bytes < least {
            return Err(invalid(format!(
                "{} bytes in {layers} layers: there must be a layer, and {MIN_BYTES_PER_LAYER} bytes for each",
                spec.size_bytes
            )));
        }
        let params = spec.size_bytes / 2;
        // A layer has 13 h² + 2 h parameters; the vocabulary gets 5 % or more.
        let largest = (params / 100 * 95 / (13 * layers)).isqrt();
        let step = if largest >= 1024 { 256 } else { 8 };
        let hidden = (largest / step * step).max(8);
        let in_layers = layers * (13 * hidden * hidden + 2 * hidden);
        let vocab = (params - in_layers - hidden) / (2 * hidden);

        let hidden = hidden as usize;
        let heads = if hidden.is_multiple_of(256) {
            hidden / 64
        } else {
            4
        };
        Ok(Self {
            layers: spec.layers,
            hidden,
            intermediate: hidden / 2 * 7,
            heads,
            kv_heads: heads / 4,
            vocab: vocab as usize,
        })
    }

    /// Names and shapes in the order of the model.
    pub(super) fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (h, i) = (self.hidden, self.intermediate);
        let kv = h / self.heads * self.kv_heads;
        let in_layer = [
            ("self_attn.q_proj", vec![h, h]),
            ("self_attn.k_proj", vec![kv, h]),
            ("self_attn.v_proj", vec![kv, h]),
            ("self_attn.o_proj", vec![h, h]),
            ("mlp.gate_proj", vec![i, h]),
            ("mlp.up_proj", vec![i, h]),
            ("mlp.down_proj", vec![h, i]),
            ("input_layernorm", vec![h]),
            ("post_attention_layernorm", vec![h]),
        ];
        let mut all = vec![("model.embed_tokens.weight".to_owned(), vec![self.vocab, h])];
        for layer in 0..self.layers {
            for (part, shape) in &in_layer {
                all.push((format!("model.layers.{layer}.{part}.weight"), shape.clone()));
            }
        }
        all.push(("model.norm.weight".to_owned(), vec![h]));
        all.push(("lm_head.weight".to_owned(), vec![self.vocab, h]));
        all
    }

    pub(super) fn config(&self, spec: &Spec) -> serde_json::Value {
        json!({
            "architectures": ["LlamaForCausalLM"],
            "head_dim": self.hidden / self.heads,
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "intermediate_size": self.intermediate,
            "model_type": "llama",
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "rms_norm_eps": 1e-5,
            "synthetic": {
                "seed": spec.seed,
                "size_bytes": spec.size_bytes,
                "sparse": spec.sparse,
            },
            "tie_word_embeddings": false,
            "torch_dtype": "bfloat16",
            "vocab_size": self.vocab,
        })
    }
}

pub(super) fn bf16_bytes(shape: &[usize]) -> u64 {
    2 * shape.iter().map(|&dim| dim as u64).product::<u64>()
}

/// The bytes of one synthetic tensor, from its first one on: what the file
/// holds can be checked without keeping a second copy of it.
#[derive(Debug, Clone)]
pub struct Payload {
    state: u64,
}

impl Payload {
    pub fn new(seed: u64, tensor: &str) -> Self {
        // FNV-1a tells the names apart, the mixer spreads the result.
        let mut state = splitmix(seed ^ 0xCBF2_9CE4_8422_2325);
        for byte in tensor.bytes() {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        Self {
            state: splitmix(state),
        }
    }

    /// The next bytes. Every buffer but the last must be a multiple of 8 long.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        let mut words = buffer.chunks_exact_mut(8);
        for word in &mut words {
            word.copy_from_slice(&self.next().to_le_bytes());
        }
        let rest = words.into_remainder();
        if !rest.is_empty() {
            rest.copy_from_slice(&self.next().to_le_bytes()[..rest.len()]);
        }
    }

    /// Four bf16 values: sign, mantissa and the low three bits of the exponent
    /// are random, the rest is fixed so that none is infinite or not a number.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        splitmix(self.state) & 0x83FF_83FF_83FF_83FF | 0x3C00_3C00_3C00_3C00
    }
}

/// The output function of SplitMix64 (Steele, Lea and Flood, 2014).
fn splitmix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
