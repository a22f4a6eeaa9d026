//! What a client was built for, as a short text for each model, and whether that still fits.
//!
//! A fingerprint lists the fields that clients see in the order of their declaration: `id:3f2a91 r,title:91bc07 w`. Each has its name, a hash of
//! its type, and what a client may do with it. Names of types, their documentation and the order of their fields count for nothing.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    str::FromStr,
};

use xxhash_rust::xxh3::Xxh3;

use super::{Direction, Type, Types};
use crate::{Error, ErrorCode, Result, object::shown};

/// How many digits of a type's hash are shown: a change goes unnoticed once in 16 million.
const DIGITS: usize = 6;

/// How many differences a client is told.
const MAX_DIFFERENCES: usize = 8;

/// What clients know of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    fields: Vec<FieldPrint>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldPrint {
    pub(crate) name: String,
    pub(crate) hash: String,
    pub(crate) access: ClientAccess,
}

/// What a client may do with a field that it sees; or that it is no field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientAccess {
    ReadOnly,
    /// It has to be there when a row is created.
    Required,
    Optional,
    /// An action, with its result.
    Action,
    /// An argument of an action, named after both.
    RequiredArgument,
    OptionalArgument,
}

impl ClientAccess {
    const ALL: [(Self, &'static str); 6] = [
        (Self::ReadOnly, "r"),
        (Self::Required, "w"),
        (Self::Optional, "o"),
        (Self::Action, "a"),
        (Self::RequiredArgument, "aw"),
        (Self::OptionalArgument, "ao"),
    ];

    /// What it is in words, with the name.
    fn what(self, name: &str) -> String {
        let name = shown(name);
        match self {
            Self::ReadOnly | Self::Required | Self::Optional => format!("field `{name}`"),
            Self::Action => format!("action `{name}`"),
            Self::RequiredArgument | Self::OptionalArgument => match name.split_once('.') {
                Some((action, argument)) => format!("argument `{argument}` of the action `{action}`"),
                None => format!("argument `{name}`"),
            },
        }
    }

    /// Whether both are fields, both actions, or both arguments: then their names are one.
    fn is_like(self, other: Self) -> bool {
        let kind = |access| match access {
            Self::ReadOnly | Self::Required | Self::Optional => 0,
            Self::Action => 1,
            Self::RequiredArgument | Self::OptionalArgument => 2,
        };
        kind(self) == kind(other)
    }

    fn is_required(self) -> bool {
        matches!(self, Self::Required | Self::RequiredArgument)
    }
}

impl Fingerprint {
    pub(crate) fn new(fields: Vec<FieldPrint>) -> Self {
        Self { fields }
    }

    /// What no longer holds for a client that was built for `client`, in words.
    fn differences(&self, client: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        let find = |fields: &[FieldPrint], print: &FieldPrint| {
            let is_it = |other: &&FieldPrint| other.name == print.name && other.access.is_like(print.access);
            fields.iter().find(is_it).cloned()
        };
        for known in &client.fields {
            let what = known.access.what(&known.name);
            let Some(field) = find(&self.fields, known) else {
                // Of an action that is gone its arguments are not told as well.
                let action = known.name.split_once('.').map(|(action, _)| action);
                let is_gone = |action: &str| {
                    !self.fields.iter().any(|it| it.access == ClientAccess::Action && it.name == action)
                };
                if known.access.is_like(ClientAccess::OptionalArgument) && action.is_some_and(is_gone) {
                    continue;
                }
                differences.push(format!("there is no {what} any more"));
                continue;
            };
            let name = match known.access {
                ClientAccess::ReadOnly | ClientAccess::Required | ClientAccess::Optional => {
                    format!("`{}`", shown(&known.name))
                }
                _ => format!("the {what}"),
            };
            if field.hash != known.hash {
                let of = if known.access == ClientAccess::Action { "result" } else { "type" };
                differences.push(format!("the {of} of {name} has changed"));
            }
            match (known.access, field.access) {
                (ClientAccess::Required | ClientAccess::Optional, ClientAccess::ReadOnly) => {
                    differences.push(format!("{name} is read-only now"));
                }
                (known, field) if field.is_required() && !known.is_required() => {
                    differences.push(format!("{name} is required now"));
                }
                _ => {}
            }
        }
        for field in &self.fields {
            let is_known = |action: &str| {
                client.fields.iter().any(|it| it.access == ClientAccess::Action && it.name == action)
            };
            // What it does not call may have any arguments.
            let concerns_it = field.access == ClientAccess::Required
                || field.name.split_once('.').is_some_and(|(action, _)| is_known(action));
            if field.access.is_required() && concerns_it && find(&client.fields, field).is_none() {
                differences.push(format!("the new {} is required", field.access.what(&field.name)));
            }
        }
        differences
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, field) in self.fields.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let access = ClientAccess::ALL.iter().find(|(access, _)| *access == field.access);
            let access = access.map_or("", |(_, letter)| letter);
            write!(f, "{comma}{}:{} {access}", escape(&field.name), field.hash)?;
        }
        Ok(())
    }
}

