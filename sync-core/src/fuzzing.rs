//! What the fuzz targets in `tests/fuzz` reach besides what users do. Not for people: it changes without notice.

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use uuid::Uuid;

use crate::{
    Error, ErrorCode, Limits, Result, Running, SyncedModel,
    outbox::Cursor,
    protocol::{
        self, Content, Request, Rows, Subject, exceeds_depth,
        response::{self, ErrorDetail},
    },
    registry::{Model, ModelRegistration, Registry},
    session::Session,
    store::Select,
};

/// A message as it was read out of a frame.
#[derive(Debug)]
pub struct Decoded {
    /// Its method, if it was found.
    pub method: Option<&'static str>,
    /// Its `id`, as JSON.
    pub id: Option<String>,
    /// Its `modelname`.
    pub model: Option<String>,
    /// Its `cid`.
    pub cid: Option<String>,
    /// Its `ack`.
    pub ack: Option<u64>,
    /// Of a mutation: what it is told apart by.
    pub hash: Option<u64>,
    /// Why it is refused, as the client is told. For a batch with its step's number.
    pub refused: Vec<(Option<usize>, ErrorCode, Bytes)>,
    /// What was read, for comparisons.
    pub request: String,
}

/// Reads a frame as a connection does.
pub fn messages(text: &str, limits: &Limits) -> Vec<Decoded> {
    Session::new(limits.clone(), false, Instant::now()).read(text).map(Decoded::new).collect()
}

/// Whether arrays and objects are nested more than `limit` deep.
pub fn is_deeper(text: &str, limit: usize) -> bool {
    exceeds_depth(text, limit)
}

impl Decoded {
    fn new(message: protocol::Message) -> Self {
        let protocol::Message { subject, ack, request } = message;
        let told =
            |subject: &Subject, error: &Error| response::error(subject, error, &ErrorDetail::default());
        let mut refused = Vec::new();
        let mut hash = None;
        match &request {
            Err(error) => refused.push((None, error.code(), told(&subject, error))),
            Ok(Request::Mutate(mutation)) => {
                hash = Some(mutation.hash);
                match &mutation.content {
                    Err(error) => refused.push((None, error.code(), told(&subject, error))),
                    Ok(Content::One(_)) => {}
                    Ok(Content::Batch(steps)) => {
                        for (index, step) in steps.iter().enumerate() {
                            if let Err(error) = &step.content {
                                refused.push((Some(index), error.code(), told(&step.subject, error)));
                            }
                        }
                    }
                }
            }
            Ok(_) => {}
        }
        Self {
            method: subject.method,
            id: subject.id.as_ref().and_then(|id| serde_json::to_string(id).ok()),
            model: subject.model.map(Into::into),
            cid: subject.cid.map(Into::into),
            ack,
            hash,
            refused,
            request: format!("{request:?}"),
        }
    }
}

/// What is asked of one model's rows: each as JSON, as it stands in a message.
#[derive(Clone, Debug, Default)]
pub struct Asked<'a> {
    /// `where`
    pub filter: Option<&'a str>,
    /// `order`
    pub order: Option<&'a str>,
    /// `after`
    pub after: Option<&'a str>,
    /// `until`
    pub until: Option<&'a str>,
}

/// A model as the protocol knows it.
#[derive(Debug)]
pub struct Known(Registry, &'static str);

impl Known {
    /// The model `M`.
    ///
    /// # Errors
    /// When the models of the program do not fit together.
    pub fn of<M: SyncedModel>() -> Result<Self> {
        let registry = Registry::collect(&[ModelRegistration::of::<M>()])
            .map_err(|faults| Error::internal(format!("{} faults", faults.len())))?;
        Ok(Self(registry, M::NAME))
    }

    fn model(&self) -> Result<&Model> {
        self.0.get(self.1).ok_or_else(|| Error::internal("the model is not registered"))
    }

    /// What a subscription to these rows reads.
    ///
    /// # Errors
    /// What a client is told.
    pub fn select(&self, asked: &Asked<'_>) -> Result<Select> {
        let model = self.model()?;
        let text = |text: Option<&str>| text.map(Into::into);
        let rows = Rows {
            filter: text(asked.filter),
            order: text(asked.order),
            after: text(asked.after),
            until: text(asked.until),
            limit: None,
        };
        let mut select = match asked.filter {
            Some(filter) => Select::of(protocol::filter::read(filter, model.name(), model.schema())?),
            None => Select::all(),
        };
        if let Some(order) = asked.order {
            select.order = protocol::place::order(order, model)?;
        }
        if let Some(range) = protocol::place::range(&rows, &select.order, model)? {
            select.after.clone_from(&range.after);
            let parts = vec![select.filter, protocol::place::within(range)];
            select.filter = crate::model::filter::Expr::and(parts);
        }
        Ok(select)
    }
}

/// The parts of a cursor: its epoch, seq and hash, and how it is written.
pub fn cursor(text: &str) -> Option<(Uuid, u64, u64, String)> {
    let cursor = Cursor::parse(text)?;
    Some((cursor.epoch, cursor.seq, cursor.hash, cursor.to_string()))
}

/// Serves one connection that is no socket, until it ends or becomes a WebSocket.
pub async fn serve<S>(running: &Running, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    running.serve_stream(stream).await;
}
