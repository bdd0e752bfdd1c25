//! What two checkpoints share, tensor by tensor.

use super::error::{LoadError, SourceError};
use super::shards::{INDEX, Shard, open, read_headers};
use super::source::{Located, Source};
use super::threads::Threads;
use crate::store::{Object, Part, SharedBytes, SharedPart, Side, StoreReader, Target, match_parts};

/// What two checkpoints share.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedTensors {
    /// The targets as a whole, by file and by byte: headers, and files that hold no tensors, are in it.
    pub bytes: SharedBytes,
    /// The tensors of the first checkpoint, in the order of their data.
    pub a: Vec<SharedPart>,
    /// Those of the second one.
    pub b: Vec<SharedPart>,
}

/// Tells what two checkpoints share, tensor by tensor, from their roots and headers; no other payload is read.
///
/// Tensors are the same where they lie at the same place of the store. Those that were cut apart are stored
/// apart, whatever bytes they hold: under chunkers of a fixed size a tensor that begins in the middle of a chunk
/// shares the chunks that are its own, and the first and last one only with the same neighbours.
///
/// # Errors
/// [`LoadError`] as for a load: when a target is no checkpoint, or its headers are not sound.
/// [`StoreReader::compare`] takes any two files or folders.
///
/// ```
/// use ipfs_accelerate::checkpoint::compare_checkpoints;
/// use ipfs_accelerate::{AddOptions, Chunker, PartTotals, Profile, Store};
/// # let dir = tempfile::tempdir()?;
/// let store = Store::create(dir.path().join("store"))?;
/// let profile = Profile::default().with_chunker(Chunker::TensorV1)?;
/// let options = AddOptions::default().with_profile(profile);
/// let whole = store.add_path("fixtures/silero-vad", &options)?.cid;
/// let shards = store.add_path("fixtures/silero-vad-sharded", &options)?.cid;
///
/// let shared = compare_checkpoints(&store.to_reader(), &whole.into(), &shards.into())?;
/// let totals = PartTotals::of(&shared.a);
/// assert_eq!(shared.a.len(), 15);
/// assert!(totals.same_name.bytes > 1_000_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn compare_checkpoints(
    reader: &StoreReader,
    a: &Target,
    b: &Target,
) -> Result<SharedTensors, LoadError> {
    let (a, b) = (Resolved::new(reader, a)?, Resolved::new(reader, b)?);
    let (a_tensors, b_tensors) = (a.tensors()?, b.tensors()?);
    let (a, b) = (a.side()?, b.side()?);
    let bytes = SharedBytes::of(&a, &b);
    let (a, b) = match_parts((&a_tensors, &a), (&b_tensors, &b));
    Ok(SharedTensors { bytes, a, b })
}

/// A target that is resolved once, so that a name that moves meanwhile cannot mix two objects.
struct Resolved {
    object: Object,
    target: Target,
}

impl Resolved {
    fn new(reader: &StoreReader, target: &Target) -> Result<Self, LoadError> {
        let object = reader.resolve(target).map_err(LoadError::from_source)?;
        Ok(Self {
            object,
            target: target.clone(),
        })
    }

    fn tensors(&self) -> Result<Vec<Part>, LoadError> {
        let shards = Threads::new(0)?.run(|| read_headers(open(self, &self.target, false)?))?;
        Ok(shards.iter().flat_map(tensors_of).collect())
    }

    /// An index that is named by its path stands for its folder here too.
    fn side(self) -> Result<Side, LoadError> {
        let is_index = self.target.path().ends_with(INDEX);
        let folder = self.object.parent().filter(|_| is_index);
        Side::of(folder.unwrap_or(self.object)).map_err(LoadError::from_source)
    }
}

impl Source for Resolved {
    fn locate(&self, _: &Target) -> Result<Located, SourceError> {
        Ok(Located::of(self.object.clone()))
    }
}

fn tensors_of(shard: &Shard) -> impl Iterator<Item = Part> + '_ {
    shard.header.tensors.iter().map(|tensor| {
        let spans = shard.file.spans(tensor.range.clone());
        Part::new(tensor.name.clone(), spans)
    })
}
