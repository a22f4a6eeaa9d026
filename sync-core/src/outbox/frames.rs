//! Messages, put into frames.

use bytes::Bytes;

use super::FRAME_BYTES;
use crate::protocol::response;

/// Messages on their way into frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    full: Vec<Bytes>,
    messages: Vec<Bytes>,
    bytes: usize,
}

impl Frames {
    /// Adds a message; where it `may_begin` a frame, it does when the present one is full.
    pub(super) fn push(&mut self, message: Bytes, may_begin: bool) {
        if may_begin && self.bytes + message.len() > FRAME_BYTES && !self.messages.is_empty() {
            self.full.push(response::frame(&self.messages));
            self.messages.clear();
            self.bytes = 0;
        }
        self.bytes += message.len() + 1;
        self.messages.push(message);
    }

    pub(super) fn end(mut self) -> Vec<Bytes> {
        if !self.messages.is_empty() {
            self.full.push(response::frame(&self.messages));
        }
        self.full
    }
}
