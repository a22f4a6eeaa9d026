//! Frames to messages: any text is read into messages, each of which is either refused with words for the client or is what the text says.

use std::collections::BTreeMap;

use arbitrary::{Result, Unstructured};
use serde_json::{Value, value::RawValue};
use sync_core::{
    ErrorCode, Limits,
    fuzzing::{self, Decoded},
};

use crate::{Notes, json, json::Node};

/// The fields of a method besides `method` and `ack`, and those of them that it needs.
const METHODS: [(&str, &[&str], &[&str]); 11] = [
    ("hello", &["client", "token", "schema"], &["client"]),
    (
        "subscribe",
        &["id", "modelname", "where", "order", "limit", "after", "until", "since", "since_seq"],
        &["id", "modelname"],
    ),
    ("unsubscribe", &["id"], &["id"]),
    ("read", &["id", "modelname", "model", "where", "order", "limit", "after", "until"], &["modelname"]),
    ("ack", &[], &[]),
    ("create", &["id", "modelname", "cid", "model"], &["modelname", "model"]),
    ("update", &["id", "modelname", "model", "if_seq"], &["modelname", "model"]),
    ("patch", &["id", "modelname", "model", "if_seq"], &["modelname", "model"]),
    ("delete", &["id", "modelname", "model", "if_seq"], &["modelname", "model"]),
    ("action", &["id", "modelname", "action", "args"], &["modelname", "action"]),
    ("batch", &["id", "requests"], &["requests"]),
];

/// The longest answer to a message that could not be read, in bytes.
const MAX_ANSWER: usize = 4096;

/// What is worth putting into a text.
pub const WORDS: &[&str] = &[
    r#""method":"#,
    r#""id":"#,
    r#""modelname":"Item""#,
    r#""model":{"#,
    r#""cid":"c1""#,
    r#""ack":1"#,
    r#""where":{"#,
    r#""order":["#,
    r#""limit":1"#,
    r#""since":"#,
    r#""since_seq":1"#,
    r#""if_seq":1"#,
    r#""requests":["#,
    r#""args":{"#,
    r#""create""#,
    r#""update""#,
    r#""patch""#,
    r#""delete""#,
    r#""action""#,
    r#""batch""#,
    r#""hello""#,
    r#""read""#,
    r#""subscribe""#,
    r#""unsubscribe""#,
    r#""ack""#,
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u0061",
    "\\ud800",
    "1e400",
    "9007199254740992",
    "null",
    "true",
    " ",
    "\u{feff}",
    r#""a":1,"a":2"#,
    r#"{"$cid":"c1"}"#,
];

/// Tries a text.
pub fn run(input: &[u8], notes: &mut Notes) {
    let limits = Limits::default();
    let Ok(text) = std::str::from_utf8(input) else { return };
    if text.len() > limits.message_bytes {
        return;
    }
    let messages = fuzzing::messages(text, &limits);
    for message in &messages {
        check_answers(message, notes);
    }
    let node = Node::read(text);
    let is_deep = fuzzing::is_deeper(text, limits.json_depth);
    if let Some(node) = &node {
        assert_eq!(is_deep, node.depth() > limits.json_depth, "the depth is counted wrongly");
    }
    if is_deep {
        let [message] = &messages[..] else { panic!("one answer to what is too deep: {messages:?}") };
        assert_eq!(message.refused[0].1, ErrorCode::Limit);
        return;
    }
    match node {
        Some(Node::List(items)) => {
            let texts: Vec<&RawValue> = serde_json::from_str(text).unwrap();
            assert_eq!(messages.len(), items.len(), "each message of an array is answered");
            for ((message, node), text) in messages.iter().zip(&items).zip(texts) {
                check(message, node, text.get(), notes);
            }
        }
        Some(node) => {
            assert_eq!(messages.len(), 1);
            check(&messages[0], &node, text, notes);
        }
        None if serde_json::from_str::<&RawValue>(text).is_err() => {
            assert_eq!(messages.len(), 1);
            assert!(!messages[0].refused.is_empty(), "it is no JSON");
        }
        // Strings that are no Unicode, or numbers beyond any: where they stand in what is passed on, they are passed on.
        None => notes.add("odd JSON"),
    }
}

/// What clients are told.
fn check_answers(message: &Decoded, notes: &mut Notes) {
    for (_, code, answer) in &message.refused {
        assert!(answer.len() <= MAX_ANSWER, "an answer of {} bytes", answer.len());
        let answer: Value = serde_json::from_slice(answer).expect("an answer is JSON");
        assert_eq!(answer["method"], "error");
        let text = answer["message"].as_str().expect("an error has a message");
        assert!(!text.is_empty());
        assert!(
            matches!(code, ErrorCode::BadRequest | ErrorCode::Limit | ErrorCode::Invalid),
            "{code:?} before anything was looked up"
        );
        // Without what stands between the backticks, which the client chose.
        let words: String = text.split('`').step_by(2).collect::<Vec<_>>().join("`");
        let words: String = words.chars().filter(|letter| !letter.is_ascii_digit()).take(60).collect();
        notes.add(format!("{:?} {words}", message.method));
    }
    if message.refused.is_empty() {
        let variant: String = message.request.chars().take_while(|letter| letter.is_alphanumeric()).collect();
        let id = message.id.is_some();
        let shape = message.request.matches("Some").count();
        notes.add(format!("{variant} {:?} {id} {} {shape}", message.method, message.ack.is_some()));
    }
}

