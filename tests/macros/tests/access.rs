//! Who may see and set which field.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sync_core::{
    __private::{decode_draft, overlay_draft},
    ErrorCode, SyncedModel,
};
use sync_tests_macros::{Todo, UserId};

fn todo() -> Todo {
    Todo {
        id: 7,
        title: "milk".into(),
        completed: false,
        list: "home".into(),
        created_at: 100,
        owner: UserId(3),
    }
}

#[test]
fn the_servers_fields_are_not_in_the_wire_type() {
    let mut json = Vec::new();
    todo().__serialize_wire(&mut serde_json::Serializer::new(&mut json)).unwrap();
    let expected = r#"{"id":7,"title":"milk","completed":false,"list":"home","created_at":100}"#;
    assert_eq!(String::from_utf8(json).unwrap(), expected);
}

#[test]
fn a_draft_gets_the_defaults_of_what_clients_do_not_send() {
    let draft: Todo = decode_draft(r#"{"title":"milk","list":"home"}"#).unwrap();
    assert_eq!(draft, Todo { id: 0, created_at: 0, owner: UserId(0), ..todo() });
}

#[test]
fn a_draft_with_fields_of_the_server_is_refused_and_all_are_named() {
    let error = decode_draft::<Todo>(r#"{"title":"milk","list":"home","created_at":1,"owner":2,"colour":3}"#)
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::Invalid);
    let fields: Vec<_> = error.fields().iter().map(|(name, why)| (name.as_str(), why.as_str())).collect();
    let expected = [
        ("colour", "unknown field"),
        ("created_at", "is set by the server only"),
        ("owner", "unknown field"),
    ];
    assert_eq!(fields, expected);
}

#[test]
fn a_draft_is_an_object_with_each_field_once() {
    for (draft, field) in [
        (r#"{"title":"milk"}"#, Some("list")),
        (r#"{"title":"milk","title":"tea","list":"home"}"#, Some("title")),
        (r#"{"title":"milk","list":3}"#, Some("list")),
        (r#"[7,"milk",false,"home"]"#, None),
        (r#""milk""#, None),
    ] {
        let error = decode_draft::<Todo>(draft).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Invalid, "{draft}");
        assert_eq!(error.fields().keys().next().map(String::as_str), field, "{draft}");
    }
}

#[test]
fn a_patch_changes_the_fields_that_it_has() {
    let mut next = overlay_draft(&todo(), r#"{"completed":true}"#).unwrap();
    next.__keep_server_fields(&todo());
    assert_eq!(next, Todo { completed: true, ..todo() });
    assert!(overlay_draft(&todo(), r#"{"owner":1}"#).is_err());
    assert!(overlay_draft(&todo(), r#"{"created_at":1}"#).is_err());
}

#[test]
fn an_update_cannot_change_the_id_or_what_is_the_servers() {
    let mut next = Todo { id: 8, title: "tea".into(), created_at: 1, owner: UserId(1), ..todo() };
    next.__keep_server_fields(&todo());
    assert_eq!(next, Todo { title: "tea".into(), ..todo() });
}

#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Exact {
    id: u64,
    big: u64,
    number: Box<RawValue>,
    #[serde(alias = "old")]
    new: i64,
}

#[test]
fn a_patch_leaves_numbers_as_they_are_written() {
    let json = r#"{"id":1,"big":18446744073709551615,"number":1.10000000000000000000001,"new":1}"#;
    let row: Exact = serde_json::from_str(json).unwrap();
    let next = overlay_draft(&row, r#"{"old":2}"#).unwrap();
    assert_eq!(next.big, u64::MAX);
    assert_eq!(next.number.get(), "1.10000000000000000000001");
    assert_eq!(next.new, 2);
}

/// A model that clients see and set as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, SyncedModel)]
struct Tag {
    id: u64,
    text: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Reference<M> {
    id: u64,
    #[serde(skip)]
    model: std::marker::PhantomData<fn() -> M>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SyncedModel)]
struct Tagged {
    id: u64,
    tags: Vec<Option<Tag>>,
    todo: Reference<Todo>,
    tuple: (u8, [Box<Tag>; 1]),
    #[sync(server_only)]
    original: Option<Todo>,
}

#[test]
fn models_may_be_within_models_where_nothing_is_kept_from_clients() {
    let draft = r#"{"tags":[{"id":1,"text":"x"},null],"todo":{"id":7},"tuple":[1,[{"id":2,"text":"y"}]]}"#;
    let tagged: Tagged = decode_draft(draft).unwrap();
    assert_eq!(tagged.tags, [Some(Tag { id: 1, text: "x".into() }), None]);
    assert_eq!((tagged.todo.id, tagged.original), (7, None));
}

/// A field under a name that is not to be known.
#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncedModel)]
struct Hidden {
    id: u64,
    #[serde(alias = "subject")]
    text: String,
    #[serde(default, rename = "internal", alias = "i")]
    #[sync(server_only)]
    secret: u32,
}

#[test]
fn a_patch_names_a_field_once() {
    for patch in [r#"{"text":"a","text":"b"}"#, r#"{"text":"a","subject":"b"}"#] {
        let error = overlay_draft(&Hidden::default(), patch).unwrap_err();
        assert!(error.message().contains("given twice"), "{patch}: {error}");
    }
    assert_eq!(overlay_draft(&Hidden::default(), r#"{"subject":"b"}"#).unwrap().text, "b");
}

#[test]
fn an_alias_does_not_tell_the_name_of_a_server_only_field() {
    for refused in [
        overlay_draft(&Hidden::default(), r#"{"i":1}"#).unwrap_err(),
        decode_draft::<Hidden>(r#"{"text":"a","i":1}"#).unwrap_err(),
    ] {
        assert_eq!(refused.message(), "i: unknown field");
    }
}
