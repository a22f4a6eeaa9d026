//! Fuzz targets: functions that take any bytes and panic when the server does what it must not. `tests/fuzz/README.md` says how they are run.
#![allow(clippy::missing_panics_doc, reason = "a target panics when it has found something")]
#![allow(clippy::format_push_string, reason = "it cannot fail, and an input is made once")]

pub mod json;
pub mod line;
pub mod models;
pub mod runner;
pub mod targets;

use std::collections::BTreeSet;

use arbitrary::Unstructured;

/// What an input led to, in a few words each: the runner keeps inputs that lead to something new.
#[derive(Debug, Default)]
pub struct Notes(BTreeSet<String>);

impl Notes {
    /// It led to this.
    pub fn add(&mut self, note: impl Into<String>) {
        self.0.insert(note.into());
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// A target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of the folder of its corpus.
    pub name: &'static str,
    /// Tries an input.
    pub run: fn(&[u8], &mut Notes),
    /// Makes an input out of random bytes, where random bytes are not one.
    pub generate: fn(&mut Unstructured<'_>) -> arbitrary::Result<Vec<u8>>,
    /// What is worth putting into an input.
    pub words: &'static [&'static str],
}

/// All targets.
pub const TARGETS: [Target; 3] = [
    Target {
        name: "handshake",
        run: targets::handshake::run,
        generate: targets::handshake::generate,
        words: targets::handshake::WORDS,
    },
    Target {
        name: "messages",
        run: targets::messages::run,
        generate: targets::messages::generate,
        words: targets::messages::WORDS,
    },
    Target {
        name: "filters",
        run: targets::filters::run,
        generate: targets::filters::generate,
        words: targets::filters::WORDS,
    },
];
