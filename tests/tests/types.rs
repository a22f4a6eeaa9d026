//! The TypeScript types of a zoo of models: what is printed, and that the rows and drafts of serde are values of it.
//!
//! `tests/js/types.test.js` compiles the snapshots with TypeScript. After a change, `INSTA_UPDATE=always cargo test -p sync-tests --test types`
//! writes them anew.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
    marker::PhantomData,
    process::Command,
    time::{Duration, UNIX_EPOCH},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use serde_json::json;
use sync_core::{Server, SyncType, SyncedModel, sync_handlers};
use uuid::Uuid;

/// Every kind of field.
///
/// Its end: */ is no end.
#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncedModel)]
struct Animal {
    id: u64,
    /// What it is called.
    name: String,
    #[serde(default)]
    #[sync(index)]
    tame: bool,
    #[sync(index)]
    weight: Option<f64>,
    #[sync(read_only, index)]
    born_at: i64,
    #[sync(server_only, index)]
    price: Price,
    #[sync(read_only)]
    origin: Origin,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nickname: Option<String>,
    #[serde(rename = "scientific-name", alias = "latin")]
    scientific_name: String,
    #[serde(skip)]
    #[expect(dead_code)]
    cache: usize,
    species: Species,
    diet: Diet,
    home: Home,
    visits: Vec<Visit>,
    food: Food,
    parents: Pair<Option<ParentId>>,
    notes: Pair<String>,
    tree: Option<Box<Tree>>,
    #[serde(with = "sync_core::integer_string")]
    genome: u128,
    #[serde(default, with = "sync_core::integer_string")]
    chip: Option<u64>,
    #[serde(with = "shouted")]
    hidden: String,
    #[serde(with = "shouted")]
    #[sync(ts = "string")]
    motto: String,
    builtin: Builtin,
    foreign: Foreign,
    strange: Strange,
    marker: Marker,
    money: Money,
    celsius: Celsius,
    keeper: Option<Keeper>,
    oddity: Oddity,
}

#[sync_handlers(crud)]
impl Animal {}

/// A model that is part of another one's rows as well.
#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncedModel, SyncType)]
struct Keeper {
    id: u32,
    #[sync(index)]
    name: String,
}

#[sync_handlers(crud)]
impl Keeper {}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Foreign {
    anything: bool,
}

/// Clients do not see it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncType)]
struct Price(u64);

/// Clients do not send it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncType)]
struct Origin {
    country: Option<String>,
}

/// External: the default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, SyncType)]
enum Species {
    #[default]
    Cat,
    #[serde(rename = "the dog")]
    Dog,
    /// Somebody's name for it.
    Other(String),
    Mixed(String, String),
    Dragon {
        /// How many it has.
        heads: u32,
        #[serde(default)]
        fire: bool,
    },
    Unit(()),
    #[serde(skip)]
    #[expect(dead_code)]
    Secret,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncType)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase")]
enum Diet {
    #[default]
    EatsAll,
    OnlyPlants {
        favourite_plant: Option<String>,
    },
    Prey(Prey),
    #[serde(rename_all = "UPPERCASE", rename = "x")]
    Odd {
        so_what: u8,
    },
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncType)]
struct Prey {
    smallest: u8,
    largest: u8,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncType)]
#[serde(tag = "t", content = "c")]
enum Home {
    #[default]
    Nowhere,
    Cage(u32),
    Aviary(u32, u32),
    Field {
        hectares: f32,
    },
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncType)]
#[serde(untagged)]
enum Food {
    #[default]
    Nothing,
    Grams(u64),
    Named(String),
    Two(String, u64),
    Full {
        name: String,
        grams: Option<u64>,
    },
    Many(Vec<Food>),
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncType)]
#[serde(rename_all = "camelCase")]
struct Visit {
    seen_by: String,
    #[serde(default)]
    at_night: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    long_note: Option<String>,
    #[serde(rename(serialize = "writtenAs", deserialize = "readAs"))]
    renamed: u8,
    #[serde(skip_deserializing)]
    only_written: u8,
    #[serde(skip_serializing, default)]
    #[expect(dead_code)]
    only_read: u8,
    #[serde(flatten)]
    prey: Prey,
    #[serde(flatten)]
    maybe: Option<Weather>,
    #[serde(flatten)]
    rest: BTreeMap<String, serde_json::Value>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncType)]