impl FromStr for Fingerprint {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let field = |text: &str| {
            let (name, rest) = text.split_once(':').ok_or(())?;
            let (hash, letter) = rest.split_once(' ').ok_or(())?;
            let is_hash = hash.len() == DIGITS && hash.bytes().all(|digit| digit.is_ascii_hexdigit());
            let access = ClientAccess::ALL.iter().find(|(_, access)| *access == letter);
            match access {
                Some((access, _)) if is_hash => {
                    Ok(FieldPrint { name: unescape(name)?, hash: hash.to_owned(), access: *access })
                }
                _ => Err(()),
            }
        };
        text.split(',').map(field).collect::<Result<_, ()>>().map(Self::new)
    }
}

/// What a client says that it was built for.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientSchema(pub(crate) BTreeMap<String, Fingerprint>);

impl ClientSchema {
    /// Whether the client fits these models.
    ///
    /// # Errors
    /// `schema_mismatch`, with what is different.
    pub(crate) fn check<'a>(&self, server: impl Fn(&str) -> Option<&'a Fingerprint>) -> Result<()> {
        let mut differences = Vec::new();
        for (model, client) in &self.0 {
            match server(model) {
                None => differences.push(format!("there is no model `{}` any more", shown(model))),
                Some(server) => {
                    let of_model = |difference| format!("in `{}` {difference}", shown(model));
                    differences.extend(server.differences(client).into_iter().map(of_model));
                }
            }
        }
        if differences.is_empty() {
            return Ok(());
        }
        let more = differences.len().saturating_sub(MAX_DIFFERENCES);
        differences.truncate(MAX_DIFFERENCES);
        if more > 0 {
            differences.push(format!("and {more} more"));
        }
        Err(Error::new(
            ErrorCode::SchemaMismatch,
            format!(
                "this client was built for other models: {}; load it anew, or build it for the models of this server",
                differences.join(", ")
            ),
        ))
    }
}

/// `name` without what separates names.
fn escape(name: &str) -> Cow<'_, str> {
    let is_special = |letter: char| matches!(letter, ',' | ':' | ' ' | '%') || letter.is_control();
    if !name.contains(is_special) {
        return name.into();
    }
    let mut escaped = String::new();
    for letter in name.chars() {
        if is_special(letter) {
            // All of them have at most two bytes.
            for byte in letter.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(escaped, "%{byte:02x}");
            }
        } else {
            escaped.push(letter);
        }
    }
    escaped.into()
}

fn unescape(name: &str) -> Result<String, ()> {
    let mut bytes = Vec::new();
    let mut parts = name.split('%');
    bytes.extend(parts.next().unwrap_or_default().bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).ok_or(())?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(drop)?);
        bytes.extend(rest.bytes());
    }
    if bytes.is_empty() { Err(()) } else { String::from_utf8(bytes).map_err(drop) }
}

/// Hashes types by what JSON they stand for.
///
/// Types may contain themselves, so a hash cannot simply be made of hashes of parts. Each named type begins with the same hash, and in
/// every round has a new one made of the last round's of what it contains. After as many rounds as there are types within a type,
/// what differs has another hash, whatever else the program has.
#[derive(Debug)]
pub(crate) struct Hashes<'a> {
    types: &'a Types,
    /// Of the named types, by round and direction.
    rounds: Vec<[Vec<u64>; 2]>,
}

impl<'a> Hashes<'a> {
    pub(crate) fn of(types: &'a Types) -> Self {
        let count = types.definitions.len();
        let mut hashes = Self { types, rounds: vec![[vec![0; count], vec![0; count]]] };
        for round in 0..count {
            let of_all = |direction| {
                types.definitions.iter().map(|it| hashes.hash(&it.ty, direction, round)).collect::<Vec<_>>()
            };
            let next = [of_all(Direction::Read), of_all(Direction::Insert)];
            hashes.rounds.push(next);
        }
        hashes
    }

    /// The hash of `ty` in both directions.
    pub(crate) fn both(&self, ty: &Type) -> [u64; 2] {
        [Direction::Read, Direction::Insert].map(|direction| {
            let mut within = BTreeSet::new();
            self.types.collect_named(ty, direction, &mut within);
            self.hash(ty, direction, within.len())
        })
    }

