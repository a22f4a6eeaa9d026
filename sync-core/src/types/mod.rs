//! What a type is in JSON: described once for each type, printed as TypeScript, and hashed to tell a change of it.
//!
//! A description has both directions: what serde writes, which clients read, and what serde reads, which clients insert.

mod builtin;
mod fingerprint;
mod models;
mod print;

use std::{
    any::type_name,
    collections::{BTreeSet, HashMap},
    panic::Location,
};

#[cfg(feature = "server")]
pub(crate) use self::fingerprint::ClientSchema;
pub(crate) use self::{fingerprint::Fingerprint, models::Typescript, print::schema_module};

/// A type that is known to TypeScript clients: derive it for the types of a model's fields.
///
/// See [`macro@crate::SyncType`] for what it says and for the attributes. It is implemented for what serde brings along: numbers, strings,
/// `Option`, collections, tuples, pointers, `Uuid`, `Duration`, `serde_json::Value`. A model may have fields of other types; these
/// are `unknown` to TypeScript.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not known to TypeScript",
    label = "not a `SyncType`",
    note = "add `#[derive(SyncType)]` to `{Self}`, or say what the field is with `#[sync(ts = \"...\")]`"
)]
pub trait SyncType {
    /// The type in JSON. What has a name is added to `types`.
    #[doc(hidden)]
    fn __describe(types: &mut Types) -> Type;
}

/// [`SyncType::__describe`] of a type.
#[doc(hidden)]
pub type Describe = fn(&mut Types) -> Type;

/// Which way a value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the server to a client.
    Read,
    /// From a client to the server.
    Insert,
}

/// A type in JSON.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub enum Type {
    Unknown,
    Null,
    Boolean,
    Number,
    String,
    /// The one string.
    Literal(&'static str),
    /// As a person wrote it in TypeScript.
    Verbatim(&'static str),
    Nullable(Box<Type>),
    Array(Box<Type>),
    Tuple(Vec<Type>),
    /// An object with any keys.
    Record(Box<Type>),
    Object(Vec<Property>),
    Union(Vec<Variant>),
    /// All of them at once.
    Intersection(Vec<Type>),
    /// Not the same in both directions.
    Directed {
        read: Box<Type>,
        insert: Box<Type>,
    },
    /// A type of [`Types`].
    Named(usize),
}

/// A property of an object.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Property {
    pub name: &'static str,
    pub doc: &'static str,
    pub ty: Type,
    pub read: Presence,
    pub insert: Presence,
}

/// Whether a property is there.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Never,
    Optional,
    /// As serde reads a field without a default: what may be null may be missing.
    UnlessNullable,
    Always,
}

/// A part of a union.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct Variant {
    pub doc: &'static str,
    pub ty: Type,
    pub read: bool,
    pub insert: bool,
}

impl Type {
    #[must_use]
    pub fn nullable(self) -> Self {
        Self::Nullable(Box::new(self))
    }

    #[must_use]
    pub fn array(self) -> Self {
        Self::Array(Box::new(self))
    }

    #[must_use]
    pub fn record(self) -> Self {
        Self::Record(Box::new(self))
    }

    /// `read` when it is written by the server, `insert` when it is read.
    #[must_use]
    pub fn directed(read: Self, insert: Self) -> Self {
        Self::Directed { read: Box::new(read), insert: Box::new(insert) }
    }

    /// An object with `properties` and those of each of `flattened`.
    #[must_use]
    pub fn flattened(properties: Vec<Property>, flattened: Vec<Self>) -> Self {
        let mut parts = vec![Self::Object(properties)];
        parts.extend(flattened);
        Self::Intersection(parts)
    }

    /// What it is in one direction.
    fn directed_to(&self, direction: Direction) -> &Self {
        match self {
            Self::Directed { read, insert } => match direction {
                Direction::Read => read.directed_to(direction),
                Direction::Insert => insert.directed_to(direction),
            },
            ty => ty,
        }
    }
}

impl Property {
    /// A property that is there in both directions.
    #[must_use]
    pub fn always(name: &'static str, ty: Type) -> Self {
        Self { name, doc: "", ty, read: Presence::Always, insert: Presence::Always }
    }

    /// Whether it is there, and has to be; `None` if it is not.
    fn is_required(&self, direction: Direction) -> Option<bool> {
        let presence = match direction {
            Direction::Read => self.read,
            Direction::Insert => self.insert,
        };
        presence.is_required(&self.ty)
    }
}

