//! What made way under a quota while a command ran, which is said whatever became of the command.

use std::sync::{Arc, Mutex, PoisonError};

use ipfs_accelerate::{AddNote, GcObject};

/// What made way and was not said yet.
#[derive(Clone, Default)]
pub(crate) struct Room(Arc<Mutex<Vec<GcObject>>>);

impl Room {
    /// For [`StoreOptions::made_way`](ipfs_accelerate::StoreOptions::made_way).
    pub(crate) fn follow(&self) -> Arc<dyn Fn(&GcObject) + Send + Sync> {
        let room = self.clone();
        Arc::new(move |object| room.with(|objects| objects.push(object.clone())))
    }

    /// What is to be said now: a note, or none. Each object is said once.
    pub(crate) fn say(&self) -> Vec<String> {
        let objects = self.with(std::mem::take);
        let note = AddNote::made_room(&objects);
        note.iter().map(ToString::to_string).collect()
    }

    fn with<T>(&self, change: impl FnOnce(&mut Vec<GcObject>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