    /// `ty` in a fingerprint, and whether clients may find it missing.
    pub(crate) fn text(&self, ty: &Type, is_optional: bool) -> String {
        let [read, insert] = self.both(ty);
        let mut hash = hash_of(&[read, insert, u64::from(is_optional)]);
        let mut text = String::new();
        for _ in 0..DIGITS {
            let _ = write!(text, "{:x}", hash & 15);
            hash >>= 4;
        }
        text
    }

    fn hash(&self, ty: &Type, direction: Direction, round: usize) -> u64 {
        let hash = |ty: &Type| self.hash(ty, direction, round);
        match ty.directed_to(direction) {
            Type::Unknown => hash_of(&[1]),
            Type::Null => hash_of(&[2]),
            Type::Boolean => hash_of(&[3]),
            Type::Number => hash_of(&[4]),
            Type::String => hash_of(&[5]),
            Type::Literal(text) => hash_of(&[6, hash_of_text(text)]),
            Type::Verbatim(text) => hash_of(&[7, hash_of_text(text)]),
            Type::Nullable(inner) => hash_of(&[8, hash(inner)]),
            Type::Array(inner) => hash_of(&[9, hash(inner)]),
            Type::Record(inner) => hash_of(&[10, hash(inner)]),
            Type::Tuple(parts) => hash_of_all(11, parts.iter().map(hash).collect()),
            Type::Intersection(parts) => hash_of_all(12, sorted(parts.iter().map(hash).collect())),
            Type::Object(properties) => {
                let property = |it: &super::Property| {
                    let is_required = it.is_required(direction)?;
                    Some(hash_of(&[hash_of_text(it.name), u64::from(is_required), hash(&it.ty)]))
                };
                hash_of_all(13, sorted(properties.iter().filter_map(property).collect()))
            }
            Type::Union(variants) => {
                let variants = variants.iter().filter(|it| it.is_in(direction));
                hash_of_all(14, sorted(variants.map(|it| hash(&it.ty)).collect()))
            }
            Type::Named(index) => {
                let round = self.rounds.get(round);
                let known = round.and_then(|[read, insert]| match direction {
                    Direction::Read => read.get(*index),
                    Direction::Insert => insert.get(*index),
                });
                hash_of(&[15, known.copied().unwrap_or_default()])
            }
            // What is directed was resolved above.
            Type::Directed { .. } => hash_of(&[16]),
        }
    }
}

fn sorted(mut hashes: Vec<u64>) -> Vec<u64> {
    hashes.sort_unstable();
    hashes
}

fn hash_of_all(kind: u64, mut hashes: Vec<u64>) -> u64 {
    hashes.push(kind);
    hash_of(&hashes)
}

fn hash_of(parts: &[u64]) -> u64 {
    let mut hasher = Xxh3::new();
    for part in parts {
        hasher.update(&part.to_le_bytes());
    }
    hasher.digest()
}

