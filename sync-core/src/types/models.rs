//! The types of a program's models.

use super::{
    Type, Types,
    fingerprint::{ClientAccess, FieldPrint, Fingerprint, Hashes},
};
use crate::model::{Access, FieldSchema, FieldType, KeyKind, Schema};

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
}

/// A field of a model.
#[derive(Debug)]
pub(super) struct ModelField {
    pub(super) schema: &'static FieldSchema,
    pub(super) ty: Type,
}

impl Typescript {
    /// The types of these models, which come in the order of their names.
    pub(crate) fn of(models: impl Iterator<Item = (&'static str, &'static Schema, KeyKind)>) -> Self {
        let mut types = Types::default();
        let models = models
            .map(|(name, schema, key_kind)| {
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
                ModelTypes { name, schema, key_kind, fields: fields.collect() }
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
            model.visible().filter_map(|field| {
                let why = match field.schema.ty {
                    FieldType::Known(_) => return None,
                    FieldType::Foreign(_) if model.is_id(field) => return None,
                    FieldType::Foreign(ty) => format!("`{ty}` has no #[derive(SyncType)]"),
                    FieldType::Custom => {
                        "serde's `with` hides what it is; say it with #[sync(ts = \"...\")]".into()
                    }
                };
                Some(format!("{}.{}: {why}: unknown", model.name, field.schema.name))
            })
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
        Fingerprint::new(self.visible().map(field).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SyncType, types::Presence};

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
        let typescript = Typescript::of([("Todo", schema, key_kind)].into_iter());
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
        let typescript = Typescript::of([("Todo", &FOREIGN, KeyKind::Int)].into_iter());
        assert_eq!(typescript.unknown().count(), 0);
    }
}
