//! What a request comes to: the row is found, the handler run on it, and what both say is written to the attempt, or it is refused.

use std::{collections::HashMap, sync::Arc};

use serde_json::value::RawValue;

use super::{
    Engine,
    attempt::Attempt,
    not_declared,
    panics::guarded,
    pipeline::{Confirmed, ConfirmedRow, ConfirmedStep, Effects, Found, Seen},
    read_set::ReadSet,
    references::Creates,
};
use crate::{
    Context, Error, ErrorCode, Result,
    handlers::{Action, ActionInput, CreateInput, DeleteInput, UpdateInput},
    model::{Key, KeyKind, filter::Expr},
    object::shown,
    protocol::{
        Content, Method, Step,
        request::{self, ActionContent, BatchStep, MutationContent},
        response::{ErrorDetail, WireRow},
    },
    registry::Model,
    safe_integer,
    store::{Seq, Transaction},
};

/// A request that was not refused; what it writes stands in its attempt.
enum Accepted<'a> {
    Row {
        model: &'a Model,
        method: Method,
        key: Key,
        cid: Option<Box<str>>,
        /// What the client may see, if nothing that was written since can have changed it.
        scope: Option<Expr>,
    },
    Action {
        model: &'a Model,
        action: &'static Action,
        result: String,
    },
}

/// A mutation that is not to be committed.
pub(super) struct Refused {
    pub(super) error: Error,
    pub(super) detail: Box<ErrorDetail>,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error, detail: Box::default() }
    }
}

impl Engine {
    /// Runs the handlers of a mutation once: what its confirm will say.
    pub(super) async fn plan(
        &self,
        content: &Result<Content>,
        context: &Context,
        attempt: &Arc<Attempt>,
        creates: &mut Creates,
    ) -> Result<Confirmed, Refused> {
        match content {
            Ok(Content::One(step)) => {
                let accepted = self.plan_step(step, context, attempt, creates).await?;
                let is_old = matches!(&accepted, Accepted::Row { scope: None, .. });
                let mut scopes = HashMap::new();
                if is_old {
                    self.scopes_of([&accepted], context, &mut scopes).await?;
                }
                Ok(Confirmed::One(confirmed(accepted, &scopes, attempt)))
            }
            Ok(Content::Batch(steps)) => self.plan_batch(steps, context, attempt, creates).await,
            Err(error) => Err(Error::new(error.code(), error.message().to_owned()).into()),
        }
    }

    async fn plan_batch(
        &self,
        steps: &[BatchStep],
        context: &Context,
        attempt: &Arc<Attempt>,
        creates: &mut Creates,
    ) -> Result<Confirmed, Refused> {
        let mut accepted = Vec::with_capacity(steps.len());
        for (index, BatchStep { content, .. }) in steps.iter().enumerate() {
            let at = |mut refused: Refused| {
                refused.detail.index = Some(index);
                refused
            };
            let step = content
                .as_ref()
                .map_err(|error| at(Error::new(error.code(), error.message().to_owned()).into()))?;
            let done = self.plan_step(step, context, attempt, creates).await.map_err(at)?;
            if let Accepted::Row { model, method: Method::Create, key, cid: Some(cid), .. } = &done {
                creates.add(cid.clone(), model.name(), key.clone());
            }
            accepted.push(done);
        }
        // By the state that all of them leave.
        let mut scopes = HashMap::new();
        self.scopes_of(&accepted, context, &mut scopes).await?;
        let done = accepted.into_iter().map(|done| match done {
            Accepted::Row { model, method, key, cid, .. } => {
                confirmed(Accepted::Row { model, method, key, cid, scope: None }, &scopes, attempt)
            }
            action @ Accepted::Action { .. } => confirmed(action, &scopes, attempt),
        });
        let done: Vec<_> = done.collect();
        let bytes: usize = done.iter().map(ConfirmedStep::result_bytes).sum();
        let most = self.limits.transaction_bytes;
        if bytes > most {
            let message = format!("the results of a batch have at most {most} bytes of JSON, these {bytes}");
            return Err(Error::new(ErrorCode::TooLarge, message).into());
        }
        Ok(Confirmed::Batch(done))
    }

