//! What the constants of the fields can be compared with.

use serde::{Deserialize, Serialize};
use sync_core::{Filter, SyncedModel};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct UserId(u64);

#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncedModel)]
struct Row {
    id: u64,
    #[sync(index)]
    count: u32,
    #[sync(index)]
    list: String,
    #[sync(index)]
    due: Option<i64>,
    #[sync(index)]
    label: Option<String>,
    #[sync(index)]
    owner: UserId,
    #[sync(index)]
    parent: Option<Box<Self>>,
    _plain: f64,
}

#[test]
fn literals_references_and_plain_values_of_options() {
    let row = Row { id: 3, count: 5, list: "home".into(), due: Some(9), label: None, ..Row::default() };
    let home = String::from("home");
    for filter in [
        Row::ID.eq(3),
        Row::COUNT.eq(5),
        Row::COUNT.one_of([4, 5]),
        Row::LIST.eq("home"),
        Row::LIST.eq(&home),
        Row::LIST.eq(home.clone()),
        Row::LIST.one_of(["work", "home"]),
        Row::DUE.eq(9),
        Row::DUE.eq(Some(9)),
        Row::LABEL.eq(None),
        !Row::LABEL.eq("x"),
        Row::OWNER.eq(UserId(0)),
        Row::OWNER.eq(&row.owner),
        Row::PARENT.eq(None) & Row::COUNT.eq(5),
        Row::COUNT.eq(6) | Row::COUNT.eq(5),
        Filter::all(),
    ] {
        assert!(filter.matches(&row), "{filter:?}");
    }
    assert_eq!(Row::_PLAIN.name(), "_plain");
}
