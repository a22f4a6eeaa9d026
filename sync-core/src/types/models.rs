//! The types of a program's models.

use super::{
    Presence, Property, Type, Types,
    fingerprint::{ClientAccess, FieldPrint, Fingerprint, Hashes},
};
use crate::{
    handlers::{Action, Argument},
    model::{Access, FieldSchema, FieldType, KeyKind, Schema},
};

/// The types of all models of a program.
#[derive(Debug)]
pub(crate) struct Typescript {
    pub(super) types: Types,
    pub(super) models: Vec<ModelTypes>,
}

/// The types of a model.
#[derive(Debug)]
pub(crate) struct ModelTypes {
    pub(super) name: &'static str,
    pub(super) schema: &'static Schema,
    key_kind: KeyKind,
    /// Those of the schema's fields, in their order.
    pub(super) fields: Vec<ModelField>,
    pub(super) actions: Vec<ModelAction>,
}

/// An action of a model.
#[derive(Debug)]
pub(super) struct ModelAction {
    pub(super) schema: &'static Action,
    /// Those of the schema's arguments, in their order.
    pub(super) arguments: Vec<Type>,
    pub(super) result: Type,
}

/// A field of a model.
#[derive(Debug)]
pub(super) struct ModelField {
    pub(super) schema: &'static FieldSchema,
    pub(super) ty: Type,
}

impl Typescript {
    /// The types of these models, which come in the order of their names.
    pub(crate) fn of(
        models: impl Iterator<Item = (&'static str, &'static Schema, KeyKind, &'static [Action])>,
    ) -> Self {
        let mut types = Types::default();
        let models = models
            .map(|(name, schema, key_kind, actions)| {
                let fields = schema.fields.iter().map(|field| {
                    let ty = match field.ty {
                        FieldType::Known(describe) => describe(&mut types),
                        FieldType::Foreign(_) if field.name == schema.id => match key_kind {
                            KeyKind::Int => Type::Number,
                            KeyKind::Text => Type::String,
                        },
                        FieldType::Foreign(_) | FieldType::Custom => Type::Unknown,
                    };
                    ModelField { schema: field, ty }
                });
                let fields = fields.collect();
                let mut known = |ty: FieldType| match ty {
                    FieldType::Known(describe) => describe(&mut types),
                    FieldType::Foreign(_) | FieldType::Custom => Type::Unknown,
                };
                let actions = actions.iter().map(|action| ModelAction {
                    schema: action,
                    arguments: action.arguments.iter().map(|argument| known(argument.ty)).collect(),
                    result: known(action.result),
                });
                ModelTypes { name, schema, key_kind, fields, actions: actions.collect() }
            })
            .collect();
        Self { types, models }
    }

    /// Of each model what clients know of it, and a hash of all its types, those of `server_only` fields too.
    pub(crate) fn fingerprints(&self) -> impl Iterator<Item = (Fingerprint, u64)> {
        let hashes = Hashes::of(&self.types);
        self.models.iter().map(move |model| {
            let mut all = xxhash_rust::xxh3::Xxh3::new();
            for field in &model.fields {
                hashes.both(&field.ty).iter().for_each(|hash| all.update(&hash.to_le_bytes()));
            }
            (model.fingerprint(&hashes), all.digest())
        })
    }

    /// What is unknown in TypeScript and need not be, a line each.
    pub(crate) fn unknown(&self) -> impl Iterator<Item = String> {
        self.models.iter().flat_map(|model| {
            let fields = model.visible().filter_map(|field| {
                let why = match field.schema.ty {
                    FieldType::Known(_) => return None,
                    FieldType::Foreign(_) if model.is_id(field) => return None,
                    FieldType::Foreign(ty) => format!("`{ty}` has no #[derive(SyncType)]"),
                    FieldType::Custom => {
                        "serde's `with` hides what it is; say it with #[sync(ts = \"...\")]".into()
                    }
                };
                Some(format!("{}.{}: {why}: unknown", model.name, field.schema.name))
            });
            let unknown = |what: String, ty: FieldType| match ty {
                FieldType::Foreign(ty) => Some(format!("{what}: `{ty}` has no #[derive(SyncType)]: unknown")),
                FieldType::Known(_) | FieldType::Custom => None,
            };
            let actions = model.actions.iter().flat_map(move |action| {
                let name = format!("{}.{}()", model.name, action.schema.name);
                let result = unknown(name.clone(), action.schema.result);
                let arguments = action.schema.arguments.iter();
                arguments
                    .filter_map(|it| unknown(format!("{name}, `{}`", it.name), it.ty))
                    .chain(result)
                    .collect::<Vec<_>>()
            });
            fields.chain(actions)
        })
    }
}

impl ModelTypes {
    /// The fields that clients see.
    pub(super) fn visible(&self) -> impl Iterator<Item = &ModelField> {
        self.fields.iter().filter(|field| field.schema.access != Access::ServerOnly)
    }

    pub(super) fn is_id(&self, field: &ModelField) -> bool {
        field.schema.name == self.schema.id
    }