    /// What the client may see now of the models of what was written.
    async fn scopes_of<'a, 'b: 'a>(
        &self,
        accepted: impl IntoIterator<Item = &'a Accepted<'b>>,
        context: &Context,
        scopes: &mut HashMap<&'static str, Option<Expr>>,
    ) -> Result<()> {
        for done in accepted {
            if let Accepted::Row { model, .. } = done
                && !scopes.contains_key(model.name())
            {
                scopes.insert(model.name(), self.scope_or_none(model, context).await?);
            }
        }
        Ok(())
    }

    async fn plan_step(
        &self,
        step: &Step,
        context: &Context,
        attempt: &Arc<Attempt>,
        creates: &mut Creates,
    ) -> Result<Accepted<'_>, Refused> {
        match step {
            Step::Row(content) => {
                let content = self.resolve(content, creates).await?;
                if content.method == Method::Create {
                    self.plan_create(&content, context, attempt).await
                } else {
                    self.plan_change(&content, context, attempt).await
                }
            }
            Step::Action(content) => {
                let arguments = self.resolve_arguments(&content.arguments, creates).await?;
                Ok(self.plan_action(content, &arguments, context).await?)
            }
        }
    }

    async fn plan_action(
        &self,
        content: &ActionContent,
        arguments: &str,
        context: &Context,
    ) -> Result<Accepted<'_>> {
        let model = self.model(&content.model)?;
        let action = model.handlers.action(&content.action).ok_or_else(|| {
            let known: Vec<_> = model.handlers.actions.iter().map(|action| action.name).collect();
            let there =
                if known.is_empty() { String::new() } else { format!("; it has {}", known.join(", ")) };
            let message = format!("`{}` has no action `{}`{there}", model.name(), shown(&content.action));
            Error::new(ErrorCode::MethodNotAllowed, message)
        })?;
        safe_integer::check(arguments.as_bytes())?;
        let result =
            guarded(self.limits.handler_timeout, (action.run)(context, ActionInput { arguments })).await?;
        safe_integer::check(result.as_bytes())
            .map_err(|error| Error::internal(format!("the result of `{}`: {error}", action.name)))?;
        if result.len() > RESULT_BYTES {
            let message = format!(
                "the result of an action has at most {RESULT_BYTES} bytes of JSON, this one {}",
                result.len()
            );
            return Err(Error::new(ErrorCode::TooLarge, message));
        }
        Ok(Accepted::Action { model, action, result })
    }

    async fn plan_create(
        &self,
        content: &MutationContent,
        context: &Context,
        attempt: &Arc<Attempt>,
    ) -> Result<Accepted<'_>, Refused> {
        let model = self.model(&content.model)?;
        let create = model.handlers.create.ok_or_else(|| not_declared(model, "create"))?;
        safe_integer::check(content.row.as_bytes())?;
        let id_name = model.schema().id;
        let key = match (model.key_kind(), id_field(model, &content.row)?) {
            (KeyKind::Int, Some(_)) => {
                return Err(Error::invalid(id_name, "is assigned by the server: leave it out").into());
            }
            (KeyKind::Text, Some(chosen)) => model_key(model, chosen)?,
            (_, None) => attempt.new_key(model).await?,
        };
        // A number that the store has just given is nobody's.
        if model.key_kind() == KeyKind::Text && attempt.row(model.name(), &key).await?.is_some() {
            return Err(Error::new(ErrorCode::AlreadyExists, "there is a row with this id").into());
        }
        let input = CreateInput { draft: &content.row, key: &key };
        let row = guarded(self.limits.handler_timeout, create(context, input)).await?;
        let has_written = attempt.has_written();
        attempt.write(model.name(), key.clone(), Some(row), content.cid.clone())?;
        let scope = if has_written { None } else { self.scope_or_nothing(model, context).await? };
        Ok(Accepted::Row { model, method: Method::Create, key, cid: content.cid.clone(), scope })
    }

    async fn plan_change(
        &self,
        content: &MutationContent,
        context: &Context,
        attempt: &Arc<Attempt>,
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
        let scope = self.scope_within(model, context).await?;
        let body = attempt.row(model.name(), &key).await?;
        // A row that the client may not see is not there for it.
        let Some(current) = body.filter(|body| scope.matches(body)) else {
            return Err(Error::not_found().into());
        };
        if let Some(if_seq) = content.if_seq {
            self.check_seq(model, &key, &current, if_seq, attempt).await?;
        }
        let row = match (content.method, handlers.delete, handlers.update) {
            (Method::Delete, Some(delete), _) => {
                if let Some(field) = other_field(model, &content.row)? {
                    return Err(Error::invalid(shown(&field), "a `delete` takes the id alone").into());
                }
                guarded(self.limits.handler_timeout, delete(context, DeleteInput { current: &current }))
                    .await?;
                None
            }
            (method, _, Some(update)) => {
                let is_patch = method == Method::Patch;
                let input = UpdateInput { current: &current, draft: &content.row, is_patch, key: &key };
                Some(guarded(self.limits.handler_timeout, update(context, input)).await?)
            }
            _ => return Err(not_declared(model, content.method.as_str()).into()),
        };
        let scope = if attempt.has_written() { None } else { Some(scope) };
        attempt.write(model.name(), key.clone(), row, None)?;
        Ok(Accepted::Row { model, method: content.method, key, cid: None, scope })
    }

    /// Whether a row is still the one of this seq, for this mutation itself apart.
    async fn check_seq(
        &self,
        model: &Model,
        key: &Key,
        current: &bytes::Bytes,
        if_seq: Seq,
        attempt: &Arc<Attempt>,
    ) -> Result<(), Refused> {
        let name = model.name();
        let version = attempt.version(name, key);
        if let Some(version) = version.clone().filter(super::pipeline::Version::is_pending) {
            // Its seq is known once it is flushed.
            let found = Found { model: name, key: key.clone(), version };
            let reads = ReadSet::of_row(found, 0);
            self.base.pipeline.submit(reads, Transaction::default(), Effects::default()).await?;
        }
        let seq = version.and_then(|version| version.seq());
        if seq == Some(if_seq) {
            return Ok(());
        }
        let current = match seq {
            Some(seq) if !attempt.is_written(name, key) => Some(WireRow { row: model.rewire(current)?, seq }),
            _ => None,
        };
        Err(Refused {
            error: Error::conflict("the row has changed since"),
            detail: Box::new(ErrorDetail { current, ..ErrorDetail::default() }),
        })
    }

    /// What the client may see of a model that it may create rows of, but perhaps not read: then nothing.
    async fn scope_or_nothing(&self, model: &Model, context: &Context) -> Result<Option<Expr>> {
        Ok(Some(self.scope_or_none(model, context).await?.unwrap_or(Expr::Or(Vec::new()))))
    }
}

/// What the confirm of a request says, when all of its transaction is written.
fn confirmed(
    accepted: Accepted<'_>,
    scopes: &HashMap<&'static str, Option<Expr>>,
    attempt: &Attempt,
) -> ConfirmedStep {
    match accepted {
        Accepted::Row { model, method, key, cid, scope } => {
            let scope = scope.as_ref().or_else(|| scopes.get(model.name())?.as_ref());
            let seen = if method == Method::Delete {
                Seen::Deleted
            } else {
                let row = attempt.written(model.name(), &key);
                let row = row.filter(|row| scope.is_some_and(|scope| scope.matches(&row.body)));
                row.map_or(Seen::Nothing, |row| Seen::Row(row.wire))
            };
            ConfirmedStep::Row(ConfirmedRow {
                method,
                model: model.name(),
                id_name: model.schema().id,
                key,
                cid,
                seen,
            })
        }
        Accepted::Action { model, action, result } => {
            ConfirmedStep::Action { model: model.name(), action: action.name, result }
        }
    }
}

/// The most bytes of an action's result: it is recorded until the client has acknowledged it.
const RESULT_BYTES: usize = 64 * 1024;

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
