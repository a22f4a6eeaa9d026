//! Places in a list that people drag: text that always has room for another between two.
//!
//! The rules are in the comment of `sync-core/client/position.js`, which makes the same; `tests/cases/positions.json` holds both to them. In short: digits of base
//! 62 in the order of their code points; an integer, whose first character says how long it is, then a fraction that does not end in `0`. At an end the
//! integer is counted up or down, in a gap the middle is taken, and behind it comes the jitter.

use std::{error::Error, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::{
    SyncType, Textual,
    types::{Type, Types},
};

/// A row's place in a list that people put into order, such as by dragging: a field to order by.
///
/// A row that is moved gets a new position between its new neighbours, and no other row changes. Two people who
/// insert at the same place at once get different positions, but for 1 time in 200,000. It is text in JSON and compares as text; clients make it too, with `between` of
/// `/sync/position.js`.
///
/// A position has 5 to 8 characters in a list that grows at its ends, also after hundreds of thousands of rows, and one more for about every 5
/// rows that are put into the same gap one after another.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use sync_core::{Position, SyncedModel};
///
/// #[derive(Clone, Serialize, Deserialize, SyncedModel)]
/// struct Card {
///     id: u64,
///     title: String,
///     #[sync(index)]
///     position: Position,
/// }
///
/// let first = Position::first();
/// let last = Position::between(Some(&first), None);
/// let middle = Position::between(Some(&first), Some(&last));
/// assert!(first < middle && middle < last);
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(Box<str>);

impl Position {
    /// The position of the first row in an empty list.
    pub fn first() -> Self {
        Self::between(None, None)
    }

    /// A position after `after` and before `before`, where `None` is the beginning and the end of the list.
    ///
    /// Two that do not leave room, because the first is not less than the second (two rows may have come to the same position), give one
    /// directly after `after`.
    pub fn between(after: Option<&Self>, before: Option<&Self>) -> Self {
        Self::__between(after, before, &jitter(Uuid::new_v4().as_u64_pair().1))
    }

    /// With the jitter given.
    #[doc(hidden)]
    pub fn __between(after: Option<&Self>, before: Option<&Self>, jitter: &str) -> Self {
        Self((base(after, before) + jitter).into())
    }

    /// The position as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn integer(&self) -> Integer<'_> {
        let length = integer_length(&self.0).unwrap_or(0);
        Integer { text: self.0.get(..length).unwrap_or_default() }
    }

    fn fraction(&self) -> &str {
        self.0.get(self.integer().text.len()..).unwrap_or_default()
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let is_position = text.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && integer_length(text).and_then(|length| text.split_at_checked(length)).is_some_and(
                |(integer, fraction)| {
                    !(fraction.ends_with('0') || fraction.is_empty() && Integer { text: integer }.is_least())
                },
            );
        if is_position { Ok(Self(text.into())) } else { Err(InvalidPosition(())) }
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl SyncType for Position {
    fn __describe(_: &mut Types) -> Type {
        Type::String
    }
}

impl Textual for Position {}
impl Textual for Option<Position> {}

/// The error of a text that is no [`Position`].
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidPosition(());

impl fmt::Display for InvalidPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a position in a list: `Position::between` makes them, or `between` of `/sync/position.js`",
        )
    }
}

impl Error for InvalidPosition {}

fn base(after: Option<&Position>, before: Option<&Position>) -> String {
    match (after, before) {
        (None, None) => "a0".into(),
        (Some(after), None) => {
            let integer = after.integer();
            integer.next().unwrap_or_else(|| integer.with(&middle(after.fraction(), None)))
        }
        (None, Some(before)) => {
            let integer = before.integer();
            integer.previous().unwrap_or_else(|| integer.with(&middle("", Some(before.fraction()))))
        }
        (Some(after), Some(before)) if after >= before => after.0.to_string(),
        (Some(after), Some(before)) => {
            let (integer, upper) = (after.integer(), before.integer());
            if integer.text == upper.text {
                return integer.with(&middle(after.fraction(), Some(before.fraction())));
            }
            let next = integer.next().filter(|next| **next < *upper.text);
            next.unwrap_or_else(|| integer.with(&middle(after.fraction(), None)))
        }
    }
}

