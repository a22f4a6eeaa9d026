//! What may be an id.

use serde::{Deserialize, Serialize};
use sync_core::{__private::decode_draft, Key, KeyKind, ModelId, SyncedModel};
use uuid::Uuid;

macro_rules! models {
    ($($model:ident: $id:ty, $kind:ident;)*) => {$(
        #[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
        struct $model {
            id: $id,
        }
    )*

        #[test]
        fn every_id_type_is_one() {
            $(
                assert_eq!(<$model as SyncedModel>::Id::KIND, KeyKind::$kind);
                let mut row: $model = decode_draft("{}").expect("the id may be missing");
                row.__set_id(row.__id().clone());
                assert_eq!($model::ID.name(), "id");
            )*
        }
    };
}

models! {
    ByI16: i16, Int;
    ByI32: i32, Int;
    ByI64: i64, Int;
    ByU16: u16, Int;
    ByU32: u32, Int;
    ByU64: u64, Int;
    ByString: String, Text;
    ByUuid: Uuid, Text;
    ByNewtype: ListId, Int;
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct ListId(u32);

impl ModelId for ListId {
    const KIND: KeyKind = KeyKind::Int;

    fn to_key(&self) -> Key {
        self.0.to_key()
    }

    fn from_key(key: &Key) -> Option<Self> {
        u32::from_key(key).map(ListId)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Marked {
    id: String,
    #[sync(id)]
    #[serde(rename = "list")]
    number: ListId,
}

#[test]
fn another_field_may_be_the_id() {
    let mut row: Marked = decode_draft(r#"{"id":"not it"}"#).unwrap();
    row.__set_id(ListId(7));
    assert_eq!(row.number, ListId(7));
    assert_eq!(row.__id(), &ListId(7));
    assert_eq!(Marked::__SCHEMA.id, "list");
    assert_eq!(row.id, "not it");
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct NoDefault(u32);

impl ModelId for NoDefault {
    const KIND: KeyKind = KeyKind::Int;

    fn to_key(&self) -> Key {
        self.0.to_key()
    }

    fn from_key(key: &Key) -> Option<Self> {
        u32::from_key(key).map(NoDefault)
    }
}

fn zero() -> NoDefault {
    NoDefault(0)
}

#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Defaulted {
    #[serde(default = "zero")]
    id: NoDefault,
}

#[test]
fn an_id_may_have_serdes_default() {
    assert_eq!(decode_draft::<Defaulted>("{}").unwrap().id, NoDefault(0));
    assert_eq!(decode_draft::<Defaulted>(r#"{"id":3}"#).unwrap().id, NoDefault(3));
}
