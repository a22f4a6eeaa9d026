//! What the server sends, encoded.
//!
//! Rows stand in the messages as the bytes that they were encoded to once; the rest is written around them.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use super::{Channel, RequestId, Subject};
use crate::{
    Error,
    model::Key,
    store::{MutationId, Seq},
};

/// The features of this server that a client may rely on.
const FEATURES: [&str; 9] =
    ["patch", "if_seq", "resume", "cid", "where", "order", "window", "action", "batch"];

/// A JSON object under construction.
struct Object {
    json: Vec<u8>,
}

impl Object {
    fn method(name: &'static str) -> Self {
        let mut json = Vec::with_capacity(192);
        json.extend_from_slice(b"{\"method\":\"");
        json.extend_from_slice(name.as_bytes());
        json.push(b'"');
        Self { json }
    }

    fn empty() -> Self {
        Self { json: vec![b'{'] }
    }

    /// `name` needs no escapes.
    fn raw(mut self, name: &'static str, value: &[u8]) -> Self {
        if self.json.len() > 1 {
            self.json.push(b',');
        }
        self.json.push(b'"');
        self.json.extend_from_slice(name.as_bytes());
        self.json.extend_from_slice(b"\":");
        self.json.extend_from_slice(value);
        self
    }

    fn field<T: Serialize + ?Sized>(mut self, name: &'static str, value: &T) -> Self {
        self = self.raw(name, b"");
        let start = self.json.len();
        // Only maps with keys that are no strings fail, and none is written here.
        if let Err(error) = serde_json::to_writer(&mut self.json, value) {
            tracing::error!(%error, name, "a field of a message does not encode");
            self.json.truncate(start);
            self.json.extend_from_slice(b"null");
        }
        self
    }

    fn optional<T: Serialize>(self, name: &'static str, value: Option<&T>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }

    fn rows<'a>(mut self, name: &'static str, rows: impl Iterator<Item = &'a Bytes>) -> Self {
        self = self.raw(name, b"[");
        for (index, row) in rows.enumerate() {
            if index > 0 {
                self.json.push(b',');
            }
            self.json.extend_from_slice(row);
        }
        self.json.push(b']');
        self
    }

    fn end(mut self) -> Bytes {
        self.json.push(b'}');
        self.json.into()
    }
}

/// What `welcome` says.
#[derive(Debug)]
pub(crate) struct Welcome<'a> {
    pub(crate) epoch: Uuid,
    pub(crate) last: MutationId,
    pub(crate) outcomes: Vec<Bytes>,
    pub(crate) schema: BTreeMap<&'a str, String>,
    pub(crate) indexed: BTreeMap<&'a str, Vec<&'a str>>,
    pub(crate) limits: BTreeMap<&'static str, usize>,
    pub(crate) heartbeat_ms: u64,
}

pub(crate) fn welcome(welcome: &Welcome<'_>) -> Bytes {
    Object::method("welcome")
        .field("epoch", &welcome.epoch)
        .field("last", &welcome.last)
        .rows("outcomes", welcome.outcomes.iter())
        .field("schema", &welcome.schema)
        .field("indexed", &welcome.indexed)
        .field("features", &FEATURES)
        .field("limits", &welcome.limits)
        .field("heartbeat_ms", &welcome.heartbeat_ms)
        .end()
}

/// A row and the seq of its last change.
#[derive(Clone, Debug)]
pub(crate) struct WireRow {
    pub(crate) row: Bytes,
    pub(crate) seq: Seq,
}

/// One page of a subscription's or a read's rows.
pub(crate) fn page(model: &str, id: Option<&RequestId>, rows: &[WireRow], seq: Seq, more: bool) -> Bytes {
    Object::method("read")
        .field("channel", &Channel::Collection(model))
        .field("modelname", model)
        .optional("id", id)
        .rows("models", rows.iter().map(|row| &row.row))
        .field("seqs", &rows.iter().map(|row| row.seq).collect::<Vec<_>>())
        .field("seq", &seq)
        .field("more", &more)
        .end()
}

/// One row, as it was asked for.
pub(crate) fn row(model: &str, id: Option<&RequestId>, key: &Key, row: &WireRow) -> Bytes {
    Object::method("read")
        .field("channel", &Channel::Row(model, key))
        .field("modelname", model)
        .optional("id", id)
        .raw("model", &row.row)
        .field("seq", &row.seq)
        .end()
}

/// A window has no `cursor`.
pub(crate) fn live(model: &str, id: Option<&RequestId>, seq: Seq, cursor: Option<&str>) -> Bytes {
    Object::method("live")
        .field("channel", &Channel::Collection(model))
        .field("modelname", model)
        .optional("id", id)
        .field("seq", &seq)
        .optional("cursor", cursor.as_ref())
        .end()
}