/// The integer of a position.
#[derive(Clone, Copy)]
struct Integer<'a> {
    text: &'a str,
}

impl Integer<'_> {
    fn with(self, fraction: &str) -> String {
        [self.text, fraction].concat()
    }

    fn is_least(self) -> bool {
        self.text.strip_prefix('A').is_some_and(|digits| digits.bytes().all(|digit| digit == b'0'))
    }

    fn next(self) -> Option<String> {
        let (&head, digits) = self.text.as_bytes().split_first()?;
        let mut digits = digits.to_vec();
        for digit in digits.iter_mut().rev() {
            let value = value(*digit);
            *digit = digit_of((value + 1) % BASE);
            if value + 1 < BASE {
                return Some(text(head, &digits));
            }
        }
        match head {
            b'z' => return None,
            b'Z' => return Some("a0".into()),
            // One digit more above zero, one less below.
            b'a'.. => digits.push(b'0'),
            _ => drop(digits.pop()),
        }
        Some(text(head + 1, &digits))
    }

    fn previous(self) -> Option<String> {
        let (&head, digits) = self.text.as_bytes().split_first()?;
        let mut digits = digits.to_vec();
        for digit in digits.iter_mut().rev() {
            let value = value(*digit);
            *digit = digit_of((value + BASE - 1) % BASE);
            if value > 0 {
                return Some(text(head, &digits));
            }
        }
        match head {
            b'A' => return None,
            b'a' => return Some("Zz".into()),
            b'b'.. => drop(digits.pop()),
            _ => digits.push(b'z'),
        }
        Some(text(head - 1, &digits))
    }
}

fn text(head: u8, digits: &[u8]) -> String {
    [head].iter().chain(digits).copied().map(char::from).collect()
}

/// How long the integer is that begins this text.
fn integer_length(text: &str) -> Option<usize> {
    match *text.as_bytes().first()? {
        head @ b'a'..=b'z' => Some(usize::from(head - b'a') + 2),
        head @ b'A'..=b'Z' => Some(usize::from(b'Z' - head) + 2),
        _ => None,
    }
}

/// The middle of two fractions, of which the first is the less; none is more than all. The second does not begin with it, so that there is room
/// for any jitter.
fn middle(lower: &str, upper: Option<&str>) -> String {
    let (lower, mut upper) = (lower.as_bytes(), upper.map(str::as_bytes));
    let mut middle = String::new();
    for place in 0.. {
        let x = lower.get(place).map_or(0, |digit| value(*digit));
        let y = upper.and_then(|upper| upper.get(place)).map_or(BASE, |digit| value(*digit));
        if y > x + 1 {
            middle.push(char::from(digit_of(u8::midpoint(x, y))));
            break;
        }
        middle.push(char::from(digit_of(x)));
        if x != y {
            upper = None;
        }
    }
    middle
}

/// Out of a random number, of which the low 62 bits at least are random: the lower half of a UUID.
fn jitter(random: u64) -> String {
    let mut rest = random & (u64::MAX >> 2);
    let mut digits = Vec::with_capacity(JITTER);
    digits.push(digit_of(1 + take(&mut rest, BASE - 1)));
    digits.extend((1..JITTER).map(|_| digit_of(take(&mut rest, BASE))));
    digits.iter().rev().copied().map(char::from).collect()
}

fn take(rest: &mut u64, end: u8) -> u8 {
    let taken = *rest % u64::from(end);
    *rest /= u64::from(end);
    u8::try_from(taken).unwrap_or(0)
}

fn value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'A'..=b'Z' => digit - b'A' + 10,
        _ => digit.saturating_sub(b'a') + 36,
    }
}

fn digit_of(value: u8) -> u8 {
    match value {
        0..10 => b'0' + value,
        10..36 => b'A' + value - 10,
        _ => b'a' + value - 36,
    }
}

const BASE: u8 = 62;

/// Digits of jitter: two are the same once in 234,484 times.
const JITTER: usize = 3;
