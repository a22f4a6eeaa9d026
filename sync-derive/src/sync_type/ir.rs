//! A type as serde writes and reads it.

use proc_macro2::TokenStream;
use quote::ToTokens as _;
use syn::{
    Data, DataEnum, DeriveInput, Fields, Generics, Ident, LitStr, Type, ext::IdentExt as _,
    spanned::Spanned as _,
};

use super::serde_attributes::{BothWays, ContainerAttributes, PartAttributes};
use crate::{
    docs,
    errors::Errors,
    model::{
        case::Case,
        field_type::{FieldType, is_option},
        sync_attributes::{self, TypeAttributes},
    },
    runtime::Runtime,
};

/// A type that TypeScript shall know.
pub(super) struct DescribedType {
    pub(super) runtime: Runtime,
    pub(super) ident: Ident,
    pub(super) generics: Generics,
    pub(super) name: String,
    pub(super) doc: String,
    /// The types that are written and read instead.
    pub(super) instead: BothWays<Option<Type>>,
    pub(super) shape: Shape,
}

/// What it is in JSON.
pub(super) enum Shape {
    Verbatim(LitStr),
    Null,
    Value(Value),
    Tuple(Vec<Value>),
    Object(Object),
    Union(Vec<Variant>),
}

/// The value of a field.
pub(super) struct Value {
    pub(super) ty: TokenStream,
    pub(super) field_type: FieldType,
}

#[derive(Default)]
pub(super) struct Object {
    pub(super) properties: Vec<Property>,
    pub(super) flattened: Vec<Value>,
}

pub(super) struct Property {
    pub(super) name: String,
    pub(super) doc: String,
    pub(super) content: Content,
    pub(super) read: Presence,
    pub(super) insert: Presence,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Never,
    Optional,
    UnlessNullable,
    Always,
}

pub(super) enum Content {
    Value(Value),
    Literal(String),
    Shape(Box<Shape>),
}

pub(super) struct Variant {
    pub(super) doc: String,
    pub(super) read: bool,
    pub(super) insert: bool,
    pub(super) form: Form,
}

/// A variant in JSON.
pub(super) enum Form {
    Literal(String),
    Shape(Shape),
    /// The tag and a value's own properties.
    Tagged(Property, Value),
}

/// How serde tells variants apart.
#[derive(Clone, Copy)]
enum Tagging<'a> {
    External,
    Internal(&'a str),
    Adjacent { tag: &'a str, content: &'a str },
    Untagged,
}

impl DescribedType {
    /// The type that `input` is. Also where something is reported to `errors`, what is returned can be expanded.
    pub(super) fn of(input: &DeriveInput, errors: &mut Errors) -> Self {
        let sync = TypeAttributes::of(&input.attrs, errors);
        let serde = ContainerAttributes::of(&input.attrs);
        let own_name = input.ident.unraw().to_string();
        let builder = Builder { runtime: &sync.runtime, serde: &serde };
        let whole = match (&input.data, serde.is_transparent) {
            (Data::Struct(data), true) => builder.transparent(&data.fields, errors),
            (Data::Struct(data), false) => builder.structure(&data.fields, &own_name, errors),
            (Data::Enum(data), _) => Shape::Union(builder.variants(data, errors)),
            (Data::Union(data), _) => {
                errors
                    .at(data.union_token.span(), "serde does not write unions: make it a struct or an enum");
                Shape::Null
            }
        };
        Self {
            ident: input.ident.clone(),
            generics: input.generics.clone(),
            name: sync.name.unwrap_or(own_name),
            doc: docs::of(&input.attrs),
            shape: sync.ts.map_or(whole, Shape::Verbatim),
            instead: serde.instead,
            runtime: sync.runtime,
        }
    }
}

struct Builder<'a> {
    runtime: &'a Runtime,
    serde: &'a ContainerAttributes,
}