pub(crate) fn reset(id: Option<&RequestId>, reason: &str) -> Bytes {
    Object::method("reset").optional("id", id).field("reason", reason).end()
}

/// A subscription is live no more, until it is said to be again.
pub(crate) fn behind(id: &RequestId) -> Bytes {
    Object::method("behind").field("id", id).end()
}

pub(crate) fn progress(seq: Seq) -> Bytes {
    Object::method("progress").field("seq", &seq).end()
}

/// Changes that belong to one subscription and are older than what is live.
pub(crate) fn changes(id: Option<&RequestId>, seq: Seq, changes: &[Bytes]) -> Bytes {
    Object::method("changes").optional("id", id).field("seq", &seq).rows("changes", changes.iter()).end()
}

/// A row that came, by its creation.
pub(crate) fn create(model: &str, cid: Option<&str>, row: &[u8], seq: Seq) -> Bytes {
    Object::method("create")
        .field("channel", &Channel::Collection(model))
        .field("modelname", model)
        .optional("cid", cid.as_ref())
        .raw("model", row)
        .field("seq", &seq)
        .end()
}

/// A row that changed, or came into view.
pub(crate) fn update(model: &str, key: &Key, row: &[u8], seq: Seq) -> Bytes {
    Object::method("update")
        .field("channel", &Channel::Row(model, key))
        .field("modelname", model)
        .raw("model", row)
        .field("seq", &seq)
        .end()
}

/// A row that is gone (`delete`), or out of view (`remove`).
pub(crate) fn gone(method: &'static str, model: &str, id_name: &str, key: &Key, seq: Seq) -> Bytes {
    Object::method(method)
        .field("channel", &Channel::Row(model, key))
        .field("modelname", model)
        .raw("model", &id_only(id_name, key))
        .field("seq", &seq)
        .end()
}

/// A committed mutation.
#[derive(Debug)]
pub(crate) struct Confirm<'a> {
    pub(crate) id: Option<MutationId>,
    pub(crate) seq: Seq,
    pub(crate) done: Done<'a>,
}

/// What a request came to.
#[derive(Debug)]
pub(crate) enum Done<'a> {
    Row {
        model: &'a str,
        key: &'a Key,
        cid: Option<&'a str>,
        row: DoneRow<'a>,
    },
    /// `result` is JSON; `None` where it is left out for its size.
    Action {
        model: &'a str,
        action: &'a str,
        result: Option<&'a str>,
    },
}

/// What a client is told of the row.
#[derive(Debug)]
pub(crate) enum DoneRow<'a> {
    Whole(WireRow),
    /// It is left out for its size.
    Partial {
        id_name: &'a str,
    },
    /// The client may not see it.
    Unseen,
    Deleted {
        id_name: &'a str,
    },
}

impl Done<'_> {
    fn channel(&self) -> Channel<'_> {
        match self {
            Self::Row { model, cid: Some(cid), .. } => Channel::Created(model, cid),
            Self::Row { model, key, .. } => Channel::Row(model, key),
            Self::Action { model, .. } => Channel::Collection(model),
        }
    }

    fn fields(&self, object: Object, id: Option<MutationId>) -> Object {
        match self {
            Self::Row { model, key, cid, row } => {
                let object = object
                    .field("modelname", model)
                    .optional("id", id.as_ref())
                    .optional("cid", cid.as_ref());
                match row {
                    DoneRow::Whole(row) => object.raw("model", &row.row).field("row_seq", &row.seq),
                    DoneRow::Partial { id_name } => {
                        object.raw("model", &id_only(id_name, key)).field("partial", &true)
                    }
                    DoneRow::Deleted { id_name } => object.raw("model", &id_only(id_name, key)),
                    DoneRow::Unseen => object,
                }
            }
            Self::Action { model, action, result } => {
                let object =
                    object.field("modelname", model).optional("id", id.as_ref()).field("action", action);
                match result {
                    Some(result) => object.raw("result", result.as_bytes()),
                    None => object.field("partial", &true),
                }
            }
        }
    }
}

pub(crate) fn confirm(confirm: &Confirm<'_>) -> Bytes {
    let object = Object::method("confirm").field("channel", &confirm.done.channel());
    confirm.done.fields(object, confirm.id).field("seq", &confirm.seq).end()
}

