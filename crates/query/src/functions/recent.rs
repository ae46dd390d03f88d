//! A bounded memory of answers for texts that come again and again, as user agents do.

use std::collections::HashMap;

use parking_lot::Mutex;

/// Remembers at most `2 × generation` answers. When the young generation is full, the old one is forgotten and the
/// young one becomes old; an answer found in the old one moves to the young. What is used stays.
pub(crate) struct Recent<V> {
    generation: usize,
    held: Mutex<Generations<V>>,
}

/// The standard hasher, because the texts come from outside and could be chosen to collide.
type Map<V> = HashMap<Box<str>, V>;

struct Generations<V> {
    young: Map<V>,
    old: Map<V>,
}

impl<V: Clone> Recent<V> {
    pub(crate) fn new(generation: usize) -> Self {
        let held = Generations { young: Map::default(), old: Map::default() };
        Self { generation, held: Mutex::new(held) }
    }

    /// The answer for `text`, worked out by `answer` if it is not remembered. The work is done outside the lock: two
    /// threads may do it twice, none waits for another's.
    pub(crate) fn get(&self, text: &str, answer: impl FnOnce(&str) -> V) -> V {
        if let Some(found) = self.held.lock().find(text, self.generation) {
            return found;
        }
        let made = answer(text);
        self.held.lock().keep(text, made.clone(), self.generation);
        made
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let held = self.held.lock();
        held.young.len() + held.old.len()
    }
}

impl<V: Clone> Generations<V> {
    fn find(&mut self, text: &str, generation: usize) -> Option<V> {
        if let Some(found) = self.young.get(text) {
            return Some(found.clone());
        }
        let found = self.old.remove(text)?;
        self.keep(text, found.clone(), generation);
        Some(found)
    }

    fn keep(&mut self, text: &str, value: V, generation: usize) {
        if self.young.len() >= generation {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(text.into(), value);
    }
}
