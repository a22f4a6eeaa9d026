//! The names in JSON are serde's, and what serde is told about a field holds for drafts and for the wire.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sync_core::{
    __private::{Access, FieldSchema, decode_draft},
    SyncedModel,
};

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
mod hex {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(colour: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{colour:x}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        u32::from_str_radix(&String::deserialize(deserializer)?, 16).map_err(D::Error::custom)
    }
}

fn upper<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text.to_uppercase())
}

fn lower<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(String::deserialize(deserializer)?.to_lowercase())
}

fn five() -> u8 {
    5
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Priority {
    #[default]
    Low,
    High,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SyncedModel)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Task {
    id: u64,
    #[serde(serialize_with = "upper", deserialize_with = "lower")]
    #[sync(index)]
    code_name: String,
    #[serde(alias = "lst", alias = "folder")]
    list: String,
    #[serde(with = "hex")]
    #[sync(index)]
    colour: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    #[sync(index)]
    priority: Priority,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due_at: Option<i64>,
    #[serde(default = "five")]
    stars: u8,
    #[serde(rename = "kind")]
    r#type: Option<String>,
    #[serde(skip)]
    cache: usize,
    #[sync(server_only)]
    #[serde(with = "hex", default = "secret")]
    secret_colour: u32,
    name: String,
}

fn secret() -> u32 {
    0xff
}

fn task() -> Task {
    Task {
        id: 1,
        code_name: "falcon".into(),
        list: "home".into(),
        colour: 0xaa,
        priority: Priority::Low,
        due_at: None,
        stars: 5,
        r#type: None,
        cache: 0,
        secret_colour: 0xff,
        name: "n".into(),
    }
}

fn wire(task: &Task) -> String {
    let mut json = Vec::new();
    task.__serialize_wire(&mut serde_json::Serializer::new(&mut json)).unwrap();
    String::from_utf8(json).unwrap()
}

#[test]
fn the_wire_is_as_serde_says_without_the_servers_fields() {
    let expected =
        r#"{"id":1,"codeName":"FALCON","list":"home","colour":"aa","stars":5,"kind":null,"name":"n"}"#;
    assert_eq!(wire(&task()), expected);
    let urgent = Task { priority: Priority::High, due_at: Some(3), ..task() };
    assert!(wire(&urgent).contains(r#""priority":"High","dueAt":3"#));
}

#[test]
fn a_draft_is_read_as_serde_says() {
    let draft = r#"{"id":1,"codeName":"FALCON","folder":"home","colour":"aa","name":"n"}"#;
    assert_eq!(decode_draft::<Task>(draft).unwrap(), task());
}

#[test]
fn what_is_stored_is_the_users_own_serde() {
    let stored = serde_json::to_string(&task()).unwrap();
    assert!(stored.contains(r#""secretColour":"ff""#));
    assert_eq!(serde_json::from_str::<Task>(&stored).unwrap(), task());
}

#[test]
fn the_schema_has_the_names_of_what_is_written() {
    let names: Vec<_> = Task::__SCHEMA.fields.iter().map(|field| field.name).collect();
    let expected =
        ["id", "codeName", "list", "colour", "priority", "dueAt", "stars", "kind", "secretColour", "name"];
    assert_eq!(names, expected);
    let field = |name| Task::__SCHEMA.fields.iter().find(|field: &&FieldSchema| field.name == name).unwrap();
    assert_eq!(field("list").aliases, ["lst", "folder"]);
    assert_eq!(field("secretColour").access, Access::ServerOnly);
    assert!(field("colour").indexed && field("id").indexed && !field("list").indexed);
    assert_eq!((Task::NAME.name(), <Task as SyncedModel>::NAME), ("name", "Task"));
}

#[test]
fn filters_compare_what_serde_writes() {
    assert!(Task::COLOUR.eq(0xaa).matches(&task()));
    assert!(!Task::COLOUR.eq(0xab).matches(&task()));
    assert!(Task::CODE_NAME.eq("falcon").matches(&task()));
    assert!(Task::PRIORITY.eq(Priority::Low).matches(&task()), "left out of the JSON");
    assert!(Task::PRIORITY.one_of([Priority::High]).matches(&Task { priority: Priority::High, ..task() }));
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SyncedModel)]
#[serde(default, rename_all(serialize = "kebab-case", deserialize = "kebab-case"))]
struct Settings {
    id: String,
    font_size: u8,
    #[sync(read_only)]
    level: Level,
    #[sync(server_only)]
    rank: Level,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Level {
    Beginner,
    Master,
}

impl Default for Settings {
    fn default() -> Self {
        Self { id: String::new(), font_size: 12, level: Level::Beginner, rank: Level::Master }
    }
}

#[test]
fn a_containers_default_gives_all_that_is_missing() {
    assert_eq!(decode_draft::<Settings>("{}").unwrap(), Settings::default());
    assert_eq!(decode_draft::<Settings>(r#"{"font-size":9}"#).unwrap().font_size, 9);
    assert_eq!(Settings::FONT_SIZE.name(), "font-size");
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SyncedModel)]
#[serde(default = "Draft::fresh")]
#[sync(name = "drafts")]
struct Draft {
    id: u64,
    text: String,
}

impl Draft {
    fn fresh() -> Self {
        Self { id: 0, text: "fresh".into() }
    }
}

#[test]
fn a_containers_default_may_be_a_path() {
    assert_eq!(decode_draft::<Draft>("{}").unwrap(), Draft::fresh());
    assert_eq!(<Draft as SyncedModel>::NAME, "drafts");
}

/// What `serde_with` and the like write for a field.
struct Like<T>(std::marker::PhantomData<T>);

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
impl Like<u32> {
    fn serialize<S: Serializer>(colour: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        hex::serialize(colour, serializer)
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        hex::deserialize(deserializer)
    }
}

fn shown<const LENGTH: usize, S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text[..LENGTH])
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SyncedModel)]
struct Paint {
    id: u64,
    #[serde(with = "Like::<u32>")]
    #[sync(index)]
    colour: u32,
    #[serde(serialize_with = "shown::<2, _>")]
    #[sync(index)]
    code: String,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    #[sync(index)]
    layers: Vec<u8>,
    #[serde(skip_serializing_if = "Option::<u8>::is_none")]
    #[sync(index, server_only)]
    shelf: Option<u8>,
}

#[test]
fn filters_compare_what_functions_with_parameters_write() {
    let paint = Paint { id: 1, colour: 0xaa, code: "abc".into(), layers: Vec::new(), shelf: None };
    let stored = serde_json::to_string(&paint).unwrap();
    assert_eq!(stored, r#"{"id":1,"colour":"aa","code":"ab"}"#);
    assert_eq!(serde_json::from_str::<Paint>(&stored).unwrap(), Paint { code: "ab".into(), ..paint.clone() });
    for filter in [
        Paint::COLOUR.eq(0xaa),
        Paint::CODE.eq("abc"),
        Paint::CODE.eq("ab"),
        Paint::LAYERS.eq(Vec::new()),
        Paint::SHELF.eq(None),
    ] {
        assert!(filter.matches(&paint), "{filter:?}");
    }
}

macro_rules! signature {
    ($model:ident { $($fields:tt)* }) => {{
        #[derive(Clone, Serialize, Deserialize, SyncedModel)]
        struct $model { $($fields)* }
        $model::__SCHEMA.signature
    }};
}

#[test]
fn the_signature_differs_when_what_is_stored_does() {
    let plain = signature!(One { id: u64, text: String });
    let documented = signature!(Two {
        /// The id.
        id: u64,
        pub text: String,
    });
    assert_eq!(plain, documented);
    assert_ne!(plain, signature!(Three { id: u64, text: Option<String> }));
    assert_ne!(
        plain,
        signature!(Four {
            id: u64,
            #[serde(rename = "body")]
            text: String
        })
    );
    assert_ne!(
        plain,
        signature!(Five {
            id: u64,
            #[serde(default)]
            text: String
        })
    );
    assert_ne!(plain, signature!(Six { text: String, id: u64 }));
}