/// A committed `batch`.
pub(crate) fn confirm_batch(id: Option<MutationId>, results: &[Done<'_>], seq: Seq) -> Bytes {
    let results: Vec<_> = results.iter().map(|done| done.fields(Object::empty(), None).end()).collect();
    Object::method("confirm")
        .optional("id", id.as_ref())
        .rows("results", results.iter())
        .field("seq", &seq)
        .end()
}

/// What an error says besides what [`Error`] does.
#[derive(Clone, Debug, Default)]
pub(crate) struct ErrorDetail {
    /// The row as it is, for a conflict.
    pub(crate) current: Option<WireRow>,
    /// The mutation id that would follow.
    pub(crate) expected: Option<MutationId>,
    /// Whether it may be sent again, where the code alone does not say.
    pub(crate) retry: Option<bool>,
    /// The request of a batch that was refused, by its place.
    pub(crate) index: Option<usize>,
}

/// A refusal. An internal error is logged here, with the reference that the client is told.
pub(crate) fn error(subject: &Subject, error: &Error, detail: &ErrorDetail) -> Bytes {
    let reference = (error.code() == crate::ErrorCode::Internal).then(|| {
        let reference = Uuid::new_v4();
        tracing::error!(%reference, request = subject.method, model = subject.model.as_deref(), "{error}");
        reference
    });
    let retry = detail.retry.unwrap_or(error.is_retryable());
    let object = Object::method("error")
        .optional("id", subject.id.as_ref())
        .optional("request", subject.method.as_ref())
        .optional("index", detail.index.as_ref())
        .optional("modelname", subject.model.as_ref())
        .optional("cid", subject.cid.as_ref())
        .field("code", error.code().as_str())
        .field("message", error.message());
    let object = if error.fields().is_empty() { object } else { object.field("fields", error.fields()) };
    let object = match &detail.current {
        Some(current) => object.raw("current", &current.row).field("current_seq", &current.seq),
        None => object,
    };
    object
        .optional("expected", detail.expected.as_ref())
        .optional("limit", error.limit_name().as_ref())
        .optional("ref", reference.as_ref())
        .field("retry", &retry)
        .end()
}

/// A refusal that was encoded before, with this row as its `current`, or none.
pub(crate) fn with_current(error: &crate::object::Object<'_>, current: Option<&WireRow>) -> Bytes {
    let mut object = Object { json: b"{".to_vec() };
    for (name, value) in error.fields.iter().filter(|(name, _)| !matches!(&**name, "current" | "current_seq"))
    {
        if object.json.len() > 1 {
            object.json.push(b',');
        }
        // A name always encodes.
        let _ = serde_json::to_writer(&mut object.json, name);
        object.json.push(b':');
        object.json.extend_from_slice(value.get().as_bytes());
    }
    match current {
        Some(current) => object.raw("current", &current.row).field("current_seq", &current.seq).end(),
        None => object.end(),
    }
}

/// The beginning of what a window's subscriber is told, up to what [`window_rows`] says to all of them.
pub(crate) fn window(model: &str, id: Option<&RequestId>) -> Bytes {
    Object::method("window")
        .field("channel", &Channel::Collection(model))
        .field("modelname", model)
        .optional("query", id)
        .json
        .into()
}

/// The rest of it, the same for all: rows that came or changed with their seqs, and with the cids of those that were created by this very change; then the ids of
/// rows that dropped out.
pub(crate) fn window_rows(ins: &[(&Bytes, Seq, Option<&str>)], outs: &[Key], seq: Seq) -> Bytes {
    let object = Object { json: b"{".to_vec() };
    let object = object
        .rows("in", ins.iter().map(|(row, ..)| *row))
        .field("seqs", &ins.iter().map(|(_, seq, _)| seq).collect::<Vec<_>>());
    let cids: Vec<_> = ins.iter().map(|(.., cid)| cid).collect();
    let object = if cids.iter().all(|cid| cid.is_none()) { object } else { object.field("cids", &cids) };
    let mut json = object.field("out", outs).field("seq", &seq).end().to_vec();
    if let Some(first) = json.first_mut() {
        *first = b',';
    }
    json.into()
}

/// Several encoded messages, each in parts, as one frame: alone as it is, else an array.
pub(crate) fn frame<'a>(messages: impl ExactSizeIterator<Item = [&'a Bytes; 2]> + Clone) -> Bytes {
    let is_one = messages.len() == 1;
    if is_one
        && let Some([message, rest]) = messages.clone().next()
        && rest.is_empty()
    {
        return message.clone();
    }
    let bytes: usize = messages.clone().map(|[head, rest]| head.len() + rest.len() + 1).sum();
    let mut json = Vec::with_capacity(bytes + 1);
    for (index, [head, rest]) in messages.enumerate() {
        if !is_one {
            json.push(if index == 0 { b'[' } else { b',' });
        }
        json.extend_from_slice(head);
        json.extend_from_slice(rest);
    }
    if !is_one {
        json.push(b']');
    }
    json.into()
}

