//! Positions in lists that people drag: the same table of cases as the JavaScript client's `between`.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use sync_core::{Position, SyncedModel};

#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
struct Card {
    id: u64,
    #[sync(index)]
    position: Position,
    #[sync(index)]
    #[serde(default)]
    other: Option<Position>,
}

#[derive(Deserialize)]
struct Table {
    cases: Vec<(Option<String>, Option<String>, String, String)>,
    wrong: Vec<(Option<String>, Option<String>, String)>,
}

fn table() -> Table {
    serde_json::from_str(include_str!("../cases/positions.json")).unwrap()
}

fn position(text: &str) -> Position {
    text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn between(after: Option<&Position>, before: Option<&Position>, jitter: &str) -> String {
    Position::__between(after, before, jitter).to_string()
}

#[test]
fn the_table_of_cases() {
    let table = table();
    assert!(table.cases.len() > 40);
    for (after, before, jitter, expected) in &table.cases {
        let case = format!("{after:?} {before:?} {jitter:?}");
        let (after, before) = (after.as_deref().map(position), before.as_deref().map(position));
        assert_eq!(&between(after.as_ref(), before.as_ref(), jitter), expected, "{case}");
        // And with the jitter that nobody gave.
        let new = Position::between(after.as_ref(), before.as_ref());
        assert!(after.as_ref().is_none_or(|after| *after < new), "{case}: {new}");
        assert!(before.as_ref().is_none_or(|before| new < *before), "{case}: {new}");
        assert_eq!(position(new.as_str()), new);
    }
}

#[test]
fn what_is_no_position_is_refused() {
    let is_refused = |text: &str| {
        assert_eq!(
            text.parse::<Position>().is_err(),
            serde_json::from_value::<Position>(text.into()).is_err()
        );
        text.parse::<Position>().is_err()
    };
    let mut refused = 0;
    for (after, before, jitter) in &table().wrong {
        let texts = [after, before].map(|text| text.as_deref().unwrap_or("a1"));
        let has_bad_text = texts.iter().any(|text| is_refused(text));
        let is_out_of_order = after.as_deref().zip(before.as_deref()).is_some_and(|(a, b)| a >= b);
        assert!(has_bad_text || is_out_of_order || !jitter.is_empty(), "{after:?} {before:?}");
        refused += usize::from(has_bad_text);
    }
    assert!(refused >= 8);
    for text in ["a0\n", "a0 ", "a0\0", "😀", "Z", "A0000000000000000000000000", "zzz", "a0é"] {
        assert!(is_refused(text), "{text:?}");
    }
    assert!(serde_json::from_str::<Position>("7").is_err());
    let error = serde_json::from_str::<Card>(r#"{"id":1,"position":"a"}"#).unwrap_err().to_string();
    assert!(error.starts_with("not a position in a list"), "{error}");
}

/// It never fails: rows that have come to the same position can be told apart again.
#[test]
fn two_that_leave_no_room_give_one_behind_the_first() {
    let (a, b) = (position("a1k"), position("a2"));
    assert_eq!(between(Some(&a), Some(&a), "xyz"), "a1kxyz");
    assert_eq!(between(Some(&b), Some(&a), "xyz"), "a2xyz");
}

#[test]
fn it_stays_short_at_both_ends() {
    let (mut first, mut last) = (Position::first(), Position::first());
    for _ in 0..300_000 {
        let (before, after) = (Position::between(None, Some(&first)), Position::between(Some(&last), None));
        assert!(before < first && last < after);
        (first, last) = (before, after);
    }
    assert!(first.as_str().len() <= 8 && last.as_str().len() <= 8, "{first} {last}");
}

#[test]
fn it_grows_slowly_in_one_gap() {
    for toward_the_end in [true, false] {
        let (mut low, mut high) = (position("a0"), position("a1"));
        for _ in 0..600 {
            let new = Position::between(Some(&low), Some(&high));
            assert!(low < new && new < high);
            *(if toward_the_end { &mut low } else { &mut high }) = new;
        }
        let longest = low.as_str().len().max(high.as_str().len());
        assert!(longest < 600 / 4, "{longest}");
    }
}

/// 1,000 people put something into the same place at once.
#[test]
fn who_inserts_at_the_same_place_at_once_gets_another_position() {
    let (low, high) = (position("a0"), position("a1"));
    let new: HashSet<_> = (0..1000).map(|_| Position::between(Some(&low), Some(&high))).collect();
    // By chance 2 of them collide, and 20 never do.
    assert!(new.len() > 980, "{}", new.len());
}

#[test]
fn rows_are_ordered_and_filtered_by_it() {
    let card = |text| Card { id: 1, position: position(text), other: None };
    let after = Card::POSITION.gt(position("a0"));
    assert!(after.matches(&card("a1")) && !after.matches(&card("a0")) && !after.matches(&card("Zz")));
    assert!(Card::POSITION.prefix("a").matches(&card("a1")));
    assert!(
        Card::OTHER.is_none().matches(&card("a1")) && !Card::OTHER.eq(position("a0")).matches(&card("a0"))
    );
    let _ = [Card::POSITION.asc(), Card::OTHER.desc()];
    assert_eq!(serde_json::to_string(&card("a1")).unwrap(), r#"{"id":1,"position":"a1","other":null}"#);
}
