//! A line between a client and the server: frames that are under way, in both directions.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures_util::{Sink, Stream};
use parking_lot::Mutex;
use sync_core::store::Seq;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::truth::Truth;

/// What the server's socket takes before it is full.
const BUFFER: usize = 8 * 1024;

/// Tells when a frame was written: the last seq of the store by then.
type Written = (Message, Seq);

#[derive(Debug, Default)]
struct Pipe {
    up: VecDeque<Message>,
    up_ended: bool,
    reads: Option<Waker>,
    down: VecDeque<Written>,
    down_bytes: usize,
    down_ended: bool,
    writes: Option<Waker>,
    is_served: bool,
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// The client's end.
#[derive(Debug)]
pub(crate) struct Line {
    pipe: Arc<Mutex<Pipe>>,
    /// Said by the client, and on its way.
    sent: VecDeque<Message>,
}

impl Line {
    /// A line and the server's end of it.
    pub(crate) fn new(person: &'static str, truth: Arc<Mutex<Truth>>) -> (Self, Socket) {
        let pipe = Arc::new(Mutex::new(Pipe { is_served: true, ..Pipe::default() }));
        (Self { pipe: pipe.clone(), sent: VecDeque::new() }, Socket { person, pipe, truth })
    }

    pub(crate) fn send(&mut self, message: Message) {
        self.sent.push_back(message);
    }

    /// So many frames arrive at the server.
    pub(crate) fn deliver(&mut self, frames: usize) {
        let mut pipe = self.pipe.lock();
        let frames = frames.min(self.sent.len());
        pipe.up.extend(self.sent.drain(..frames));
        wake(&mut pipe.reads);
    }

    /// What has arrived at the client; `Err` when nothing more will.
    pub(crate) fn receive(&mut self) -> Result<Option<Written>, ()> {
        let mut pipe = self.pipe.lock();
        match pipe.down.pop_front() {
            Some((message, seq)) => {
                pipe.down_bytes -= message.len();
                wake(&mut pipe.writes);
                Ok(Some((message, seq)))
            }
            None if pipe.is_served => Ok(None),
            None => Err(()),
        }
    }

    /// The client is gone, and what it has sent may still arrive.
    pub(crate) fn abandon(&mut self) {
        let mut pipe = self.pipe.lock();
        pipe.down_ended = true;
        wake(&mut pipe.writes);
    }

    /// Nothing more arrives at the server.
    pub(crate) fn end(&mut self) {
        self.abandon();
        let mut pipe = self.pipe.lock();
        pipe.up_ended = true;
        wake(&mut pipe.reads);
    }

    pub(crate) fn is_served(&self) -> bool {
        self.pipe.lock().is_served
    }
}

/// The server's end.
pub(crate) struct Socket {
    person: &'static str,
    pipe: Arc<Mutex<Pipe>>,
    truth: Arc<Mutex<Truth>>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.pipe.lock().is_served = false;
    }
}

impl Stream for Socket {
    type Item = Result<Message, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut pipe = self.pipe.lock();
        match pipe.up.pop_front() {
            Some(message) => Poll::Ready(Some(Ok(message))),
            None if pipe.up_ended => Poll::Ready(None),
            None => {
                pipe.reads = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Sink<Message> for Socket {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut pipe = self.pipe.lock();
        if pipe.down_ended {
            return Poll::Ready(Err(Error::ConnectionClosed));
        }
        if pipe.down_bytes < BUFFER {
            return Poll::Ready(Ok(()));
        }
        pipe.writes = Some(cx.waker().clone());
        Poll::Pending
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), Error> {
        let head = {
            let mut truth = self.truth.lock();
            if let Message::Text(text) = &message {
                truth.written(self.person, text);
            }
            truth.head
        };
        let mut pipe = self.pipe.lock();
        pipe.down_bytes += message.len();
        pipe.down.push_back((message, head));
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_ready(cx)
    }

    fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }
}
