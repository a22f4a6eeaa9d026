//! What a filter holds for: the same table of cases as the JavaScript client's (`tests/js/where.test.js`).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sync_core::{Filter, SyncedModel};

/// A row with one field that may be anything.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Any {
    id: u64,
    #[sync(index)]
    f: Value,
}

/// A row with fields of types that can be compared.
#[derive(Clone, Debug, Default, Serialize, Deserialize, SyncedModel)]
struct Typed {
    id: u64,
    #[sync(index)]
    whole: i64,
    #[sync(server_only, index)]
    large: u64,
    #[sync(index)]
    float: f64,
    #[sync(index)]
    flag: bool,
    #[sync(index)]
    text: String,
    #[sync(index)]
    due: Option<String>,
    #[sync(index)]
    stars: Option<u8>,
}

#[derive(Deserialize)]
struct Table {
    values: Vec<Value>,
    cases: Vec<(Value, Vec<Value>)>,
}

fn filter(condition: &Value) -> Filter<Any> {
    let (operator, operand) = condition.as_object().unwrap().iter().next().unwrap();
    match operator.as_str() {
        "eq" => Any::F.eq(operand),
        "ne" => Any::F.ne(operand),
        "lt" => Any::F.lt(operand),
        "lte" => Any::F.lte(operand),
        "gt" => Any::F.gt(operand),
        "gte" => Any::F.gte(operand),
        "in" => Any::F.one_of(operand.as_array().unwrap()),
        "prefix" => Any::F.prefix(operand.as_str().unwrap()),
        other => panic!("the table has an operator that is not known here: {other}"),
    }
}

#[test]
fn the_table_of_cases() {
    let table: Table = serde_json::from_str(include_str!("../cases/filters.json")).unwrap();
    assert!(table.cases.len() > 40);
    for (condition, expected) in &table.cases {
        let filter = filter(condition);
        let holds = |value: &&Value| filter.matches(&Any { id: 1, f: (*value).clone() });
        let held: Vec<_> = table.values.iter().filter(holds).collect();
        assert_eq!(held, expected.iter().collect::<Vec<_>>(), "{condition}");
    }
}

#[test]
fn typed_fields_take_operands_of_their_type() {
    let row = Typed {
        whole: -3,
        float: 0.5,
        flag: true,
        text: "milk".into(),
        due: Some("2026-11-24".into()),
        ..Typed::default()
    };
    for filter in [
        Typed::WHOLE.lt(0),
        Typed::WHOLE.gte(-3),
        Typed::FLOAT.gt(0.25) & Typed::FLOAT.lte(0.5),
        Typed::FLAG.gt(false),
        Typed::TEXT.prefix("mi") & Typed::TEXT.lt("mill") & Typed::TEXT.ne("tea"),
        Typed::DUE.lt("2027") & Typed::DUE.prefix("2026-") & !Typed::DUE.is_none(),
        Typed::STARS.is_none() & Typed::STARS.ne(3),
    ] {
        assert!(filter.matches(&row), "{filter:?}");
        assert!(!(!filter.clone()).matches(&row), "{filter:?}");
    }
    for filter in [Typed::STARS.lt(3), Typed::STARS.gte(3), Typed::STARS.eq(3), Typed::DUE.gt("2027")] {
        assert!(!filter.matches(&row), "{filter:?}");
    }
}

#[test]
fn large_numbers_are_compared_exactly() {
    let large = 1_u64 << 53;
    let row = Typed { large: large + 1, ..Typed::default() };
    assert!(Typed::LARGE.gt(large).matches(&row) && Typed::LARGE.lt(large + 2).matches(&row));
    assert!(!Typed::LARGE.eq(large).matches(&row) && !Typed::LARGE.lte(large).matches(&row));
    let row = Typed { large: u64::MAX, ..Typed::default() };
    assert!(Typed::LARGE.gt(i64::MAX as u64).matches(&row) && Typed::LARGE.lte(u64::MAX).matches(&row));

    // A whole number and a float meet without being rounded.
    let any = |json: &str| Any { id: 1, f: serde_json::from_str(json).unwrap() };
    let float: Value = serde_json::from_str("9007199254740993.5").unwrap();
    assert!(Any::F.lt(&float).matches(&any("9007199254740993")));
    let beyond: Value = serde_json::from_str("1e300").unwrap();
    assert!(Any::F.lt(&beyond).matches(&any("18446744073709551615")));
    assert!(Any::F.gt(&any("-18446744073709551615").f).matches(&any("-9223372036854775808")));
}
