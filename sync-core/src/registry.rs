//! From what the macros registered to one checked [`Registry`].

use std::{any::TypeId, collections::BTreeMap, fmt, panic::Location};

use bytes::Bytes;

use crate::{
    Result,
    handlers::{self, HandlerTable},
    model::{Key, KeyKind, ModelId, Schema, SyncedModel},
    types::{Fingerprint, Typescript, schema_module},
};

/// What `#[derive(SyncedModel)]` registers.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct ModelRegistration {
    name: &'static str,
    at: &'static Location<'static>,
    type_id: fn() -> TypeId,
    type_name: fn() -> &'static str,
    schema: &'static Schema,
    key_kind: KeyKind,
    generate: fn() -> Option<Key>,
    parse_key: fn(&Key) -> Option<Key>,
    rewire: fn(&Bytes) -> Result<Bytes>,
    reencode: fn(&[u8]) -> Result<(Key, Bytes), serde_json::Error>,
}

impl ModelRegistration {
    /// The registration of `M`, at the place of the call.
    #[track_caller]
    pub const fn of<M: SyncedModel>() -> Self {
        Self {
            name: M::NAME,
            at: Location::caller(),
            type_id: TypeId::of::<M>,
            type_name: std::any::type_name::<M>,
            schema: M::__SCHEMA,
            key_kind: M::Id::KIND,
            generate: || M::Id::generate().map(|id| id.to_key()),
            parse_key: |key| M::Id::from_key(key).map(|id| id.to_key()),
            rewire: handlers::rewire::<M>,
            reencode: handlers::reencode::<M>,
        }
    }
}

impl fmt::Debug for ModelRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} at {})", self.name, (self.type_name)(), self.at)
    }
}

/// What `#[sync_handlers]` registers.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct HandlerRegistration {
    at: &'static Location<'static>,
    model: fn() -> TypeId,
    type_name: fn() -> &'static str,
    table: HandlerTable,
}

impl HandlerRegistration {
    /// The registration of the handlers of `M`, at the place of the call.
    #[track_caller]
    pub const fn of<M: SyncedModel>(table: HandlerTable) -> Self {
        Self { at: Location::caller(), model: TypeId::of::<M>, type_name: std::any::type_name::<M>, table }
    }
}

impl fmt::Debug for HandlerRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {} at {}", self.table, (self.type_name)(), self.at)
    }
}

inventory::collect!(ModelRegistration);
inventory::collect!(HandlerRegistration);

/// Every model with its handlers, checked, by name.
pub(crate) struct Registry {
    models: BTreeMap<&'static str, Model>,
    typescript: Typescript,
}

/// A registered model.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    registration: ModelRegistration,
    pub(crate) handlers: HandlerTable,
    /// Of what is stored.
    pub(crate) hash: u64,
    /// What clients know of it.
    pub(crate) fingerprint: Fingerprint,
}

impl Model {
    pub(crate) fn name(&self) -> &'static str {
        self.registration.name
    }

    /// Whether clients may know of it: without `#[sync_handlers]` it is the server's own.
    pub(crate) fn is_known(&self) -> bool {
        self.handlers.methods().next().is_some()
    }

    pub(crate) fn type_name(&self) -> &'static str {
        (self.registration.type_name)()
    }

    pub(crate) fn at(&self) -> &'static Location<'static> {
        self.registration.at
    }

    pub(crate) fn schema(&self) -> &'static Schema {
        self.registration.schema
    }

    pub(crate) fn key_kind(&self) -> KeyKind {
        self.registration.key_kind
    }

    /// A new text id.
    pub(crate) fn generate_key(&self) -> Option<Key> {
        (self.registration.generate)()
    }

    /// The key in its one form, if it is an id of this model.
    pub(crate) fn parse_key(&self, key: &Key) -> Option<Key> {
        (self.registration.parse_key)(key)
    }

    /// What clients see of a stored row.
    pub(crate) fn rewire(&self, body: &Bytes) -> Result<Bytes> {
        (self.registration.rewire)(body)
    }

    /// The function behind [`handlers::reencode`] for this model.
    pub(crate) fn reencode(&self) -> fn(&[u8]) -> Result<(Key, Bytes), serde_json::Error> {
        self.registration.reencode
    }
}

impl Registry {
    /// What is registered in this program, and `more` models besides (the same one twice counts once).
    pub(crate) fn collect(more: &[ModelRegistration]) -> Result<Self, Vec<Fault>> {
        let registered =
            inventory::iter::<ModelRegistration>.into_iter().copied().chain(more.iter().copied());
        Self::check(
            registered.collect(),
            inventory::iter::<HandlerRegistration>.into_iter().copied().collect(),
        )
    }