fn hash_of_text(text: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::SyncType;

    /// The hash of a type in a program that has `others` too.
    fn text_among<T: SyncType>(others: impl FnOnce(&mut Types)) -> String {
        let mut types = Types::default();
        others(&mut types);
        let ty = T::__describe(&mut types);
        Hashes::of(&types).text(&ty, false)
    }

    fn text<T: SyncType>() -> String {
        text_among::<T>(|_| {})
    }

    macro_rules! types {
        ($($module:ident { $($item:item)* })*) => {$(
            mod $module {
                use super::*;
                $(
                    #[derive(Serialize, Deserialize, SyncType)]
                    #[sync(crate = "crate")]
                    $item
                )*
            }
        )*};
    }

    types! {
        plain {
            pub(super) struct Outer { a: u8, inner: Option<Inner> }
            pub(super) struct Inner { b: bool, c: Letter }
            pub(super) enum Letter { X, Y }
        }
        same {
            /// Documented.
            pub(super) struct Other { inner: Option<Named>, a: i64 }
            pub(super) struct Named { c: Also, b: bool }
            pub(super) enum Also { Y, X }
        }
        deeper {
            pub(super) struct Outer { a: u8, inner: Option<Inner> }
            pub(super) struct Inner { b: bool, c: Letter }
            pub(super) enum Letter { X, Z }
        }
        renamed {
            pub(super) struct Outer { a: u8, inner: Option<Inner> }
            pub(super) struct Inner { d: bool, c: Letter }
            pub(super) enum Letter { X, Y }
        }
        defaulted {
            pub(super) struct Outer { a: u8, inner: Option<Inner> }
            pub(super) struct Inner { #[serde(default)] b: bool, c: Letter }
            pub(super) enum Letter { X, Y }
        }
        skipping {
            pub(super) struct Outer { a: u8, #[serde(skip_serializing_if = "Option::is_none")] inner: Option<Inner> }
            pub(super) struct Inner { b: bool, c: Letter }
            pub(super) enum Letter { X, Y }
        }
        list {
            pub(super) struct List { next: Option<Box<List>>, value: u8 }
        }
        list_of_two {
            pub(super) struct List { next: Option<Box<Second>>, value: u8 }
            pub(super) struct Second { next: Option<Box<List>>, value: bool }
        }
        list_of_three {
            pub(super) struct List { next: Option<Box<Second>>, value: u8 }
            pub(super) struct Second { next: Option<Box<Third>>, value: bool }
            pub(super) struct Third { next: Option<Box<List>>, value: u8 }
        }
    }

    #[test]
    fn names_documentation_and_order_count_for_nothing() {
        assert_eq!(text::<plain::Outer>(), text::<same::Other>());
    }

    #[test]
    fn a_change_however_deep_counts() {
        let before = text::<plain::Outer>();
        for (change, after) in [
            ("another variant", text::<deeper::Outer>()),
            ("another name", text::<renamed::Outer>()),
            ("what may be left out by clients", text::<defaulted::Outer>()),
            ("what may be left out by the server", text::<skipping::Outer>()),
            ("a type around it", text::<Vec<plain::Outer>>()),
        ] {
            assert_ne!(before, after, "{change}");
        }
    }

    #[test]
    fn types_that_contain_themselves_are_told_apart() {
        let texts = [text::<list::List>(), text::<list_of_two::List>(), text::<list_of_three::List>()];
        assert_ne!(texts[0], texts[1]);
        assert_ne!(texts[1], texts[2]);
        assert_ne!(texts[0], texts[2]);
        assert_ne!(text::<list_of_two::List>(), text::<list_of_two::Second>());
    }

    #[test]
    fn other_types_of_the_program_count_for_nothing() {
        let among = text_among::<list::List>(|types| {
            list_of_three::List::__describe(types);
            plain::Outer::__describe(types);
        });
        assert_eq!(among, text::<list::List>());
    }

    #[test]
    fn what_may_be_missing_counts() {
        let types = Types::default();
        let hashes = Hashes::of(&types);
        assert_ne!(hashes.text(&Type::Number, false), hashes.text(&Type::Number, true));
    }

    #[test]
    fn any_name_comes_back() {
        for name in ["title", "a,b: c%", "schön", "\u{85}\n", "%2c"] {
            let field =
                FieldPrint { name: name.into(), hash: "0a1b2c".into(), access: ClientAccess::Optional };
            let fingerprint = Fingerprint::new(vec![field.clone(), field]);
            let text = fingerprint.to_string();
            assert_eq!(text.parse(), Ok(fingerprint), "{text}");
            assert_eq!(text.split([',', ':', ' ']).count(), 6, "{text}");
        }
    }

    #[test]
    fn actions_may_come_and_what_is_known_stays() {
        let differences = |server: &str, client: &str| {
            server.parse::<Fingerprint>().unwrap().differences(&client.parse().unwrap())
        };
        let known = "clear:000001 r,clear:00000a a,clear.list:00000b aw,clear.n:00000c ao";
        assert_eq!(differences(known, known), [""; 0]);
        assert_eq!(known.parse::<Fingerprint>().unwrap().to_string(), known);
        let more = format!("{known},clear.m:00000d ao,other:00000e a,other.x:00000f aw");
        assert_eq!(differences(&more, known), [""; 0], "what is new and need not be given");
        assert_eq!(differences("clear:000001 r", known), ["there is no action `clear` any more"]);
        assert_eq!(
            differences(
                "clear:000001 r,clear:00000b a,clear.list:00000c ao,clear.n:00000c aw,clear.m:00000d aw",
                known
            ),
            [
                "the result of the action `clear` has changed",
                "the type of the argument `list` of the action `clear` has changed",
                "the argument `n` of the action `clear` is required now",
                "the new argument `m` of the action `clear` is required"
            ]
        );
    }

    #[test]
    fn differences_are_told_up_to_a_limit() {
        let client = |count| {
            let models = (0..count).map(|number| (format!("Model{number:02}"), Fingerprint::new(Vec::new())));
            ClientSchema(models.collect()).check(|_| None).unwrap_err()
        };
        assert_eq!(client(1).code(), ErrorCode::SchemaMismatch);
        assert!(client(8).message().contains("`Model07` any more; load"), "{}", client(8));
        assert!(client(10).message().contains("`Model07` any more, and 2 more; load"), "{}", client(10));
    }
}