/// One message that is JSON.
fn check(message: &Decoded, node: &Node, text: &str, notes: &mut Notes) {
    let is_accepted = message.refused.is_empty();
    if node.has_twice() {
        assert!(!is_accepted, "a field is given twice: {message:?}");
        notes.add(format!("twice {:?}", message.method));
        return;
    }
    let value: Value = serde_json::from_str(text).unwrap();
    if let Some(expected) = is_right(&value) {
        assert_eq!(is_accepted, expected, "{message:?}");
    }
    if !is_accepted {
        return;
    }
    let method = value["method"].as_str();
    assert_eq!(message.method, method);
    assert_eq!(message.ack, value["ack"].as_u64());
    assert_eq!(message.cid.as_deref(), value["cid"].as_str());
    let model = value["modelname"].as_str().filter(|name| name.len() <= 64);
    assert_eq!(message.model.as_deref(), model);
    assert_eq!(message.id, value.get("id").map(Value::to_string));
    // The same fields in another order, with spaces between them, are the same message.
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).unwrap();
    let fields: Vec<_> =
        fields.iter().rev().map(|(name, value)| format!("{} : {value}", Value::from(&**name))).collect();
    let again = format!(" {{ {} }}\n", fields.join(" ,\r\n"));
    let [again] = &fuzzing::messages(&again, &Limits::default())[..] else { panic!("one message: {again}") };
    assert_eq!((again.hash, &again.request), (message.hash, &message.request));
}

/// Whether a message is as it should be; `None` where that is not judged here.
fn is_right(value: &Value) -> Option<bool> {
    let Some(fields) = value.as_object() else { return Some(false) };
    let Some(method) = fields.get("method").and_then(Value::as_str) else { return Some(false) };
    let Some((_, known, needed)) = METHODS.iter().find(|(name, ..)| *name == method) else {
        return Some(false);
    };
    let is_known = |name: &String| known.contains(&name.as_str()) || name == "method" || name == "ack";
    let has = |name: &&str| fields.contains_key(*name);
    let is_number = |value: &Value| value.as_u64().is_some_and(|number| number < 1 << 53);
    let number = |name: &str| fields.get(name).is_none_or(is_number);
    let text = |name: &str| fields.get(name).is_none_or(Value::is_string);
    let name = |value: &Value| value.as_str().is_some_and(|text| (1..=64).contains(&text.len()));
    if !fields.keys().all(is_known) || !needed.iter().all(has) || !text("modelname") || !number("ack") {
        return Some(false);
    }
    match method {
        "ack" => Some(true),
        "unsubscribe" => Some(is_number(&fields["id"]) || name(&fields["id"])),
        "create" | "update" | "patch" | "delete" => {
            Some(number("id") && number("if_seq") && fields.get("cid").is_none_or(name))
        }
        "action" => Some(number("id") && text("action")),
        "batch" => {
            let Some(requests) = fields["requests"].as_array() else { return Some(false) };
            let is_step = |request: &Value| {
                let is_simple = matches!(
                    request["method"].as_str(),
                    Some("create" | "update" | "patch" | "delete" | "action")
                );
                is_simple
                    && request.get("id").is_none()
                    && request.get("ack").is_none()
                    && is_right(request) == Some(true)
            };
            Some(number("id") && (1..=100).contains(&requests.len()) && requests.iter().all(is_step))
        }
        _ => None,
    }
}

/// Makes a frame, mostly of messages that are nearly right.
pub fn generate(random: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut text = String::new();
    if random.ratio(1, 6)? {
        text.push('[');
        for index in 0..random.int_in_range(0..=4)? {
            if index > 0 {
                text.push(',');
            }
            message(random, true, &mut text)?;
        }
        text.push(']');
    } else {
        message(random, true, &mut text)?;
    }
    Ok(text.into_bytes())
}

fn message(random: &mut Unstructured<'_>, may_be_batch: bool, into: &mut String) -> Result<()> {
    let (method, fields, needed) = *random.choose(&METHODS[..if may_be_batch { 11 } else { 10 }])?;
    into.push_str(&format!(r#"{{"method":"{method}""#));
    for name in fields.iter().chain([&"ack"]) {
        let times = match random.int_in_range(0..=15)? {
            0 => 2,
            1..=6 => 1,
            _ => usize::from(needed.contains(name)),
        };
        for _ in 0..times {
            into.push_str(&format!(r#","{name}":"#));
            field(random, name, into)?;
        }
    }
    if random.ratio(1, 20)? {
        into.push(',');
        json::string(random, into)?;
        into.push(':');
        json::value(random, 2, into)?;
    }
    into.push('}');
    Ok(())
}

fn field(random: &mut Unstructured<'_>, name: &str, into: &mut String) -> Result<()> {
    if random.ratio(1, 12)? {
        return json::value(random, 3, into);
    }
    match name {
        "client" => into.push_str(random.choose(&[r#""0192f0c1-7a5e-7cc3-98c4-dc0c0c07398f""#, r#""x""#])?),
        "id" | "ack" | "limit" | "if_seq" | "since_seq" => into.push_str(random.choose(json::NUMBERS)?),
        "modelname" => into.push_str(random.choose(&[r#""Item""#, r#""Doc""#, r#""Nothing""#])?),
        "schema" => {
            into.push_str(random.choose(&["{}", r#"{"Item":"id:849f8e r"}"#, r#"{"Item":"","Item":""}"#])?);
        }
        "order" | "after" | "until" => {
            into.push('[');
            json::value(random, 1, into)?;
            into.push(']');
        }
        "requests" => {
            into.push('[');
            for index in 0..random.int_in_range(0..=3)? {
                if index > 0 {
                    into.push(',');
                }
                message(random, false, into)?;
            }
            into.push(']');
        }
        "model" | "args" | "where" => {
            into.push_str(r#"{"id":"#);
            json::value(random, 1, into)?;
            into.push_str(r#","a":"#);
            json::value(random, 3, into)?;
            into.push('}');
        }
        _ => json::string(random, into)?,
    }
    Ok(())
}
