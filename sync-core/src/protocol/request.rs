//! What clients send, read strictly: every message names its method, and every field of it must belong to that method.

use std::{borrow::Cow, fmt, sync::Arc};

use serde_json::value::RawValue;
use smallvec::SmallVec;
use uuid::Uuid;

use super::{RequestId, duplicates, reference};
use crate::{
    Error, ErrorCode, Result,
    model::Key,
    object::{Object, Text, shortened, shown},
    safe_integer::{self, MAX_SAFE_INTEGER},
    store::{MutationId, Seq},
    types::ClientSchema,
};

/// The longest `cid` and request id, in bytes.
const MAX_NAME: usize = 64;

/// The longest `token`, in bytes.
const MAX_TOKEN: usize = 16 * 1024;

/// The longest `schema`, in bytes.
const MAX_SCHEMA: usize = 48 * 1024;

/// The longest `where`, in bytes: it is kept as long as the subscription.
const MAX_FILTER: usize = 16 * 1024;

/// The longest `order`, `after` and `until`, in bytes.
const MAX_PLACE: usize = 4 * 1024;

/// The most rows of a window, and of a `read` with a `limit`.
const MAX_LIMIT: u64 = 1000;

/// The longest text key that a client may use, in bytes.
const MAX_KEY: usize = 256;

/// One message of a client.
#[derive(Debug)]
pub(crate) struct Message {
    /// What it is about, for the answer.
    pub(crate) subject: Subject,
    /// Outcomes of mutations up to this one are kept by the client.
    pub(crate) ack: Option<MutationId>,
    /// What it asks; an error if it could not be read.
    pub(crate) request: Result<Request>,
}

/// What identifies a request in its answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subject {
    pub(crate) method: Option<&'static str>,
    pub(crate) id: Option<RequestId>,
    pub(crate) model: Option<Box<str>>,
    pub(crate) cid: Option<Box<str>>,
}

/// What a client asks.
#[derive(Debug)]
pub(crate) enum Request {
    Hello(Hello),
    Subscribe(Query),
    Unsubscribe(RequestId),
    Read { model: Box<str>, target: Target },
    Mutate(Mutation),
    Ack,
}

/// What a `read` asks for.
#[derive(Debug)]
pub(crate) enum Target {
    All(Arc<Rows>),
    Key(Key),
    /// The one that the client created under this cid.
    Created(Box<str>),
}

/// What a client shows of who it is. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(Arc<str>);

impl Token {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Hello {
    pub(crate) client: Uuid,
    pub(crate) token: Option<Token>,
    /// What the client was built for.
    pub(crate) schema: Option<ClientSchema>,
    /// Given by a client that was welcomed before.
    pub(crate) ack: Option<MutationId>,
}

/// Which rows are asked for, as it was sent: what it means depends on the model.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    /// `where`
    pub(crate) filter: Option<Box<str>>,
    pub(crate) order: Option<Box<str>>,
    pub(crate) after: Option<Box<str>>,
    pub(crate) until: Option<Box<str>>,
    pub(crate) limit: Option<usize>,
}

impl Rows {
    fn is_all(&self) -> bool {
        let texts = [&self.filter, &self.order, &self.after, &self.until];
        texts.into_iter().all(Option::is_none) && self.limit.is_none()
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) id: RequestId,
    pub(crate) model: Box<str>,
    pub(crate) rows: Arc<Rows>,
    pub(crate) since: Option<Box<str>>,
    /// What the client has had since then.
    pub(crate) since_seq: Option<Seq>,
}

/// A `create`, `update`, `patch`, `delete`, `action` or `batch`. What is wrong with it is decided in its turn, so that its number is used up.
#[derive(Debug)]
pub(crate) struct Mutation {
    pub(crate) id: Option<MutationId>,
    /// Of what is asked, the same in every run and version of the server.
    pub(crate) hash: u64,
    pub(crate) content: Result<Content>,
}

/// What a mutation asks.
#[derive(Debug)]
pub(crate) enum Content {
    One(Step),
    /// All of it or nothing, each seeing the effects of those before it.
    Batch(Vec<BatchStep>),
}

/// A request of a batch.
#[derive(Debug)]
pub(crate) struct BatchStep {
    /// For the answer.
    pub(crate) subject: Subject,
    pub(crate) content: Result<Step>,
}

/// One request to change something.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Row(MutationContent),
    Action(ActionContent),
}

#[derive(Clone, Debug)]
pub(crate) struct ActionContent {
    pub(crate) model: Box<str>,
    pub(crate) action: Box<str>,
    /// A JSON object, as it was sent.
    pub(crate) arguments: Box<str>,
}

