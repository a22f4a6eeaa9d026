//! Where all chance comes from.

use std::cell::RefCell;

/// A small random number generator, the same everywhere (xorshift64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            dice.next();
        }
        dice
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// From 0 on, less than `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    /// Once in so many times.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.index(of.len())]
    }
}

thread_local! {
    static INSIDE: RefCell<Dice> = RefCell::new(Dice::new(0));
}

/// Begins what [`inside`] throws.
pub(crate) fn begin(seed: u64) {
    INSIDE.set(Dice::new(seed ^ 0x5151_5151));
}

/// For what happens within the server, which runs on the thread of its world: handlers and the store.
pub(crate) fn inside<T>(throw: impl FnOnce(&mut Dice) -> T) -> T {
    INSIDE.with_borrow_mut(throw)
}

thread_local! {
    static CALM: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Nothing goes wrong within the server any more, or again.
pub(crate) fn calm(is_calm: bool) {
    CALM.set(is_calm);
}

pub(crate) fn is_calm() -> bool {
    CALM.get()
}