struct Weather {
    rain: bool,
}

/// A pair of anything.
#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncType)]
struct Pair<T> {
    left: T,
    right: T,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, SyncType)]
struct ParentId(u64);

#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncType)]
struct Tree {
    label: String,
    children: Vec<Tree>,
    parent: Option<Box<Tree>>,
}

#[derive(Clone, Debug, Serialize, Deserialize, SyncType)]
struct Builtin {
    unit: (),
    letter: char,
    text: Cow<'static, str>,
    boxed: Box<str>,
    bytes: Box<[u8]>,
    array: [Option<bool>; 2],
    set: BTreeSet<String>,
    pair: (u8, String),
    by_name: HashMap<String, Vec<i32>>,
    by_number: BTreeMap<u32, ParentId>,
    any: serde_json::Value,
    uuid: Uuid,
    lasting: Duration,
    since: std::time::SystemTime,
    #[expect(clippy::option_option, reason = "some people write it")]
    twice: Option<Option<u8>>,
    nothing: PhantomData<u8>,
    #[serde(default)]
    any_object: serde_json::Map<String, serde_json::Value>,
}

impl Default for Builtin {
    fn default() -> Self {
        Self {
            unit: (),
            letter: 'x',
            text: "text".into(),
            boxed: "boxed".into(),
            bytes: Box::new([1, 2]),
            array: [Some(true), None],
            set: BTreeSet::from(["a".into()]),
            pair: (1, "two".into()),
            by_name: HashMap::from([("a b".into(), vec![-1])]),
            by_number: BTreeMap::from([(7, ParentId(8))]),
            any: json!({ "any": [1, null] }),
            uuid: Uuid::nil(),
            lasting: Duration::from_millis(1500),
            since: UNIX_EPOCH,
            twice: Some(Some(1)),
            nothing: PhantomData,
            any_object: serde_json::Map::new(),
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncType)]
#[serde(tag = "type", rename = "strange one")]
struct Strange {
    #[serde(rename = "a \"quoted\" name\n")]
    quoted: u8,
    r#type_: bool,
    #[sync(ts = "'a' | 'b'")]
    choice: Choice,
    choices: Vec<Choice>,
}

#[derive(Clone, Debug, Default)]
struct Letter(char);

/// Written by hand.
#[derive(Clone, Debug, Default, SyncType)]
#[sync(ts = "'a' | 'b'", name = "AOrB")]
struct Choice(Letter);

impl Serialize for Choice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.0 == 'b' { "b" } else { "a" })
    }
}

impl<'de> Deserialize<'de> for Choice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Letter(char::deserialize(deserializer)?)))
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncType)]
struct Marker;

#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncType)]
#[serde(transparent)]
struct Money {
    cents: Option<u32>,
    #[serde(skip)]
    #[expect(dead_code)]
    cache: u8,
}

/// Clients send a string, and see a number.
#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncType)]
#[serde(try_from = "String", into = "f64")]
struct Celsius(f64);

impl TryFrom<String> for Celsius {
    type Error = std::num::ParseFloatError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

impl From<Celsius> for f64 {
    fn from(celsius: Celsius) -> Self {
        celsius.0
    }
}

mod shouted {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&text.to_uppercase())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        String::deserialize(deserializer)
    }
}

/// Called as what is made for every server.
#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncedModel)]
struct Models {
    #[sync(id)]
    key: String,
    other: other::Tree,
    tree: Tree,
}

#[sync_handlers(crud)]
impl Models {}

