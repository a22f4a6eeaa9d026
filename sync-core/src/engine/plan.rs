//! What a mutation comes to: the row is found, the handler run on it, and what both say becomes a transaction or a refusal.

use bytes::Bytes;
use serde_json::value::RawValue;
use smallvec::{SmallVec, smallvec};

use super::{
    Engine, not_declared,
    panics::guarded,
    pipeline::{Effects, Found, Pending, Version},
    unavailable,
};
use crate::{
    Context, Error, ErrorCode, Result,
    handlers::{CreateInput, DeleteInput, Row, UpdateInput},
    model::{Key, KeyKind, filter::Expr},
    object::shown,
    protocol::{
        Method,
        request::{self, MutationContent},
        response::{ErrorDetail, WireRow},
    },
    registry::Model,
    safe_integer,
    store::{Change, Transaction},
};

/// What a handler decided, and on what.
pub(super) struct Plan<'a> {
    pub(super) found: SmallVec<[Found; 1]>,
    pub(super) verdict: Result<Accepted<'a>, Refused>,
}

/// A mutation that is to be committed.
pub(super) struct Accepted<'a> {
    pub(super) model: &'a Model,
    pub(super) scope: Option<Expr>,
    pub(super) change: Change,
    pub(super) wire: Option<Bytes>,
}

/// A mutation that is not.
pub(super) struct Refused {
    pub(super) error: Error,
    pub(super) detail: Box<ErrorDetail>,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error, detail: Box::default() }
    }
}

/// A row as a handler finds it.
struct Current {
    version: Version,
    /// `None`: there is no row.
    body: Option<Bytes>,
}