impl Presence {
    /// Whether a property of this type has to be there; `None` if it is not there at all.
    pub(crate) fn is_required(self, ty: &Type) -> Option<bool> {
        match self {
            Self::Never => None,
            Self::Optional => Some(false),
            Self::UnlessNullable => Some(!matches!(ty.directed_to(Direction::Insert), Type::Nullable(_))),
            Self::Always => Some(true),
        }
    }
}

impl Variant {
    fn is_in(&self, direction: Direction) -> bool {
        match direction {
            Direction::Read => self.read,
            Direction::Insert => self.insert,
        }
    }
}

/// The types that have names, each once.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Types {
    definitions: Vec<Definition>,
    /// By the type's name in Rust and the place of its derive; together they are one type's.
    places: HashMap<(&'static str, &'static Location<'static>), usize>,
}

/// A type with a name.
#[derive(Debug)]
struct Definition {
    /// The name that it would have if it were alone.
    name: String,
    doc: &'static str,
    ty: Type,
}

impl Types {
    /// The type `T`, which `describe` describes if it is new here. `arguments` are its type parameters.
    #[track_caller]
    pub fn named<T: ?Sized>(
        &mut self,
        name: &str,
        doc: &'static str,
        arguments: &[Describe],
        describe: Describe,
    ) -> Type {
        let place = (type_name::<T>(), Location::caller());
        if let Some(known) = self.places.get(&place) {
            return Type::Named(*known);
        }
        let index = self.definitions.len();
        self.places.insert(place, index);
        // It may contain itself, and comes before what it contains.
        self.definitions.push(Definition { name: name.to_owned(), doc, ty: Type::Unknown });
        let words = arguments.iter().map(|argument| {
            let argument = argument(self);
            self.word(&argument)
        });
        let words: Vec<_> = words.collect();
        let ty = describe(self);
        if let Some(definition) = self.definitions.get_mut(index) {
            definition.ty = ty;
            if !words.is_empty() {
                definition.name.push_str("Of");
                definition.name.push_str(&words.join("And"));
            }
        }
        Type::Named(index)
    }

    /// A type as part of a name.
    fn word(&self, ty: &Type) -> String {
        match ty {
            Type::Null => "Null".into(),
            Type::Boolean => "Boolean".into(),
            Type::Number => "Number".into(),
            Type::String => "String".into(),
            Type::Nullable(inner) => format!("Optional{}", self.word(inner)),
            Type::Array(inner) => format!("{}Array", self.word(inner)),
            Type::Tuple(parts) => parts.iter().map(|part| self.word(part)).collect::<Vec<_>>().concat(),
            Type::Record(inner) => format!("{}Record", self.word(inner)),
            Type::Named(index) => self.definition(*index).map_or_else(String::new, |it| it.name.clone()),
            Type::Unknown
            | Type::Literal(_)
            | Type::Verbatim(_)
            | Type::Object(_)
            | Type::Union(_)
            | Type::Intersection(_)
            | Type::Directed { .. } => "Unknown".into(),
        }
    }

    /// Adds the named types within `ty`, and those within them.
    fn collect_named(&self, ty: &Type, direction: Direction, named: &mut BTreeSet<usize>) {
        match ty.directed_to(direction) {
            Type::Named(index) => {
                if named.insert(*index)
                    && let Some(definition) = self.definition(*index)
                {
                    self.collect_named(&definition.ty, direction, named);
                }
            }
            Type::Nullable(inner) | Type::Array(inner) | Type::Record(inner) => {
                self.collect_named(inner, direction, named);
            }
            Type::Tuple(parts) | Type::Intersection(parts) => {
                for part in parts {
                    self.collect_named(part, direction, named);
                }
            }
            Type::Object(properties) => {
                let present = properties.iter().filter(|property| property.is_required(direction).is_some());
                for property in present {
                    self.collect_named(&property.ty, direction, named);
                }
            }
            Type::Union(variants) => {
                let present = variants.iter().filter(|variant| variant.is_in(direction));
                for variant in present {
                    self.collect_named(&variant.ty, direction, named);
                }
            }
            Type::Unknown
            | Type::Null
            | Type::Boolean
            | Type::Number
            | Type::String
            | Type::Literal(_)
            | Type::Verbatim(_)
            | Type::Directed { .. } => {}
        }
    }