mod other {
    use super::{Deserialize, Serialize, SyncType};

    /// Another of the same name.
    #[derive(Clone, Debug, Default, Serialize, Deserialize, SyncType)]
    pub(crate) struct Tree {
        height: f64,
    }
}

/// Called as the draft of `Animal`, and with the names of its fields changed.
#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncedModel)]
#[serde(default, rename_all = "camelCase")]
struct AnimalInsert {
    #[sync(id)]
    its_id: Uuid,
    first_name: String,
}

#[sync_handlers(crud)]
impl AnimalInsert {}

/// Called as a word of TypeScript.
#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncedModel)]
#[sync(name = "class")]
struct Class {
    id: u32,
}

#[sync_handlers(crud)]
impl Class {}

/// Called as a type of the zoo.
#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncedModel)]
#[sync(name = "Visit")]
struct VisitModel {
    id: i64,
}

#[sync_handlers(crud)]
impl VisitModel {}

/// What people rarely write.
#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncType)]
struct Oddity {
    skipping: Skipping,
    adjacent: AdjacentSkipping,
    internal: InternalSkipping,
    untagged: UntaggedSkipping,
    one_skipped: OneSkipped,
    with_foreign: WithForeign,
    within: Within,
    tagged: Tagged,
    called_readonly: readonly,
    sum: Sum,
    chain: Chain,
}

/// Its own name for nothing but itself.
#[derive(Clone, Debug, Serialize, Deserialize, SyncType)]
#[serde(untagged)]
enum Sum {
    Number(u8),
    Group(Box<Sum>),
    Of { parts: Vec<Sum> },
}

impl Default for Sum {
    fn default() -> Self {
        Self::Number(0)
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncType)]
struct Chain(Option<Box<Chain>>);