    /// Whether a client that creates a row has to send the field; `None` if it may not.
    pub(super) fn is_required(&self, field: &ModelField) -> Option<bool> {
        match field.schema.access {
            Access::ReadOnly | Access::ServerOnly => None,
            Access::Client if self.is_id(field) => match self.key_kind {
                KeyKind::Int => None,
                KeyKind::Text => Some(false),
            },
            Access::Client => field.schema.insert.is_required(&field.ty),
        }
    }

    fn fingerprint(&self, hashes: &Hashes<'_>) -> Fingerprint {
        let field = |field: &ModelField| FieldPrint {
            name: field.schema.name.into(),
            hash: hashes.text(&field.ty, field.schema.may_be_left_out),
            access: match self.is_required(field) {
                None => ClientAccess::ReadOnly,
                Some(true) => ClientAccess::Required,
                Some(false) => ClientAccess::Optional,
            },
        };
        let actions = self.actions.iter().flat_map(|action| {
            let own = FieldPrint {
                name: action.schema.name.into(),
                hash: hashes.text(&action.result, false),
                access: ClientAccess::Action,
            };
            let arguments = action.schema.arguments.iter().zip(&action.arguments);
            let arguments = arguments.map(|(argument, ty)| FieldPrint {
                name: format!("{}.{}", action.schema.name, argument.name),
                hash: hashes.text(ty, false),
                access: match ModelAction::PRESENCE.is_required(ty) {
                    Some(false) => ClientAccess::OptionalArgument,
                    _ => ClientAccess::RequiredArgument,
                },
            });
            std::iter::once(own).chain(arguments).collect::<Vec<_>>()
        });
        Fingerprint::new(self.visible().map(field).chain(actions).collect())
    }
}

impl ModelAction {
    /// An argument that may be null may be left out.
    pub(super) const PRESENCE: Presence = Presence::UnlessNullable;

    /// The arguments as one object.
    pub(super) fn arguments(&self) -> Type {
        let arguments = self.schema.arguments.iter().zip(&self.arguments);
        let property = |(argument, ty): (&Argument, &Type)| Property {
            insert: Self::PRESENCE,
            ..Property::always(argument.name, ty.clone())
        };
        Type::Object(arguments.map(property).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SyncType;

    #[derive(SyncType)]
    #[sync(crate = "crate")]
    #[expect(dead_code)]
    struct Before(u8);

    #[derive(SyncType)]
    #[sync(crate = "crate")]
    #[expect(dead_code)]
    struct After(String);

    const fn field(name: &'static str, access: Access, ty: FieldType) -> FieldSchema {
        FieldSchema {
            name,
            aliases: &[],
            access,
            indexed: false,
            doc: "",
            ty,
            may_be_left_out: false,
            insert: Presence::Always,
        }
    }

    const fn schema(fields: &'static [FieldSchema]) -> Schema {
        Schema { doc: "", id: "id", fields, signature: "" }
    }

    /// What clients know of a model of these fields, and what the store does.
    fn of(schema: &'static Schema, key_kind: KeyKind) -> (String, u64) {
        let typescript = Typescript::of([("Todo", schema, key_kind, [].as_slice())].into_iter());
        let (fingerprint, types) = typescript.fingerprints().next().unwrap();
        (fingerprint.to_string(), schema.hash("Todo", types))
    }

    #[test]
    fn a_change_within_a_type_changes_what_is_stored() {
        static SEEN: [Schema; 2] = [
            schema(&[field("a", Access::Client, FieldType::Known(Before::__describe))]),
            schema(&[field("a", Access::Client, FieldType::Known(After::__describe))]),
        ];
        static HIDDEN: [Schema; 2] = [
            schema(&[field("a", Access::ServerOnly, FieldType::Known(Before::__describe))]),
            schema(&[field("a", Access::ServerOnly, FieldType::Known(After::__describe))]),
        ];
        let [before, after] = SEEN.each_ref().map(|schema| of(schema, KeyKind::Int));
        assert_ne!(before.0, after.0);
        assert_ne!(before.1, after.1);
        let [before, after] = HIDDEN.each_ref().map(|schema| of(schema, KeyKind::Int));
        assert_eq!(before.0, after.0, "clients do not see it");
        assert_ne!(before.1, after.1);
    }

    #[test]
    fn an_id_of_a_type_that_is_not_known_is_what_its_key_is() {
        static FOREIGN: Schema = schema(&[field("id", Access::Client, FieldType::Foreign("TodoId"))]);
        static NUMBER: Schema = schema(&[field("id", Access::Client, FieldType::Known(u64::__describe))]);
        static STRING: Schema = schema(&[field("id", Access::Client, FieldType::Known(String::__describe))]);
        assert_eq!(of(&FOREIGN, KeyKind::Int).0, of(&NUMBER, KeyKind::Int).0);
        assert_eq!(of(&FOREIGN, KeyKind::Text).0, of(&STRING, KeyKind::Text).0);
        let typescript = Typescript::of([("Todo", &FOREIGN, KeyKind::Int, [].as_slice())].into_iter());
        assert_eq!(typescript.unknown().count(), 0);
    }
}