    /// A type as part of an object that has other properties: `None` if it is the same there. `path` has the named types around it.
    fn within_object(&self, ty: &Type, direction: Direction, path: &mut Vec<usize>) -> Option<Type> {
        let variant = |ty: Type| Variant { doc: "", ty, read: true, insert: true };
        match ty.directed_to(direction) {
            // Nothing is written.
            Type::Null => Some(Type::Object(Vec::new())),
            // A variant without a value, which is a property then.
            Type::Literal(name) => Some(Type::Object(vec![Property::always(name, Type::Null)])),
            Type::Nullable(inner) => {
                let inner = self.within_object(inner, direction, path).unwrap_or_else(|| (**inner).clone());
                Some(Type::Union(vec![variant(inner), variant(Type::Object(Vec::new()))]))
            }
            // The other properties need not be of the type of its values.
            Type::Record(_) | Type::Unknown => Some(Type::Unknown.record()),
            Type::Union(variants) => {
                let parts = variants.iter().filter(|it| it.is_in(direction));
                let parts: Vec<_> =
                    parts.map(|it| (it, self.within_object(&it.ty, direction, path))).collect();
                if parts.iter().all(|(_, part)| part.is_none()) {
                    return None;
                }
                let parts = parts.into_iter().map(|(it, part)| {
                    let ty = part.unwrap_or_else(|| it.ty.clone());
                    Variant { doc: it.doc, ..variant(ty) }
                });
                Some(Type::Union(parts.collect()))
            }
            Type::Named(index) if !path.contains(index) => {
                path.push(*index);
                let definition = self.definition(*index);
                let part = definition.and_then(|it| self.within_object(&it.ty, direction, path));
                path.pop();
                part
            }
            _ => None,
        }
    }

    /// The type of that index as what its name stands for, which TypeScript does not let stand for itself. Nor does serde: a value that is
    /// another one of the same type, with nothing around it, is written as that one.
    fn without_itself(index: usize, ty: &Type, direction: Direction) -> Type {
        let without = |ty: &Type| Self::without_itself(index, ty, direction);
        match ty.directed_to(direction) {
            Type::Named(itself) if *itself == index => Type::Union(Vec::new()),
            Type::Nullable(inner) => without(inner).nullable(),
            Type::Intersection(parts) => Type::Intersection(parts.iter().map(without).collect()),
            Type::Union(variants) => {
                let variants = variants.iter().map(|it| Variant { ty: without(&it.ty), ..it.clone() });
                Type::Union(variants.collect())
            }
            ty => ty.clone(),
        }
    }

    fn definition(&self, index: usize) -> Option<&Definition> {
        self.definitions.get(index)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::{Direction, Type, Types};
    use crate::SyncType;

    #[derive(SyncType)]
    #[sync(crate = "crate")]
    struct Pair<T>(T, T);

    #[test]
    fn a_type_is_known_once() {
        let mut types = Types::default();
        let [first, again] = [(); 2].map(|()| Pair::<u8>::__describe(&mut types));
        assert!(matches!((first, again), (Type::Named(0), Type::Named(0))));
        assert_eq!(types.definitions.len(), 1);
        Pair::<String>::__describe(&mut types);
        assert_eq!(types.definitions.len(), 2);
    }

    /// Nobody can write a value of it as part of an object; it is looked at all the same.
    #[derive(Serialize, Deserialize, SyncType)]
    #[sync(crate = "crate")]
    #[serde(untagged)]
    enum Endless {
        Nothing,
        Again(Box<Self>),
        Other(Option<Box<Endless>>),
    }

    #[test]
    fn a_type_that_contains_itself_has_an_end_within_an_object() {
        let mut types = Types::default();
        let endless = Endless::__describe(&mut types);
        let within = types.within_object(&endless, Direction::Read, &mut Vec::new());
        assert!(matches!(within, Some(Type::Union(variants)) if variants.len() == 3));
    }

    #[test]
    fn types_of_one_path_are_told_apart_by_their_place() {
        let mut types = Types::default();
        {
            #[derive(SyncType)]
            #[sync(crate = "crate")]
            #[expect(dead_code)]
            struct Same(u8);
            Same::__describe(&mut types);
        }
        {
            #[derive(SyncType)]
            #[sync(crate = "crate")]
            #[expect(dead_code)]
            struct Same(String);
            Same::__describe(&mut types);
        }
        assert_eq!(types.definitions.len(), 2);
    }
}