#[derive(Clone, Debug)]
pub(crate) struct MutationContent {
    pub(crate) method: Method,
    pub(crate) model: Box<str>,
    pub(crate) cid: Option<Box<str>>,
    /// The row as it was sent.
    pub(crate) row: Box<str>,
    pub(crate) if_seq: Option<Seq>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Create,
    Update,
    Patch,
    Delete,
}

impl Method {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }

    fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Create => &["id", "modelname", "cid", "model"],
            Self::Update | Self::Patch | Self::Delete => &["id", "modelname", "model", "if_seq"],
        }
    }
}

/// The fields of every method but the mutations'.
const FIELDS: [(&str, &[&str]); 5] = [
    ("hello", &["client", "token", "schema"]),
    ("subscribe", &["id", "modelname", "where", "order", "limit", "after", "until", "since", "since_seq"]),
    ("unsubscribe", &["id"]),
    ("read", &["id", "modelname", "model", "where", "order", "limit", "after", "until"]),
    ("ack", &[]),
];

/// The other mutations.
const ACTION: &str = "action";
const BATCH: &str = "batch";
const REQUESTS: &str = "requests";

const ACTION_FIELDS: [&str; 4] = ["id", "modelname", "action", "args"];
const BATCH_FIELDS: [&str; 2] = ["id", REQUESTS];

/// The most requests in a batch.
const MAX_BATCH: usize = 100;

/// The messages of a frame: one object, or an array of them. Each is read when it is asked for.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    messages: std::vec::IntoIter<Result<&'a str>>,
}

impl<'a> Frame<'a> {
    pub(crate) fn read(text: &'a str) -> Self {
        let messages = if text.trim_start().starts_with('[') {
            match serde_json::from_str::<Vec<&RawValue>>(text) {
                Ok(messages) => messages.into_iter().map(|message| Ok(message.get())).collect(),
                Err(error) => vec![Err(not_json(&error))],
            }
        } else {
            vec![Ok(text)]
        };
        Self { messages: messages.into_iter() }
    }

    /// Whether it is an array of nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.as_slice().is_empty()
    }

    /// A frame that is not even looked at.
    pub(crate) fn refused(error: Error) -> Self {
        Self { messages: vec![Err(error)].into_iter() }
    }
}

impl Iterator for Frame<'_> {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        Some(match self.messages.next()? {
            Ok(text) => Message::read(text),
            Err(error) => Message::unreadable(error),
        })
    }
}

impl Message {
    fn read(text: &str) -> Self {
        let fields = match serde_json::from_str(text) {
            Ok(object) => Fields(object),
            Err(error) => return Self::unreadable(not_json(&error)),
        };
        let mut subject = Subject::default();
        let method = match fields.method() {
            Ok(method) => method,
            Err(error) => {
                subject.id = fields.id().ok().flatten();
                return Self { subject, ack: None, request: Err(error) };
            }
        };
        subject.method = Some(method.name());
        // What can be read of the subject stands in the answer, also when something else is wrong.
        subject.model = fields.subject_model();
        subject.cid = fields.name("cid").ok().flatten();
        subject.id = fields.id().ok().flatten();
        let ack = fields.integer("ack");
        let request = match method {
            AnyMethod::Mutation(kind) => fields.mutation(kind, ack.as_ref().err()).map(Request::Mutate),
            AnyMethod::Other(name, known) => {
                fields.check(name, known).and_then(|()| fields.other(name, *ack.as_ref().unwrap_or(&None)))
            }
        };
        match ack {
            Ok(ack) => Self { subject, ack, request },
            Err(error) => Self {
                subject,
                ack: None,
                request: request.and_then(|request| match request {
                    mutation @ Request::Mutate(_) => Ok(mutation),
                    _ => Err(error),
                }),
            },
        }
    }

    fn unreadable(error: Error) -> Self {
        Self { subject: Subject::default(), ack: None, request: Err(error) }
    }
}

impl BatchStep {
    fn read(text: &str) -> Self {
        let mut subject = Subject::default();
        let content = serde_json::from_str(text).map_err(|error| not_json(&error)).and_then(|object| {
            let fields = Fields(object);
            let method = fields.method()?;
            subject.method = Some(method.name());
            subject.model = fields.subject_model();
            subject.cid = fields.name("cid").ok().flatten();
            let AnyMethod::Mutation(kind @ (Kind::Row(_) | Kind::Action)) = method else {
                return Err(bad(format!("`{}` cannot stand in a `batch`", method.name())));
            };
            // The batch has the `id` and the `ack` for all of them.
            let known: SmallVec<[_; 8]> =
                kind.fields().iter().copied().filter(|name| *name != "id").collect();
            if fields.0.get("ack").is_some() {
                return Err(bad(format!("`{}` in a `batch` has no `ack`: the batch has one", kind.as_str())));
            }
            fields.check(kind.as_str(), &known)?;
            match kind {
                Kind::Row(method) => fields.row_step(method),
                _ => fields.action_step(),
            }
        });
        Self { subject, content }
    }
}

