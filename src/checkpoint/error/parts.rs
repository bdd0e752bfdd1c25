//! What the variants of a load error hold, and how their messages put it.

use std::fmt;

/// What the first bytes of a file that is no safetensors file look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Foreign {
    /// A web page, often a login or an error page that was saved as the model.
    Html,
    /// A zip archive, as `torch.save` writes it.
    Zip,
    /// A Python pickle, as older versions of `torch.save` write it.
    Pickle,
    /// A GGUF model.
    Gguf,
    /// A JSON document, an index for example.
    Json,
    /// Plain text.
    Text,
    /// Zeros: space that was reserved and never written.
    Zeros,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Html => "an HTML page",
            Self::Zip => "a zip archive, probably a PyTorch checkpoint (.bin, .pt)",
            Self::Pickle => "a Python pickle, probably an old PyTorch checkpoint (.bin, .pt)",
            Self::Gguf => "a GGUF model",
            Self::Json => "a JSON document",
            Self::Text => "a text file",
            Self::Zeros => "a run of zeros, probably a download that never finished",
        })
    }
}

/// A tensor and the shard it lies in, or should lie in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TensorPlace {
    /// The tensor's name.
    pub tensor: String,
    /// The shard's path.
    pub shard: String,
}

impl fmt::Display for TensorPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({})", self.tensor, self.shard)
    }
}

/// A device and its limit, for a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitOf {
    /// The device's name.
    pub device: String,
    /// Its limit in bytes, none if it has none.
    pub limit: Option<u64>,
}

impl fmt::Display for LimitOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit {
            Some(limit) => write!(f, "`{}` ({} bytes)", self.device, Grouped(limit)),
            None => write!(f, "`{}` (no limit)", self.device),
        }
    }
}

/// A number with commas between its thousands.
pub(crate) struct Grouped(pub(crate) u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        f.pad_integral(true, "", &grouped)
    }
}

/// The first few of a list; the error's field holds all.
pub(super) struct Listed<'a, T>(pub(super) &'a [T]);

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (i, one) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{}{one}", if i == 0 { "" } else { ", " })?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {} more", Grouped(more as u64)),
        }
    }
}

/// A count and its noun, for one and for many.
pub(super) struct Count(
    pub(super) usize,
    pub(super) &'static str,
    pub(super) &'static str,
);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.0 == 1 { self.1 } else { self.2 };
        write!(f, "{} {noun}", Grouped(self.0 as u64))
    }
}

/// The tensor that the parser was inside, if any.
pub(super) struct InTensor<'a>(pub(super) Option<&'a str>);

impl fmt::Display for InTensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .map_or(Ok(()), |tensor| write!(f, " in tensor `{tensor}`"))
    }
}

/// The first byte of a header.
pub(super) struct Byte(pub(super) Option<u8>);

impl fmt::Display for Byte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("an empty header"),
            Some(byte) if byte.is_ascii_graphic() => write!(f, "`{}`", char::from(byte)),
            Some(byte) => write!(f, "byte {byte:#04x}"),
        }
    }
}

/// What else lies in a folder without a checkpoint.
pub(super) fn also(candidates: &[String]) -> String {
    match candidates {
        [] => String::new(),
        some => format!("; it holds {}", Listed(some)),
    }
}

/// The size of the file that a git-lfs pointer stands for.
pub(super) fn pointed(size: Option<u64>) -> String {
    size.map_or_else(String::new, |size| {
        format!(" (the model has {} bytes)", Grouped(size))
    })
}
