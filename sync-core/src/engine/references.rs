//! References by `cid`: where a client names its own earlier create, the id that the create was given is put.
//!
//! What a cid names stands in the client's mutation records, which outlive a restart. They go with the acknowledgement of
//! the create: until then a client may name it.

use std::{borrow::Cow, ops::Range, time::SystemTime};

use uuid::Uuid;

use super::{
    Engine,
    plan::id_field,
    results::{Recorded, Results},
    unavailable,
};
use crate::{
    Error, ErrorCode, Result,
    context::Caller,
    model::Key,
    object::shown,
    protocol::{Method, reference, request::MutationContent, response::WireRow},
    registry::Model,
    store::{Outcome, Store},
};

impl Engine {
    /// The same content with ids in place of its references.
    pub(super) async fn resolve<'a>(
        &self,
        content: &'a MutationContent,
        creates: &mut Creates,
    ) -> Result<Cow<'a, MutationContent>> {
        let references = reference::find(&content.row)?;
        if references.is_empty() {
            return Ok(Cow::Borrowed(content));
        }
        let target = self.target(content)?;
        let is_target = |cid: &str| target.as_deref() == Some(cid);
        let message = "`model` is a row: its fields may be references, not the whole of it";
        let row = self.replace(&content.row, &references, creates, message, |cid| {
            is_target(cid).then_some(&*content.model)
        });
        Ok(Cow::Owned(MutationContent { row: row.await?.into(), ..content.clone() }))
    }

    /// The arguments of an action with ids in place of their references.
    pub(super) async fn resolve_arguments<'a>(
        &self,
        arguments: &'a str,
        creates: &mut Creates,
    ) -> Result<Cow<'a, str>> {
        let references = reference::find(arguments)?;
        if references.is_empty() {
            return Ok(Cow::Borrowed(arguments));
        }
        let message = "`args` are the arguments by name: they may be references, not the whole of it";
        self.replace(arguments, &references, creates, message, |_| None).await.map(Cow::Owned)
    }

    /// `text` with ids in place of the references. `of` says of which model the row of a cid must be, if it must.
    async fn replace<'a>(
        &self,
        text: &str,
        references: &[reference::Reference<'_>],
        creates: &mut Creates,
        whole: &'static str,
        of: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<String> {
        creates.load(&*self.store).await?;
        let (mut replaced, mut copied) = (String::with_capacity(text.len()), 0);
        let part = |range: Range<usize>| text.get(range).unwrap_or_default();
        for reference in references {
            if reference.span == (0..text.len()) {
                return Err(Error::new(ErrorCode::BadRequest, whole));
            }
            let key = creates.key(&reference.cid, of(&reference.cid))?;
            replaced.push_str(part(copied..reference.span.start));
            replaced.push_str(&serde_json::to_string(key)?);
            copied = reference.span.end;
            // No handler is given what grew far beyond the message that it came in.
            if replaced.len() > text.len().saturating_add(self.limits.row_bytes) {
                let limit = self.limits.row_bytes;
                let message = format!("a row has at most {limit} bytes of JSON, and its ids alone are more");
                return Err(Error::new(ErrorCode::TooLarge, message));
            }
        }
        replaced.push_str(part(copied..text.len()));
        Ok(replaced)
    }

    /// The row that a client created under a cid, if it may see it. Everything that it sent before must be decided.
    pub(crate) async fn read_created(
        &self,
        caller: &Caller,
        model: &str,
        cid: &str,
        now: SystemTime,
    ) -> Result<(&Model, Key, WireRow)> {
        let model = self.model(model)?;
        let mut creates = Creates::new(caller.client);
        creates.load(&*self.store).await?;
        let key = creates.key(cid, Some(model.name()))?.clone();
        self.read_one(model.name(), &key, caller, now).await
    }

    /// What the id of a row that is to be changed refers to: that must be a row of the same model. A new row's id may be any other's.
    fn target<'a>(&self, content: &'a MutationContent) -> Result<Option<Cow<'a, str>>> {
        let Some(model) = self.registry.get(&content.model).filter(|_| content.method != Method::Create)
        else {
            return Ok(None);
        };
        id_field(model, &content.row)?.map_or(Ok(None), reference::of)
    }
}

/// The rows that a client has created and not acknowledged, by the names that it gave them.
pub(super) struct Creates {
    client: Option<Uuid>,
    /// In their order, once they are needed.
    recorded: Option<Vec<Created>>,
    /// Those of the batch that is being decided.
    own: Vec<Created>,
}

struct Created {
    cid: Box<str>,
    model: Box<str>,
    key: Key,
}

impl Creates {
    pub(super) fn new(client: Option<Uuid>) -> Self {
        Self { client, recorded: None, own: Vec::new() }
    }

    /// The batch is decided anew.
    pub(super) fn again(&mut self) {
        self.own.clear();
    }

    /// A create of the batch.
    pub(super) fn add(&mut self, cid: Box<str>, model: &'static str, key: Key) {
        self.own.push(Created { cid, model: model.into(), key });
    }

    async fn load(&mut self, store: &dyn Store) -> Result<()> {
        if self.recorded.is_some() {
            return Ok(());
        }
        let Some(client) = self.client else {
            if !self.own.is_empty() {
                // Within a batch there is nothing to be done twice.
                return Ok(());
            }
            let message = "a `$cid` names an earlier create of the same client: say `hello` first";
            return Err(Error::new(ErrorCode::BadRequest, message));
        };
        let record = store.client(client).await.map_err(|error| unavailable(&error))?.unwrap_or_default();
        let mut created = Vec::new();
        for record in record.mutations {
            match record.outcome {
                Outcome::Confirmed { model, key, cid: Some(cid), .. } => {
                    created.push(Created { cid, model, key });
                }
                Outcome::Results(results) => {
                    for step in Results::read(&results)?.steps {
                        if let Recorded::Row { model, key, cid: Some(cid), .. } = step {
                            created.push(Created { cid, model: model.into(), key: key.key() });
                        }
                    }
                }
                Outcome::Confirmed { .. } | Outcome::Rejected(_) => {}
            }
        }
        self.recorded = Some(created);
        Ok(())
    }

    /// The id that a create was given, which was one of the model `of` where that is said.
    fn key(&self, cid: &str, of: Option<&str>) -> Result<&Key> {
        // A cid that was refused may be used again: the last counts.
        let created =
            self.recorded.iter().flatten().chain(&self.own).rev().find(|created| *created.cid == *cid);
        match (created, of) {
            (None, _) => Err(not_found(format!(
                "no create with the cid `{}` is known: it was refused, acknowledged, or never sent",
                shown(cid)
            ))),
            (Some(Created { model, .. }), Some(of)) if **model != *of => {
                Err(not_found(format!("the cid `{}` names a row of `{model}`, not of `{of}`", shown(cid))))
            }
            (Some(created), _) => Ok(&created.key),
        }
    }
}

fn not_found(message: String) -> Error {
    Error::new(ErrorCode::NotFound, message)
}