enum AnyMethod {
    Mutation(Kind),
    Other(&'static str, &'static [&'static str]),
}

/// The method of a mutation.
#[derive(Clone, Copy)]
enum Kind {
    Row(Method),
    Action,
    Batch,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Row(Method::Create),
        Self::Row(Method::Update),
        Self::Row(Method::Patch),
        Self::Row(Method::Delete),
        Self::Action,
        Self::Batch,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Row(method) => method.as_str(),
            Self::Action => ACTION,
            Self::Batch => BATCH,
        }
    }

    fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Row(method) => method.fields(),
            Self::Action => &ACTION_FIELDS,
            Self::Batch => &BATCH_FIELDS,
        }
    }
}

impl AnyMethod {
    fn name(&self) -> &'static str {
        match self {
            Self::Mutation(kind) => kind.as_str(),
            Self::Other(name, _) => name,
        }
    }
}

/// The fields of a message.
struct Fields<'a>(Object<'a>);

impl<'a> Fields<'a> {
    fn method(&self) -> Result<AnyMethod> {
        let known = || Kind::ALL.iter().map(|kind| kind.as_str()).chain(FIELDS.iter().map(|(name, _)| *name));
        let list = || known().collect::<Vec<_>>().join(", ");
        let Some(name) = self.text("method")? else {
            return Err(bad(format!("a message needs a `method`: one of {}", list())));
        };
        if let Some(kind) = Kind::ALL.iter().find(|kind| kind.as_str() == name) {
            return Ok(AnyMethod::Mutation(*kind));
        }
        let other = FIELDS.iter().find(|(other, _)| *other == name);
        other
            .map(|(name, fields)| AnyMethod::Other(name, fields))
            .ok_or_else(|| bad(format!("there is no method `{}`; there are {}", shown(&name), list())))
    }

    /// The model's name, if it can be read. No model has a longer name, and the answer to a mutation is recorded.
    fn subject_model(&self) -> Option<Box<str>> {
        self.text("modelname").ok().flatten().filter(|name| name.len() <= MAX_NAME).map(Into::into)
    }

    /// Whether all fields belong to the method, and none has an object with a name twice in it.
    fn check(&self, method: &str, known: &[&str]) -> Result<()> {
        let is_unknown = |name: &str| !known.contains(&name) && name != "method" && name != "ack";
        if let Some((name, _)) = self.0.fields.iter().find(|(name, _)| is_unknown(name)) {
            let mut known = known.to_vec();
            known.push("ack");
            return Err(bad(format!(
                "`{method}` has no field `{}`; it has {}",
                shown(name),
                known.join(", ")
            )));
        }
        for (name, value) in &self.0.fields {
            // The requests of a batch are looked at one by one.
            if name != REQUESTS
                && let Some(twice) = duplicates::find(value.get())
            {
                return Err(bad(format!("`{name}`: field `{twice}` is given twice")));
            }
        }
        Ok(())
    }

    fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>> {
        let Some(raw) = self.0.get(name) else { return Ok(None) };
        match serde_json::from_str::<Text<'a>>(raw.get()) {
            Ok(Text(text)) => Ok(Some(text)),
            Err(_) => Err(bad(format!("`{name}` must be a string"))),
        }
    }

    /// A string that is kept and sent back.
    fn name(&self, name: &str) -> Result<Option<Box<str>>> {
        match self.text(name)? {
            Some(text) if text.is_empty() || text.len() > MAX_NAME => {
                Err(bad(format!("`{name}` must be of 1 to {MAX_NAME} bytes")))
            }
            text => Ok(text.map(Into::into)),
        }
    }

    fn integer(&self, name: &str) -> Result<Option<u64>> {
        let Some(raw) = self.0.get(name) else { return Ok(None) };
        match raw.get().parse() {
            Ok(number) if number <= MAX_SAFE_INTEGER => Ok(Some(number)),
            _ => Err(bad(format!("`{name}` must be a whole number from 0 to 2^53 - 1"))),
        }
    }

    fn id(&self) -> Result<Option<RequestId>> {
        match self.0.get("id") {
            Some(raw) if raw.get().starts_with('"') => Ok(self.name("id")?.map(RequestId::Text)),
            _ => self.integer("id").map(|id| id.map(RequestId::Number)).map_err(|_| {
                bad(format!(
                    "`id` must be a string of 1 to {MAX_NAME} bytes or a whole number from 0 to 2^53 - 1"
                ))
            }),
        }
    }

    fn required<T>(method: &str, name: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| bad(format!("`{method}` needs `{name}`")))
    }

    fn modelname(&self, method: &str) -> Result<Box<str>> {
        Ok(Self::required(method, "modelname", self.text("modelname")?)?.into())
    }

    fn raw(&self, name: &str, most: usize) -> Result<Option<Box<str>>> {
        let Some(raw) = self.0.get(name) else { return Ok(None) };
        if raw.get().len() > most {
            return Err(bad(format!("`{name}` must be of at most {most} bytes")));
        }
        Ok(Some(raw.get().into()))
    }

    fn rows(&self) -> Result<Rows> {
        let limit = match self.0.get("limit") {
            None => None,
            Some(raw) => match raw.get().parse() {
                Ok(limit @ 1..=MAX_LIMIT) => usize::try_from(limit).ok(),
                _ => return Err(bad(format!("`limit` must be a whole number from 1 to {MAX_LIMIT}"))),
            },
        };
        Ok(Rows {
            filter: self.raw("where", MAX_FILTER)?,
            order: self.raw("order", MAX_PLACE)?,
            after: self.raw("after", MAX_PLACE)?,
            until: self.raw("until", MAX_PLACE)?,
            limit,
        })
    }

    fn other(&self, method: &'static str, ack: Option<MutationId>) -> Result<Request> {
        match method {
            "hello" => {
                let client = Self::required(method, "client", self.text("client")?)?;
                let client = Uuid::parse_str(&client).map_err(|_| bad("`client` must be a UUID".into()))?;
                let token = self.text("token")?;
                if token.as_ref().is_some_and(|token| token.len() > MAX_TOKEN) {
                    return Err(bad(format!("`token` must be of at most {MAX_TOKEN} bytes")));
                }
                let token = token.map(|token| Token(token.into()));
                Ok(Request::Hello(Hello { client, token, schema: self.schema()?, ack }))
            }
            "subscribe" => Ok(Request::Subscribe(Query {
                id: Self::required(method, "id", self.id()?)?,
                model: self.modelname(method)?,
                rows: Arc::new(self.rows()?),
                since: self.text("since")?.map(Into::into),
                since_seq: self.integer("since_seq")?,
            })),
            "unsubscribe" => Ok(Request::Unsubscribe(Self::required(method, "id", self.id()?)?)),
            "read" => {
                self.id()?;
                let model = self.modelname(method)?;
                let rows = self.rows()?;
                let target = match self.0.get("model") {
                    None => Target::All(Arc::new(rows)),
                    Some(_) if !rows.is_all() => {
                        let message =
                            "a `read` has a `model`, or a `where`, `order`, `limit`, `after` and `until`";
                        return Err(bad(message.into()));
                    }
                    Some(raw) => {
                        let Ok(row) = serde_json::from_str::<Object<'_>>(raw.get()) else {
                            return Err(bad("`model` must be an object with the row's `id`".into()));
                        };
                        safe_integer::check(raw.get().as_bytes())?;
                        match row.fields.as_slice() {
                            [(_, id)] => match reference::of(id)? {
                                Some(cid) => Target::Created(cid.into()),
                                None => Target::Key(key(id)?),
                            },
                            _ => return Err(bad("`model` must have the row's id and nothing else".into())),
                        }
                    }
                };
                Ok(Request::Read { model, target })
            }
            _ => Ok(Request::Ack),
        }
    }

    /// What a client was built for.
    fn schema(&self) -> Result<Option<ClientSchema>> {
        let Some(raw) = self.0.get("schema") else { return Ok(None) };
        let Ok(models) = serde_json::from_str::<Object<'_>>(raw.get()) else {
            return Err(bad("`schema` must be an object with a string for each model".into()));
        };
        if raw.get().len() > MAX_SCHEMA {
            return Err(bad(format!("`schema` must be of at most {MAX_SCHEMA} bytes")));
        }
        let fingerprint = |(model, print): &(Cow<'_, str>, &RawValue)| {
            let Text(print) = serde_json::from_str(print.get()).ok()?;
            Some((model.to_string(), print.parse().ok()?))
        };
        let read = |entry: &(Cow<'_, str>, &RawValue)| {
            fingerprint(entry).ok_or_else(|| {
                let model = shown(&entry.0);
                bad(format!("`schema` must have for `{model}` what a `welcome` or `models.js` gave for it"))
            })
        };
        models.fields.iter().map(read).collect::<Result<_>>().map(|models| Some(ClientSchema(models)))
    }

    /// Reads a mutation. Only without a readable `id` is it an error: otherwise what is wrong is its content.
    fn mutation(&self, kind: Kind, wrong_ack: Option<&Error>) -> Result<Mutation> {
        let id = self.integer("id")?;
        let content = || {
            self.check(kind.as_str(), kind.fields())?;
            if let Some(error) = wrong_ack {
                return Err(bad(error.message().to_owned()));
            }
            match kind {
                Kind::Row(method) => self.row_step(method).map(Content::One),
                Kind::Action => self.action_step().map(Content::One),
                Kind::Batch => self.batch().map(Content::Batch),
            }
        };
        Ok(Mutation { id, hash: self.hash(), content: content() })
    }

    fn row_step(&self, method: Method) -> Result<Step> {
        let row = Self::required(method.as_str(), "model", self.0.get("model"))?;
        Ok(Step::Row(MutationContent {
            method,
            model: self.modelname(method.as_str())?,
            cid: self.name("cid")?,
            row: row.get().into(),
            if_seq: self.integer("if_seq")?,
        }))
    }

    fn action_step(&self) -> Result<Step> {
        Ok(Step::Action(ActionContent {
            model: self.modelname(ACTION)?,
            action: Self::required(ACTION, "action", self.text("action")?)?.into(),
            arguments: self.0.get("args").map_or("{}", RawValue::get).into(),
        }))
    }

    fn batch(&self) -> Result<Vec<BatchStep>> {
        let requests = Self::required(BATCH, REQUESTS, self.0.get(REQUESTS))?;
        let requests: Vec<&RawValue> = serde_json::from_str(requests.get())
            .map_err(|_| bad("`requests` must be a list of requests".into()))?;
        if requests.is_empty() || requests.len() > MAX_BATCH {
            return Err(bad(format!("a `batch` has 1 to {MAX_BATCH} requests, not {}", requests.len())));
        }
        Ok(requests.into_iter().map(|request| BatchStep::read(request.get())).collect())
    }

    /// Of all fields but `ack`, in the order of their names: the same mutation sent again has the same.
    fn hash(&self) -> u64 {
        let mut fields: SmallVec<[_; 8]> = self.0.fields.iter().filter(|(name, _)| name != "ack").collect();
        fields.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        for (name, value) in fields {
            for part in [name.as_bytes(), value.get().as_bytes()] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
        hasher.digest()
    }
}

