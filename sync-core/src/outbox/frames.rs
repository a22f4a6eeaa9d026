//! Messages, put into frames.

use bytes::Bytes;

use super::FRAME_BYTES;
use crate::protocol::response;

/// A message that is its own beginning and a rest which others share.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) head: Bytes,
    pub(super) rest: Bytes,
}

impl From<Bytes> for Parts {
    fn from(head: Bytes) -> Self {
        Self { head, rest: Bytes::new() }
    }
}

impl Parts {
    fn len(&self) -> usize {
        self.head.len() + self.rest.len()
    }
}

/// Messages on their way into frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    full: Vec<Bytes>,
    messages: Vec<Parts>,
    bytes: usize,
}

impl Frames {
    /// Adds a message; where it `may_begin` a frame, it does when the present one is full.
    pub(super) fn push(&mut self, message: impl Into<Parts>, may_begin: bool) {
        let message = message.into();
        if may_begin && self.bytes + message.len() > FRAME_BYTES && !self.messages.is_empty() {
            self.cut();
        }
        self.bytes += message.len() + 1;
        self.messages.push(message);
    }

    pub(super) fn end(mut self) -> Vec<Bytes> {
        if !self.messages.is_empty() {
            self.cut();
        }
        self.full
    }

    fn cut(&mut self) {
        let messages = self.messages.iter().map(|message| [&message.head, &message.rest]);
        self.full.push(response::frame(messages));
        self.messages.clear();
        self.bytes = 0;
    }
}