impl Engine {
    /// Runs the handler once.
    pub(super) async fn plan(
        &self,
        content: Result<&MutationContent, &Error>,
        context: &Context,
        assigned: &mut Option<Key>,
    ) -> Plan<'_> {
        let mut found = SmallVec::new();
        let verdict = match content {
            Ok(content) if content.method == Method::Create => {
                self.plan_create(content, context, assigned, &mut found).await
            }
            Ok(content) => self.plan_change(content, context, &mut found).await,
            Err(error) => Err(Error::new(error.code(), error.message().to_owned()).into()),
        };
        Plan { found, verdict }
    }

    async fn plan_create(
        &self,
        content: &MutationContent,
        context: &Context,
        assigned: &mut Option<Key>,
        found: &mut SmallVec<[Found; 1]>,
    ) -> Result<Accepted<'_>, Refused> {
        let model = self.model(&content.model)?;
        let create = model.handlers.create.ok_or_else(|| not_declared(model, "create"))?;
        safe_integer::check(content.row.as_bytes())?;
        let id_name = model.schema().id;
        let chosen = id_field(model, &content.row)?;
        let key = match (model.key_kind(), chosen, &*assigned) {
            (KeyKind::Int, Some(_), _) => {
                return Err(Error::invalid(id_name, "is assigned by the server: leave it out").into());
            }
            (KeyKind::Text, Some(chosen), _) => model_key(model, chosen)?,
            (_, None, Some(key)) => key.clone(),
            (KeyKind::Int, None, None) => {
                Key::Int(self.store.allocate_ids(model.name(), 1).await.map_err(|error| unavailable(&error))?)
            }
            (KeyKind::Text, None, None) => {
                model.generate_key().ok_or_else(|| Error::invalid(id_name, "must be chosen by the client"))?
            }
        };
        if chosen.is_none() {
            *assigned = Some(key.clone());
        }
        // A number that the store has just given is nobody's.
        if model.key_kind() == KeyKind::Text {
            let current = self.current(model, &key).await?;
            found.push(Found { model: model.name(), key: key.clone(), version: current.version });
            if current.body.is_some() {
                return Err(Error::new(ErrorCode::AlreadyExists, "there is a row with this id").into());
            }
        }
        let input = CreateInput { draft: &content.row, key: &key };
        let Row { key, body, wire } = guarded(create(context, input)).await?;
        self.check_size(&body)?;
        let scope = self.scope_or_none(model, context).await?;
        let change =
            Change { model: model.name(), key, cid: content.cid.clone(), old: None, new: Some(body) };
        Ok(Accepted { model, scope, change, wire: Some(wire) })
    }

    async fn plan_change(
        &self,
        content: &MutationContent,
        context: &Context,
        found: &mut SmallVec<[Found; 1]>,
    ) -> Result<Accepted<'_>, Refused> {
        let model = self.model(&content.model)?;
        let handlers = &model.handlers;
        let is_declared = if content.method == Method::Delete {
            handlers.delete.is_some()
        } else {
            handlers.update.is_some()
        };
        if !is_declared {
            return Err(not_declared(model, content.method.as_str()).into());
        }
        safe_integer::check(content.row.as_bytes())?;
        let id_name = model.schema().id;
        let id = id_field(model, &content.row)?.ok_or_else(|| Error::invalid(id_name, "is missing"))?;
        let key = model_key(model, id)?;
        let scope = self.scope(model, context.caller(), context.now()).await?;
        let mut current = self.current(model, &key).await?;
        while content.if_seq.is_some() && current.version.is_pending() {
            // Its seq is known once it is flushed.
            let pending = Found { model: model.name(), key: key.clone(), version: current.version };
            self.pipeline.submit(smallvec![pending], Transaction::default(), Effects::default()).await?;
            current = self.current(model, &key).await?;
        }
        let Current { version, body } = current;
        found.push(Found { model: model.name(), key: key.clone(), version: version.clone() });
        // A row that the client may not see is not there for it.
        let Some(current) = body.filter(|body| scope.matches(body)) else {
            return Err(Error::not_found().into());
        };
        if let (Some(if_seq), Version::Stored(Some(seq))) = (content.if_seq, version)
            && if_seq != seq
        {
            let row = WireRow { row: model.rewire(&current)?, seq };
            return Err(Refused {
                error: Error::conflict("the row has changed since"),
                detail: Box::new(ErrorDetail { current: Some(row), ..ErrorDetail::default() }),
            });
        }
        let mut change =
            Change { model: model.name(), key, cid: None, old: Some(current.clone()), new: None };
        let mut wire = None;
        match (content.method, handlers.delete, handlers.update) {
            (Method::Delete, Some(delete), _) => {
                if let Some(field) = other_field(model, &content.row)? {
                    return Err(Error::invalid(shown(&field), "a `delete` takes the id alone").into());
                }
                guarded(delete(context, DeleteInput { current: &current })).await?;
            }
            (method, _, Some(update)) => {
                let is_patch = method == Method::Patch;
                let input =
                    UpdateInput { current: &current, draft: &content.row, is_patch, key: &change.key };
                let row = guarded(update(context, input)).await?;
                self.check_size(&row.body)?;
                change.new = Some(row.body);
                wire = Some(row.wire);
            }
            _ => return Err(not_declared(model, content.method.as_str()).into()),
        }
        Ok(Accepted { model, scope: Some(scope), change, wire })
    }

    /// The row as the next transaction will find it.
    async fn current(&self, model: &Model, key: &Key) -> Result<Current> {
        if let Some(Pending { fate, body }) = self.pipeline.pending(model.name(), key) {
            return Ok(Current { version: Version::Pending { fate, deleted: body.is_none() }, body });
        }
        let stored = self.store.get(model.name(), key).await.map_err(|error| unavailable(&error))?;
        let version = Version::Stored(stored.as_ref().map(|row| row.seq));
        Ok(Current { version, body: stored.map(|row| row.body) })
    }

    /// What the client may see of a model that it may create rows of, but perhaps not read.
    async fn scope_or_none(&self, model: &Model, context: &Context) -> Result<Option<Expr>> {
        match model.handlers.read {
            Some(_) => self.scope(model, context.caller(), context.now()).await.map(Some),
            None => Ok(None),
        }
    }

    fn check_size(&self, body: &Bytes) -> Result<()> {
        if body.len() <= self.limits.row_bytes {
            return Ok(());
        }
        let message =
            format!("a row has at most {} bytes of JSON, this one {}", self.limits.row_bytes, body.len());
        Err(Error::new(ErrorCode::TooLarge, message))
    }
}

/// The id in a row that a client sent.
pub(super) fn id_field<'a>(model: &Model, row: &'a str) -> Result<Option<&'a RawValue>> {
    let is_id = |name: &str| model.schema().field(name).is_some_and(|field| field.name == model.schema().id);
    request::row_field(row, is_id)
}

/// A field in it that is not the id.
fn other_field(model: &Model, row: &str) -> Result<Option<String>> {
    let is_other =
        |name: &str| model.schema().field(name).is_none_or(|field| field.name != model.schema().id);
    request::row_field_name(row, is_other)
}

fn model_key(model: &Model, id: &RawValue) -> Result<Key> {
    let invalid = || Error::invalid(model.schema().id, "is not an id of this model");
    request::key(id).ok().and_then(|key| model.parse_key(&key)).ok_or_else(invalid)
}