/// The untyped id that `raw` is.
pub(crate) fn key(raw: &RawValue) -> Result<Key> {
    let raw = raw.get();
    if raw.starts_with('"') {
        let Text(text) = serde_json::from_str(raw).map_err(|_| bad("an `id` must be valid JSON".into()))?;
        if text.is_empty() || text.len() > MAX_KEY {
            return Err(bad(format!("an `id` must be of 1 to {MAX_KEY} bytes")));
        }
        return Ok(Key::Text(text.into()));
    }
    raw.parse().map(Key::Int).map_err(|_| bad("an `id` must be a whole number or a string".into()))
}

/// The value of the field of a row whose name `is_it`.
pub(crate) fn row_field(row: &str, is_it: impl Fn(&str) -> bool) -> Result<Option<&RawValue>> {
    Ok(row_fields(row)?.fields.iter().find(|(name, _)| is_it(name)).map(|(_, value)| *value))
}

/// The name of the field of a row whose name `is_it`.
pub(crate) fn row_field_name(row: &str, is_it: impl Fn(&str) -> bool) -> Result<Option<String>> {
    Ok(row_fields(row)?.fields.iter().find(|(name, _)| is_it(name)).map(|(name, _)| name.to_string()))
}

fn row_fields(row: &str) -> Result<Object<'_>> {
    serde_json::from_str(row).map_err(|error| {
        // The position counts within `model`, which the client does not see.
        let text = plain(&error);
        let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
        Error::new(ErrorCode::Invalid, format!("`model`: {text}"))
    })
}

pub(super) fn bad(message: String) -> Error {
    Error::new(ErrorCode::BadRequest, message)
}

fn not_json(error: &serde_json::Error) -> Error {
    bad(format!("not a message: {}", plain(error)))
}

pub(super) fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    shortened(&text).replacen("invalid type: ", "it is a ", 1)
}