fn id_only(name: &str, key: &Key) -> Vec<u8> {
    let mut json = b"{".to_vec();
    // A name and an id always encode.
    let _ = serde_json::to_writer(&mut json, name);
    json.push(b':');
    let _ = serde_json::to_writer(&mut json, key);
    json.push(b'}');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &Bytes) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn messages_are_as_documented() {
        let key = Key::Int(2);
        let row = WireRow { row: Bytes::from_static(br#"{"id":2,"title":"tea"}"#), seq: 5 };
        assert_eq!(
            text(&create("Todo", Some("c1"), &row.row, 5)),
            r#"{"method":"create","channel":"sync:Todo","modelname":"Todo","cid":"c1","model":{"id":2,"title":"tea"},"seq":5}"#
        );
        assert_eq!(
            text(&update("Todo", &key, &row.row, 6)),
            r#"{"method":"update","channel":"sync:Todo:2","modelname":"Todo","model":{"id":2,"title":"tea"},"seq":6}"#
        );
        assert_eq!(
            text(&gone("delete", "Todo", "id", &key, 7)),
            r#"{"method":"delete","channel":"sync:Todo:2","modelname":"Todo","model":{"id":2},"seq":7}"#
        );
        let id = RequestId::Text("todos".into());
        assert_eq!(
            text(&page("Todo", Some(&id), std::slice::from_ref(&row), 9, false)),
            r#"{"method":"read","channel":"sync:Todo","modelname":"Todo","id":"todos","models":[{"id":2,"title":"tea"}],"seqs":[5],"seq":9,"more":false}"#
        );
        let done =
            || Done::Row { model: "Todo", key: &key, cid: Some("c1"), row: DoneRow::Whole(row.clone()) };
        let message = Confirm { id: Some(1), seq: 5, done: done() };
        assert_eq!(
            text(&confirm(&message)),
            r#"{"method":"confirm","channel":"sync:Todo:c1","modelname":"Todo","id":1,"cid":"c1","model":{"id":2,"title":"tea"},"row_seq":5,"seq":5}"#
        );
        let action = || Done::Action { model: "Todo", action: "clear", result: Some("3") };
        assert_eq!(
            text(&confirm(&Confirm { id: Some(2), seq: 9, done: action() })),
            r#"{"method":"confirm","channel":"sync:Todo","modelname":"Todo","id":2,"action":"clear","result":3,"seq":9}"#
        );
        let deleted =
            Done::Row { model: "Todo", key: &key, cid: None, row: DoneRow::Deleted { id_name: "id" } };
        assert_eq!(
            text(&confirm_batch(Some(6), &[done(), action(), deleted], 9)),
            r#"{"method":"confirm","id":6,"results":[{"modelname":"Todo","cid":"c1","model":{"id":2,"title":"tea"},"row_seq":5},{"modelname":"Todo","action":"clear","result":3},{"modelname":"Todo","model":{"id":2}}],"seq":9}"#
        );
        let subject =
            Subject { method: Some("create"), id: Some(RequestId::Number(1)), ..Subject::default() };
        assert_eq!(
            text(&error(&subject, &Error::invalid("title", "must not be empty"), &ErrorDetail::default())),
            r#"{"method":"error","id":1,"request":"create","code":"invalid","message":"title: must not be empty","fields":{"title":"must not be empty"},"retry":false}"#
        );
    }

    #[test]
    fn text_ids_are_escaped() {
        let key = Key::Text("a\"b".into());
        assert_eq!(
            text(&gone("remove", "Note", "key", &key, 7)),
            r#"{"method":"remove","channel":"sync:Note:a\"b","modelname":"Note","model":{"key":"a\"b"},"seq":7}"#
        );
    }

    #[test]
    fn a_frame_of_one_is_the_message_itself() {
        let (one, two, rest) = (progress(1), progress(2), Bytes::new());
        assert_eq!(frame([[&one, &rest]].into_iter()), one);
        assert_eq!(
            text(&frame([[&one, &rest], [&two, &rest]].into_iter())),
            r#"[{"method":"progress","seq":1},{"method":"progress","seq":2}]"#
        );
    }

    #[test]
    fn a_window_is_told_in_two_parts() {
        let id = RequestId::Text("top".into());
        let (tea, milk) = (Bytes::from_static(br#"{"id":2}"#), Bytes::from_static(br#"{"id":3}"#));
        let head = window("Todo", Some(&id));
        let rows = window_rows(&[(&tea, 5, None), (&milk, 9, Some("c1"))], &[Key::Int(1)], 9);
        assert_eq!(
            text(&frame([[&head, &rows]].into_iter())),
            r#"{"method":"window","channel":"sync:Todo","modelname":"Todo","query":"top","in":[{"id":2},{"id":3}],"seqs":[5,9],"cids":[null,"c1"],"out":[1],"seq":9}"#
        );
        let rest = window_rows(&[(&tea, 5, None)], &[], 9);
        assert_eq!(text(&rest), r#","in":[{"id":2}],"seqs":[5],"out":[],"seq":9}"#);
    }
}