impl Builder<'_> {
    fn structure(&self, fields: &Fields, own_name: &str, errors: &mut Errors) -> Shape {
        match fields {
            Fields::Named(_) => {
                let mut object = self.object(fields, &self.serde.rename_all, self.serde.has_default, errors);
                if let Some(tag) = &self.serde.tag {
                    let name = self.serde.rename.write.clone().unwrap_or_else(|| own_name.to_owned());
                    // serde writes it, and does not look for it.
                    let tag = Property { insert: Presence::Optional, ..Property::tag(tag, &name) };
                    object.properties.insert(0, tag);
                }
                Shape::Object(object)
            }
            fields => self.unnamed(fields, errors),
        }
    }

    /// A struct or a variant without names, or a unit.
    fn unnamed(&self, fields: &Fields, errors: &mut Errors) -> Shape {
        if let Fields::Unit = fields {
            return Shape::Null;
        }
        let mut values: Vec<_> = fields
            .iter()
            .filter_map(|field| {
                let serde = PartAttributes::of(&field.attrs);
                let value = self.value(field, &serde, errors);
                // serde writes and reads the one field of a newtype, whatever is said of it.
                (!serde.skip.write || fields.len() == 1).then_some(value)
            })
            .collect();
        match (fields.len(), values.len()) {
            (1, 1) => values.pop().map_or(Shape::Null, Shape::Value),
            _ => Shape::Tuple(values),
        }
    }

    /// The one field that counts.
    fn transparent(&self, fields: &Fields, errors: &mut Errors) -> Shape {
        let mut values = Vec::new();
        for field in fields {
            let serde = PartAttributes::of(&field.attrs);
            let value = self.value(field, &serde, errors);
            if !serde.skip.write && !is_phantom(&field.ty) {
                values.push(value);
            }
        }
        // serde reports it if there are more.
        values.pop().map_or(Shape::Null, Shape::Value)
    }

    fn object(
        &self,
        fields: &Fields,
        rename_all: &BothWays<Option<Case>>,
        has_default: bool,
        errors: &mut Errors,
    ) -> Object {
        let mut object = Object::default();
        for field in fields {
            let serde = PartAttributes::of(&field.attrs);
            let value = self.value(field, &serde, errors);
            if serde.is_flattened {
                if !serde.skip.write {
                    object.flattened.push(value);
                }
                continue;
            }
            let own_name = field.ident.as_ref().map(|ident| ident.unraw().to_string()).unwrap_or_default();
            let name = |given: &Option<String>, case: Option<Case>| {
                let cased = || case.map_or_else(|| own_name.clone(), |case| case.apply(&own_name));
                given.clone().unwrap_or_else(cased)
            };
            let names = BothWays {
                write: name(&serde.rename.write, rename_all.write),
                read: name(&serde.rename.read, rename_all.read),
            };
            let presence = BothWays {
                write: match () {
                    () if serde.skip.write => Presence::Never,
                    () if serde.may_be_left_out => Presence::Optional,
                    () => Presence::Always,
                },
                read: match () {
                    () if serde.skip.read => Presence::Never,
                    () if serde.has_default || has_default => Presence::Optional,
                    () if serde.has_reader => Presence::Always,
                    () if is_option(&field.ty) => Presence::Optional,
                    () => Presence::UnlessNullable,
                },
            };
            if presence == (BothWays { write: Presence::Never, read: Presence::Never }) {
                // Its type need not be known.
                continue;
            }
            let doc = docs::of(&field.attrs);
            let property = |name, value, read, insert| Property {
                name,
                doc: doc.clone(),
                content: Content::Value(value),
                read,
                insert,
            };
            if names.write == names.read {
                object.properties.push(property(names.write, value, presence.write, presence.read));
            } else {
                let again = self.value(field, &serde, &mut Errors::default());
                object.properties.push(property(names.write, value, presence.write, Presence::Never));
                object.properties.push(property(names.read, again, Presence::Never, presence.read));
            }
        }
        object
    }

    fn variants(&self, data: &DataEnum, errors: &mut Errors) -> Vec<Variant> {
        let tagging = match (&self.serde.tag, &self.serde.content) {
            _ if self.serde.is_untagged => Tagging::Untagged,
            (Some(tag), Some(content)) => Tagging::Adjacent { tag, content },
            (Some(tag), None) => Tagging::Internal(tag),
            (None, _) => Tagging::External,
        };
        let mut variants = Vec::new();
        for variant in &data.variants {
            let serde = PartAttributes::of(&variant.attrs);
            let own_name = variant.ident.unraw().to_string();
            let name = |given: &Option<String>, case: Option<Case>| {
                let cased = || case.map_or_else(|| own_name.clone(), |case| case.apply_to_variant(&own_name));
                given.clone().unwrap_or_else(cased)
            };
            let write = name(&serde.rename.write, self.serde.rename_all.write);
            let read = name(&serde.rename.read, self.serde.rename_all.read);
            let tagging = if serde.is_untagged { Tagging::Untagged } else { tagging };
            let doc = docs::of(&variant.attrs);
            let unit = is_unit(&variant.fields);
            let is_same = (write == read || matches!(tagging, Tagging::Untagged)) && unit.write == unit.read;
            let mut push = |name, is_unit, read, insert, errors: &mut Errors| {
                if read || insert {
                    let form = self.form(variant, &serde, (name, is_unit), tagging, errors);
                    variants.push(Variant { doc: doc.clone(), read, insert, form });
                }
            };
            if is_same {
                push(&write, unit.write, !serde.skip.write, !serde.skip.read, errors);
            } else {
                push(&write, unit.write, !serde.skip.write, false, errors);
                push(&read, unit.read, false, !serde.skip.read, &mut Errors::default());
            }
        }
        variants
    }

    fn form(
        &self,
        variant: &syn::Variant,
        serde: &PartAttributes,
        (name, is_unit): (&str, bool),
        tagging: Tagging<'_>,
        errors: &mut Errors,
    ) -> Form {
        let sync = sync_attributes::type_of_part(&variant.attrs, "a variant", errors);
        let shape = if let Some(ts) = sync {
            Shape::Verbatim(ts)
        } else if serde.with.is_some() {
            Shape::Value(Value { ty: TokenStream::new(), field_type: FieldType::Custom })
        } else if is_unit {
            Shape::Null
        } else if matches!(variant.fields, Fields::Named(_)) {
            let rename_all = BothWays {
                write: serde.rename_all.write.or(self.serde.rename_all_fields.write),
                read: serde.rename_all.read.or(self.serde.rename_all_fields.read),
            };
            Shape::Object(self.object(&variant.fields, &rename_all, false, errors))
        } else {
            self.unnamed(&variant.fields, errors)
        };
        match tagging {
            Tagging::Untagged => Form::Shape(shape),
            Tagging::External if is_unit => Form::Literal(name.to_owned()),
            Tagging::External => Form::Shape(Shape::properties(vec![Property::shape(name, shape)])),
            Tagging::Internal(tag) => {
                let tag = Property::tag(tag, name);
                match shape {
                    Shape::Object(mut object) => {
                        object.properties.insert(0, tag);
                        Form::Shape(Shape::Object(object))
                    }
                    Shape::Value(value) => Form::Tagged(tag, value),
                    Shape::Verbatim(ts) => {
                        let field_type = FieldType::Verbatim(ts);
                        Form::Tagged(tag, Value { ty: TokenStream::new(), field_type })
                    }
                    // serde does not compile a tuple here.
                    Shape::Null | Shape::Tuple(_) | Shape::Union(_) => {
                        Form::Shape(Shape::properties(vec![tag]))
                    }
                }
            }
            Tagging::Adjacent { tag, .. } if is_unit => {
                Form::Shape(Shape::properties(vec![Property::tag(tag, name)]))
            }
            Tagging::Adjacent { tag, content } => Form::Shape(Shape::properties(vec![
                Property::tag(tag, name),
                Property::shape(content, shape),
            ])),
        }
    }

    fn value(&self, field: &syn::Field, serde: &PartAttributes, errors: &mut Errors) -> Value {
        let ts = sync_attributes::type_of_part(&field.attrs, "a field", errors);
        Value {
            ty: field.ty.to_token_stream(),
            field_type: FieldType::of(ts, serde.with.as_ref(), self.runtime),
        }
    }
}