    /// Without a model, for tests of what needs none.
    #[cfg(test)]
    pub(crate) fn empty() -> Self {
        Self { models: BTreeMap::new(), typescript: Typescript::of(std::iter::empty()) }
    }

    fn check(
        mut models: Vec<ModelRegistration>,
        mut handlers: Vec<HandlerRegistration>,
    ) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        // inventory has no order; sorted, every start and every report is the same.
        models.sort_by_key(|model| (model.name, model.at.file(), model.at.line()));
        models.dedup_by_key(|model| (model.type_id)());
        handlers.sort_by_key(|table| ((table.type_name)(), table.at.file(), table.at.line()));

        if models.is_empty() {
            faults.push(Fault::Empty);
        }
        for same in models.chunk_by(|a, b| a.name == b.name).filter(|same| same.len() > 1) {
            let places = same.iter().map(|model| Place { what: (model.type_name)(), at: model.at }).collect();
            faults.push(Fault::SameName { name: same[0].name, places });
        }
        for same in handlers.chunk_by(|a, b| (a.model)() == (b.model)()).filter(|same| same.len() > 1) {
            let places = same.iter().map(|table| Place { what: (table.type_name)(), at: table.at }).collect();
            faults.push(Fault::SameHandlers { places });
        }
        for table in &handlers {
            if !models.iter().any(|model| (model.type_id)() == (table.model)()) {
                faults.push(Fault::NoModel { place: Place { what: (table.type_name)(), at: table.at } });
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }

        let table = |model: &ModelRegistration| {
            handlers.iter().find(|table| (table.model)() == (model.type_id)()).map(|table| table.table)
        };
        let types = |models: &[&ModelRegistration]| {
            Typescript::of(models.iter().map(|model| {
                let actions = table(model).unwrap_or_default().actions;
                (model.name, model.schema, model.key_kind, actions)
            }))
        };
        let all: Vec<_> = models.iter().collect();
        let types_of_all = types(&all);
        let fingerprints = types_of_all.fingerprints();
        let known: Vec<_> = all.into_iter().filter(|model| table(model).is_some()).collect();
        let typescript = types(&known);
        let model = |(registration, (fingerprint, types)): (ModelRegistration, (Fingerprint, u64))| Model {
            handlers: table(&registration).unwrap_or_default(),
            hash: registration.schema.hash(registration.name, types),
            fingerprint,
            registration,
        };
        let models = models.into_iter().zip(fingerprints).map(model);
        Ok(Self { models: models.map(|model| (model.name(), model)).collect(), typescript })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Model> {
        self.models.get(name)
    }

    /// The model of that name, if clients may know of it.
    pub(crate) fn known(&self, name: &str) -> Option<&Model> {
        self.get(name).filter(|model| model.is_known())
    }

    /// The types of the models that clients may know of.
    pub(crate) fn typescript(&self) -> &Typescript {
        &self.typescript
    }

    /// The text of `models.js`.
    pub(crate) fn schema_module(&self) -> String {
        schema_module(self.all_known().map(|model| (model.name(), &model.fingerprint)))
    }

    /// Those that clients may know of, by name.
    pub(crate) fn all_known(&self) -> impl Iterator<Item = &Model> {
        self.iter().filter(|model| model.is_known())
    }

    /// By name.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Model> {
        self.models.values()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.models.keys()).finish()
    }
}

/// Something wrong with what is registered.
#[derive(Debug)]
pub(crate) enum Fault {
    Empty,
    SameName { name: &'static str, places: Vec<Place> },
    SameHandlers { places: Vec<Place> },
    NoModel { place: Place },
}

/// A type and where it was registered.
#[derive(Debug)]
pub(crate) struct Place {
    what: &'static str,
    at: &'static Location<'static>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` at {}:{}", self.what, self.at.file(), self.at.line())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, places: &[Place]| {
            places.iter().try_for_each(|place| write!(f, "\n    {place}"))
        };
        match self {
            Self::Empty => f.write_str(
                "there is no model in this program: put #[derive(SyncedModel)] on a struct; if your models are in a library crate, \
                 name it (`use my_models as _;`), since a crate that is never named is not linked, or pass them to the builder \
                 (`Server::builder().model::<my_models::Todo>()`)",
            ),
            Self::SameName { name, places } => {
                write!(f, "the model name `{name}` is used more than once; rename all but one with #[sync(name = \"...\")]:")?;
                list(f, places)
            }
            Self::SameHandlers { places } => {
                f.write_str("#[sync_handlers] is on more than one impl of a model; put all handlers into one:")?;
                list(f, places)
            }
            Self::NoModel { place } => write!(
                f,
                "there are handlers for {place}, which is not registered as a model: derive SyncedModel on it",
            ),
        }
    }
}
