//! Which file of a folder is the checkpoint.

use super::error::LoadError;

/// The file that a folder's checkpoint is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointFiles {
    /// An index; the shards are the ones it names.
    Index(String),
    /// The one file that holds all tensors.
    Single(String),
}

/// Endings of weights that are not safetensors; named when a folder has nothing else.
const OTHER_WEIGHTS: [&str; 8] = [
    ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx",
];

/// Chooses the checkpoint among the names of the files directly in a folder.
///
/// In this order: the one `*.safetensors.index.json`; `model.safetensors`;
/// `adapter_model.safetensors`; the one `*.safetensors`. Names that begin with a dot do not count.
///
/// # Errors
/// [`LoadError::AmbiguousCheckpoint`] if two could be meant, two indexes among them, and
/// [`LoadError::NoCheckpoint`] if there is none.
///
/// ```
/// # use ipfs_accelerate::checkpoint::{CheckpointFiles, choose};
/// let files = ["config.json", "model.safetensors", "other.safetensors"];
/// assert_eq!(choose(&files).unwrap(), CheckpointFiles::Single("model.safetensors".into()));
/// ```
pub fn choose(files: &[&str]) -> Result<CheckpointFiles, LoadError> {
    let ending = |endings: &[&str]| {
        let mut names: Vec<&str> = (files.iter().copied())
            .filter(|name| !name.starts_with('.'))
            .filter(|name| endings.iter().any(|ending| name.ends_with(ending)))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    let owned = |names: &[&str]| names.iter().map(|name| name.to_string()).collect();

    match ending(&[".safetensors.index.json"])[..] {
        [] => {}
        [index] => return Ok(CheckpointFiles::Index(index.to_owned())),
        ref several => {
            return Err(LoadError::AmbiguousCheckpoint {
                candidates: owned(several),
            });
        }
    }
    let shards = ending(&[".safetensors"]);
    for usual in ["model.safetensors", "adapter_model.safetensors"] {
        if shards.contains(&usual) {
            return Ok(CheckpointFiles::Single(usual.to_owned()));
        }
    }
    match shards[..] {
        [] => Err(LoadError::NoCheckpoint {
            candidates: owned(&ending(&OTHER_WEIGHTS)),
        }),
        [only] => Ok(CheckpointFiles::Single(only.to_owned())),
        ref several => Err(LoadError::AmbiguousCheckpoint {
            candidates: owned(several),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Explain;

    fn single(name: &str) -> CheckpointFiles {
        CheckpointFiles::Single(name.into())
    }

    #[test]
    fn an_index_comes_before_every_single_file() {
        let files = [
            "model.safetensors",
            "m.safetensors.index.json",
            "consolidated.safetensors",
        ];
        let index = CheckpointFiles::Index("m.safetensors.index.json".into());
        assert_eq!(choose(&files).unwrap(), index);
    }

    #[test]
    fn the_usual_names_come_before_the_others() {
        let files = [
            "a.safetensors",
            "adapter_model.safetensors",
            "model.safetensors",
        ];
        assert_eq!(choose(&files).unwrap(), single("model.safetensors"));
        assert_eq!(
            choose(&files[..2]).unwrap(),
            single("adapter_model.safetensors")
        );
        assert_eq!(choose(&files[..1]).unwrap(), single("a.safetensors"));
    }

    #[test]
    fn two_indexes_are_an_error_that_lists_them_even_beside_a_model() {
        let files = [
            "b.safetensors.index.json",
            "a.safetensors.index.json",
            "model.safetensors",
        ];
        let error = choose(&files).unwrap_err();
        let LoadError::AmbiguousCheckpoint { candidates } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(
            candidates,
            &["a.safetensors.index.json", "b.safetensors.index.json"]
        );
        assert!(
            error
                .hint()
                .unwrap()
                .contains("`CID/a.safetensors.index.json`")
        );
    }

    #[test]
    fn two_shards_without_an_index_are_ambiguous() {
        let error = choose(&["b.safetensors", "a.safetensors"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "2 checkpoints in this folder: a.safetensors, b.safetensors"
        );
        assert!(error.hint().unwrap().contains("CID/path"));
    }

    #[test]
    fn a_folder_with_other_weights_only_names_them() {
        let error = choose(&["config.json", "pytorch_model.bin", ".cache.bin"]).unwrap_err();
        let LoadError::NoCheckpoint { candidates } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(candidates, &["pytorch_model.bin"]);
        assert!(
            matches!(choose(&[]), Err(LoadError::NoCheckpoint { candidates }) if candidates.is_empty())
        );
    }

    #[test]
    fn hidden_files_of_other_systems_do_not_count() {
        assert_eq!(
            choose(&["._m.safetensors", "m.safetensors"]).unwrap(),
            single("m.safetensors")
        );
    }
}