impl Shape {
    fn properties(properties: Vec<Property>) -> Self {
        Self::Object(Object { properties, flattened: Vec::new() })
    }
}

impl Property {
    fn tag(tag: &str, name: &str) -> Self {
        Self::always(tag, Content::Literal(name.to_owned()))
    }

    fn shape(name: &str, shape: Shape) -> Self {
        Self::always(name, Content::Shape(Box::new(shape)))
    }

    fn always(name: &str, content: Content) -> Self {
        Self {
            name: name.to_owned(),
            doc: String::new(),
            content,
            read: Presence::Always,
            insert: Presence::Always,
        }
    }
}

/// Whether serde takes a variant for one without a value: also where it skips the only one.
fn is_unit(fields: &Fields) -> BothWays<bool> {
    match fields {
        Fields::Unit => BothWays { write: true, read: true },
        Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
            fields.unnamed.first().map(|field| PartAttributes::of(&field.attrs).skip).unwrap_or_default()
        }
        Fields::Unnamed(_) | Fields::Named(_) => BothWays::default(),
    }
}

/// serde does not take it for the field of a transparent struct.
fn is_phantom(ty: &Type) -> bool {
    match ty {
        Type::Path(path) => path.path.segments.last().is_some_and(|segment| segment.ident == "PhantomData"),
        Type::Group(group) => is_phantom(&group.elem),
        _ => false,
    }
}
