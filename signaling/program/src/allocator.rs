//! Hands out row indices. A freed index comes back with the next generation, and only after every worker has adopted its end:
//! two workers would otherwise write the slots or the state of one row for a moment.

use std::collections::VecDeque;

use engine_base::{DataRef, EgressRef, IngressRef, TransportRef};

/// What a room needs to name new rows. `None`: the table is full (`limits` of the configuration).
pub trait RowAllocator {
    fn transport(&mut self) -> Option<TransportRef>;
    fn ingress(&mut self) -> Option<IngressRef>;
    fn egress(&mut self) -> Option<EgressRef>;
    fn data(&mut self) -> Option<DataRef>;
}

/// Of one table.
#[derive(Debug)]
pub(crate) struct Indices {
    /// Last generation of each index; its length grows as indices are first used.
    generations: Vec<u32>,
    taken: Vec<bool>,
    free: VecDeque<u32>,
    /// Freed indices and the log position that must be adopted before they come back.
    resting: VecDeque<(u32, u64)>,
    capacity: u32,
}

impl Indices {
    /// **Input**: the generation of every row that was ever used (0 if it was skipped), how many rows there are, and the log's
    /// head.
    pub(crate) fn adopt(generations: Vec<u32>, capacity: u32, position: u64) -> Self {
        let used = generations.iter().rposition(|generation| *generation != 0).map_or(0, |last| last + 1);
        let taken = vec![false; used];
        let resting = (0..used as u32).map(|index| (index, position)).collect();
        Self { generations: generations[..used].to_vec(), taken, free: VecDeque::new(), resting, capacity }
    }

    /// Index and generation.
    pub(crate) fn take(&mut self) -> Option<(u32, u32)> {
        // What a replayed session has claimed since is passed over.
        while let Some(index) = self.free.pop_front() {
            if !self.taken[index as usize] {
                return Some(self.mark(index));
            }
        }
        let index = self.generations.len() as u32;
        if index == self.capacity {
            return None;
        }
        self.generations.push(0);
        self.taken.push(false);
        Some(self.mark(index))
    }

    fn mark(&mut self, index: u32) -> (u32, u32) {
        let generation = self.generations[index as usize].wrapping_add(1).max(1);
        self.generations[index as usize] = generation;
        self.taken[index as usize] = true;
        (index, generation)
    }

    /// A living row of the journal keeps its index. `false` when another has it.
    pub(crate) fn claim(&mut self, index: u32, generation: u32) -> bool {
        if index >= self.capacity {
            return false;
        }
        while self.generations.len() as u32 <= index {
            self.free.push_back(self.generations.len() as u32);
            self.generations.push(0);
            self.taken.push(false);
        }
        if self.taken[index as usize] {
            return self.generations[index as usize] == generation;
        }
        self.taken[index as usize] = true;
        self.generations[index as usize] = generation;
        true
    }

    /// **Input**: `position` of the log after the row's end was announced.
    pub(crate) fn release(&mut self, index: u32, generation: u32, position: u64) {
        if self.is_current(index, generation) {
            self.taken[index as usize] = false;
            self.resting.push_back((index, position));
        }
    }

    /// Everyone has adopted the log up to `position`.
    pub(crate) fn settle(&mut self, position: u64) {
        while let Some((index, _)) = self.resting.pop_front_if(|(_, needed)| *needed <= position) {
            self.free.push_back(index);
        }
    }

    /// What rests, rests until `position`.
    pub(crate) fn rest_until(&mut self, position: u64) {
        self.resting.iter_mut().for_each(|(_, needed)| *needed = position);
    }

    pub(crate) fn is_current(&self, index: u32, generation: u32) -> bool {
        self.taken.get(index as usize) == Some(&true) && self.generations[index as usize] == generation
    }

    /// Indices that were used once and are not now.
    pub(crate) fn not_taken(&self) -> impl Iterator<Item = u32> {
        (0..self.taken.len() as u32).filter(|index| !self.taken[*index as usize])
    }

    pub(crate) fn taken_count(&self) -> usize {
        self.taken.iter().filter(|taken| **taken).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_comes_back_last_and_with_another_generation() {
        let mut indices = Indices::adopt(Vec::new(), 3, 0);
        let taken: Vec<_> = std::iter::from_fn(|| indices.take()).collect();
        assert_eq!(taken, [(0, 1), (1, 1), (2, 1)]);
        indices.release(1, 1, 5);
        indices.release(0, 9, 5);
        indices.settle(4);
        assert_eq!(indices.take(), None, "its end is not adopted yet");
        indices.settle(5);
        assert_eq!(indices.take(), Some((1, 2)));
        assert_eq!(indices.take(), None);
    }

    #[test]
    fn a_claimed_index_is_never_handed_out() {
        let mut indices = Indices::adopt(vec![4, 7], 4, 9);
        assert!(indices.claim(1, 7));
        assert!(indices.claim(3, 2));
        assert!(!indices.claim(4, 1));
        indices.settle(9);
        let taken: Vec<_> = std::iter::from_fn(|| indices.take()).collect();
        assert_eq!(taken, [(2, 1), (0, 5)]);
    }
}