#[derive(Clone, Debug, Serialize, Deserialize, SyncType)]
enum Skipping {
    Whole(#[serde(skip)] Foreign),
    OnlyRead(#[serde(skip_serializing)] u8),
    Part(#[serde(skip)] Foreign, u8),
    All(#[serde(skip)] u8, #[serde(skip)] u8),
}

impl Default for Skipping {
    fn default() -> Self {
        Self::Whole(Foreign::default())
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, SyncType)]
#[serde(tag = "t", content = "c")]
enum AdjacentSkipping {
    Whole(#[serde(skip)] Foreign),
}

impl Default for AdjacentSkipping {
    fn default() -> Self {
        Self::Whole(Foreign::default())
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, SyncType)]
#[serde(tag = "t")]
enum InternalSkipping {
    Whole(#[serde(skip)] Foreign),
}

impl Default for InternalSkipping {
    fn default() -> Self {
        Self::Whole(Foreign::default())
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, SyncType)]
#[serde(untagged)]
enum UntaggedSkipping {
    Whole(#[serde(skip)] Foreign),
    Number(u8),
}

impl Default for UntaggedSkipping {
    fn default() -> Self {
        Self::Whole(Foreign::default())
    }
}

/// serde does not skip it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncType)]
struct OneSkipped(#[serde(skip)] u8);

#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncType)]
struct WithForeign {
    a: u8,
    #[serde(skip)]
    #[expect(dead_code)]
    cache: Foreign,
}

/// Within an object a type is not what it is alone, also where it has a name.
#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncType)]
struct Within {
    a: String,
    #[serde(flatten)]
    maybe: MaybeWeather,
    #[serde(flatten)]
    external: External,
    #[serde(flatten)]
    rest: Numbers,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncType)]
struct MaybeWeather(Option<Weather>);

#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncType)]
struct Numbers(BTreeMap<String, u8>);

#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncType)]
enum External {
    #[default]
    Unit,
    Number(u8),
}

#[derive(Clone, Debug, Serialize, Deserialize, SyncType)]
#[serde(tag = "kind")]
enum Tagged {
    Empty(Marker),
    Numbers(Numbers),
    Either(External),
}

impl Default for Tagged {
    fn default() -> Self {
        Self::Empty(Marker)
    }
}

/// Called as what begins a type of TypeScript.
#[expect(non_camel_case_types, reason = "that is the point")]
#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncType)]
struct readonly {
    a: u8,
}

fn server() -> Server {
    Server::builder().store("memory:").build().unwrap()
}

#[test]
fn zoo() {
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("zoo.d.ts", server().typescript());
    });
}

#[test]
fn schema() {
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("zoo.js", server().schema_module());
    });
}

/// Values as serde writes them, each a constant of its type; TypeScript is asked whether they are.
#[derive(Default)]
struct Samples {
    text: String,
    count: usize,
}

impl Samples {
    fn literal(&mut self, ty: &str, json: &serde_json::Value) {
        self.count += 1;
        writeln!(self.text, "export const sample{}: {ty} = {json};", self.count).unwrap();
    }

    /// Something that the server sends.
    fn written<T: Serialize>(&mut self, ty: &str, value: &T) {
        self.literal(ty, &serde_json::to_value(value).unwrap());
    }

    /// Something that serde reads.
    fn read<T: DeserializeOwned>(&mut self, ty: &str, json: &serde_json::Value) {
        let read = serde_json::from_value::<T>(json.clone());
        assert!(read.is_ok(), "{ty}: {json}: {:?}", read.err());
        self.literal(ty, json);
    }
}

#[test]
fn what_serde_writes_and_reads_is_of_the_types() {
    let mut samples = Samples::default();
    let mut animal = serde_json::to_value(Animal { born_at: -5, ..Animal::default() }).unwrap();
    animal.as_object_mut().unwrap().remove("price");
    samples.literal("Animal", &animal);

    for species in [
        Species::Cat,
        Species::Dog,
        Species::Other("o".into()),
        Species::Mixed("a".into(), "b".into()),
        Species::Dragon { heads: 3, fire: true },
        Species::Unit(()),
    ] {
        samples.written("Species", &species);
    }
    samples.read::<Species>("SpeciesInsert", &json!({ "Dragon": { "heads": 1 } }));
    for diet in [
        Diet::EatsAll,
        Diet::OnlyPlants { favourite_plant: None },
        Diet::Prey(Prey { smallest: 1, largest: 2 }),
        Diet::Odd { so_what: 1 },
    ] {
        samples.written("Diet", &diet);
    }
    samples.written("Keeper2", &Keeper::default());
    samples.read::<Diet>("DietInsert", &json!({ "kind": "only_plants" }));
    for home in [Home::Nowhere, Home::Cage(1), Home::Aviary(1, 2), Home::Field { hectares: 0.5 }] {
        samples.written("Home", &home);
    }
    let food = [
        Food::Nothing,
        Food::Grams(1),
        Food::Named("hay".into()),
        Food::Two("hay".into(), 2),
        Food::Full { name: "hay".into(), grams: None },
    ];
    samples.written("Food", &Food::Many(food.to_vec()));
    samples.read::<Food>("FoodInsert", &json!([{ "name": "hay" }, 7]));
    let visit = Visit { seen_by: "me".into(), ..Visit::default() };
    samples.written("Visit2", &visit);
    let rest = BTreeMap::from([("more".into(), json!([true]))]);
    let maybe = Some(Weather { rain: true });
    samples.written("Visit2", &Visit { long_note: Some("it rained".into()), maybe, rest, ..visit });
    samples
        .read::<Visit>("Visit2Insert", &json!({ "seenBy": "me", "readAs": 1, "smallest": 1, "largest": 2 }));
    samples.written("PairOfOptionalParentId", &Pair { left: Some(ParentId(1)), right: None });
    samples.read::<Pair<Option<ParentId>>>("PairOfOptionalParentIdInsert", &json!({ "right": 1 }));
    samples.read::<Pair<String>>("PairOfString", &json!({ "left": "l", "right": "r" }));
    let leaf = Tree { label: "leaf".into(), ..Tree::default() };
    samples.written(
        "Tree",
        &Tree { children: vec![leaf.clone()], parent: Some(Box::new(leaf)), ..Tree::default() },
    );
    samples.read::<Tree>(
        "TreeInsert",
        &json!({ "label": "root", "children": [{ "label": "leaf", "children": [] }] }),
    );
    samples.written("Builtin", &Builtin::default());
    samples.written("Strange", &Strange::default());
    samples.read::<Strange>(
        "StrangeInsert",
        &json!({ "a \"quoted\" name\n": 1, "type_": true, "choice": "b", "choices": ["a", "b"] }),
    );
    samples.written("Money", &Money { cents: Some(1), cache: 2 });
    samples.written("Money", &Money::default());
    samples.written("Celsius", &Celsius(20.5));
    samples.read::<Celsius>("CelsiusInsert", &json!("20.5"));
    samples.written("Models2", &Models::default());
    samples.written("AnimalInsert", &AnimalInsert::default());
    samples.written("class2", &Class::default());
    for skipping in [
        Skipping::Whole(Foreign::default()),
        Skipping::OnlyRead(1),
        Skipping::Part(Foreign::default(), 1),
        Skipping::All(1, 2),
    ] {
        samples.written("Skipping", &skipping);
    }
    samples.read::<Skipping>("SkippingInsert", &json!("Whole"));
    samples.read::<Skipping>("SkippingInsert", &json!({ "OnlyRead": 1 }));
    samples.written("AdjacentSkipping", &AdjacentSkipping::default());
    samples.written("InternalSkipping", &InternalSkipping::default());
    samples.written("UntaggedSkipping", &UntaggedSkipping::default());
    samples.written("UntaggedSkipping", &UntaggedSkipping::Number(1));
    samples.written("OneSkipped", &OneSkipped(1));
    samples.written("WithForeign", &WithForeign::default());
    let within = Within { rest: Numbers(BTreeMap::from([("n".into(), 1)])), ..Within::default() };
    samples.written("Within", &within);
    let maybe = MaybeWeather(Some(Weather { rain: true }));
    samples.written("Within", &Within { maybe, external: External::Number(1), ..Within::default() });
    for tagged in [
        Tagged::Empty(Marker),
        Tagged::Numbers(Numbers(BTreeMap::from([("n".into(), 1)]))),
        Tagged::Either(External::Unit),
        Tagged::Either(External::Number(1)),
    ] {
        samples.written("Tagged", &tagged);
    }
    samples.written("readonly2", &readonly::default());
    samples.written("Sum", &Sum::Group(Box::new(Sum::Of { parts: vec![Sum::Group(Box::default())] })));
    samples.written("Chain", &Chain(Some(Box::new(Chain(None)))));

    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("samples.ts", samples.text);
    });
}

/// What a person does: the types go into a file, and what is not known is on the terminal.
#[test]
fn the_command_prints_the_types_and_what_is_unknown() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_sync-test-server")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (types, unknown) = run(&["typescript"]);
    let parcel = "export interface Parcel {\n  readonly id: number;\n  content: unknown;\n  street: unknown;\n  town: string;\n}\n";
    assert!(types.contains(parcel), "{types}");
    assert_eq!(
        unknown,
        "Parcel.content: `Vec<Content>` has no #[derive(SyncType)]: unknown\n\
         Parcel.street: serde's `with` hides what it is; say it with #[sync(ts = \"...\")]: unknown\n"
    );
    let (schema, unknown) = run(&["typescript", "--schema"]);
    assert!(schema.contains("\nexport const schema = {\n"), "{schema}");
    assert!(
        schema.contains("\n  \"Todo\": \"id:849f8e r,title:d2e93d w,completed:f1b064 o\",\n"),
        "{schema}"
    );
    assert_eq!(unknown, "");
}
