//! What leaves for a connection, and when, while subscriptions wait to be judged again.

use serde_json::{Value as Json, json};

use super::*;
use crate::{
    hub::{Hub, Published, PublishedChange, Shape},
    model::{Key, Value, filter::Expr},
};

/// A connection and its hub.
struct Line {
    hub: Hub,
    outbox: Arc<Outbox>,
}

fn list(name: &str) -> Expr {
    Expr::Eq("list", Value::Text(name.into()))
}

fn either(names: &[&str]) -> Expr {
    Expr::or(names.iter().map(|name| list(name)).collect())
}

fn asked(id: &str) -> Asked {
    Asked { id: Some(RequestId::Text(id.into())), rows: Arc::default(), page_rows: 500 }
}

impl Line {
    fn new() -> Self {
        let outbox = Arc::new(Outbox::new(1 << 20, Uuid::nil(), 0));
        Self { hub: Hub::new(0, 1 << 20), outbox }
    }

    /// A subscription whose pages are yet to be read.
    fn loading(&self, id: &str, filter: &Expr) -> LoadKey {
        let begun = self.outbox.begin();
        let (source, places, head) = self.hub.join_rows("Task", 0, Shape::all(filter.clone()), &self.outbox);
        self.outbox.subscribe(begun, asked(id), source, (places, head))
    }

    fn page(&self, load: LoadKey, text: &str, seq: Seq) {
        self.outbox.answer_to(load, json!({ "method": text }).to_string().into(), seq);
    }

    /// A subscription that is live.
    fn live(&self, id: &str, filter: &Expr) -> SubscriptionKey {
        let load = self.loading(id, filter);
        self.outbox.loaded(load, self.hub.head());
        assert_eq!(self.said(), [format!("live {id} {}", self.hub.head())]);
        load.key
    }

    /// The row 1, in a list that it was in before and one that it is in now.
    fn publish(&self, old: &str, new: &str) -> Seq {
        let seq = self.hub.head() + 1;
        let body = |list: &str| (!list.is_empty()).then(|| json!({"list": list}).to_string().into());
        let (old, new): (Option<Bytes>, Option<Bytes>) = (body(old), body(new));
        let change = PublishedChange {
            model: "Task",
            id_name: "id",
            key: Key::Int(1),
            cid: None,
            old,
            wire: new.clone(),
            new,
        };
        self.hub.publish(&[Published { seq, changes: [change].into_iter().collect() }]);
        seq
    }

    fn confirm(&self, seq: Seq) {
        self.outbox.outcome(json!({"method": "confirm", "seq": seq}).to_string().into(), seq);
    }

    fn scope(&self, key: SubscriptionKey, filter: &Expr) -> Option<Restarted> {
        let shape = Shape::all(filter.clone());
        if self.outbox.same_scope(key, &shape) {
            return None;
        }
        let (source, places, head) = self.hub.join_rows("Task", 0, shape, &self.outbox);
        self.outbox.other_scope(key, &source, (places, head))
    }

    /// The frames that leave now.
    fn frames(&self) -> Vec<Vec<String>> {
        let frames = self.outbox.frames(&self.hub, self.hub.head(), true);
        let read = |frame: &Bytes| match serde_json::from_slice(frame).unwrap() {
            Json::Array(messages) => messages,
            message => vec![message],
        };
        frames.iter().map(|frame| read(frame).iter().map(shown).collect()).collect()
    }

    /// What leaves now but for `progress`.
    fn said(&self) -> Vec<String> {
        let said = self.frames().concat();
        said.into_iter().filter(|message| !message.starts_with("progress")).collect()
    }

    fn progress(&self) -> String {
        self.frames().concat().pop().unwrap()
    }
}

fn shown(message: &Json) -> String {
    let parts = ["method", "id", "reason", "seq"].map(|name| match &message[name] {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    });
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

#[test]
fn nothing_of_the_commit_or_later_leaves_until_read_has_answered() {
    let line = Line::new();
    let key = line.live("q", &list("a"));
    line.publish("", "a");
    // As a publish does it: before the head is there.
    line.outbox.rescope(Which::All, 2);
    line.publish("a", "a");
    line.publish("a", "a");
    assert_eq!(line.said(), ["create 1"]);
    assert_eq!(line.progress(), "progress 1");

    let work = line.outbox.rescope_work();
    assert_eq!((work.len(), work[0].key, work[0].model), (1, key, "Task"));
    assert!(line.outbox.rescope_work().is_empty(), "it is being asked");
    assert_eq!(line.said(), [""; 0]);
    assert!(line.scope(key, &list("a")).is_none());
    assert_eq!(line.said(), ["update 2", "update 3"], "nothing is lost, and nothing comes twice");
    assert_eq!(line.progress(), "progress 3");
    line.publish("a", "");
    assert_eq!(line.said(), ["delete 4"]);
}

#[test]
fn other_rows_come_anew() {
    let line = Line::new();
    let key = line.live("q", &list("a"));
    line.outbox.rescope(Which::All, 1);
    line.publish("", "a");
    line.outbox.rescope_work();
    let restarted = line.scope(key, &list("b")).unwrap();
    line.hub.leave(&restarted.left, &line.outbox);
    line.publish("", "b");
    assert_eq!(line.said(), ["reset q scope"], "what it saw under the old scope is not sent");
    line.page(restarted.load, "page", 2);
    line.outbox.loaded(restarted.load, 2);
    line.publish("b", "b");
    assert_eq!(line.said(), ["page", "changes q 3", "live q 3"]);
    line.publish("a", "a");
    line.publish("b", "");
    assert_eq!(line.said(), ["delete 5"]);
}

#[test]
fn what_is_read_under_an_old_scope_is_dropped() {
    let line = Line::new();
    let load = line.loading("q", &list("a"));
    line.page(load, "old page", 0);
    // Read by a select that does not know of the change yet.
    line.page(load, "newer page", 1);
    line.outbox.rescope(Which::All, 1);
    line.publish("", "a");
    line.outbox.loaded(load, 1);
    assert_eq!(line.said(), [""; 0], "all of it waits");
    line.outbox.rescope_work();
    let anew = line.scope(load.key, &list("b")).unwrap().load;
    line.page(load, "late page", 1);
    line.outbox.loaded(load, 1);
    assert_eq!(line.said(), ["reset q scope"]);
    line.page(anew, "page", 1);
    line.outbox.loaded(anew, 1);
    assert_eq!(line.said(), ["page", "live q 1"]);
}

#[test]
fn what_is_read_goes_on_under_the_same_scope() {
    let line = Line::new();
    let load = line.loading("q", &list("a"));
    line.page(load, "page", 0);
    line.outbox.rescope(Which::All, 1);
    line.publish("", "a");
    line.outbox.loaded(load, 0);
    assert_eq!(line.said(), [""; 0]);
    line.outbox.rescope_work();
    assert!(line.scope(load.key, &list("a")).is_none());
    assert_eq!(line.said(), ["page", "changes q 1", "live q 1"]);
}

/// A store is ahead of the hub: what is read of it is judged by a scope from before.
#[test]
fn a_page_waits_for_the_changes_that_it_has() {
    let line = Line::new();
    let load = line.loading("q", &list("a"));
    line.page(load, "page", 2);
    line.outbox.answer(r#"{"method":"other"}"#.into());
    assert_eq!(line.said(), ["other"]);
    line.publish("", "a");
    assert_eq!(line.said(), [""; 0]);
    line.publish("", "a");
    assert_eq!(line.said(), ["page"]);
}

/// Else a `remove` by one query could go before the row that another shows.
#[test]
fn all_that_is_live_waits_together() {
    let line = Line::new();
    let waits = line.live("waits", &list("a"));
    line.live("other", &either(&["a", "b"]));
    let joins = line.loading("joins", &list("b"));
    line.publish("", "b");
    assert_eq!(line.said(), ["create 1"]);
    line.outbox.rescope(Which::These(&[waits]), 2);
    line.publish("b", "c");
    line.publish("c", "a");
    line.outbox.loaded(joins, 1);
    assert_eq!(line.said(), ["changes joins 1", "live joins 1"]);
    assert_eq!(line.outbox.rescope_work().len(), 1);
    assert!(line.scope(waits, &list("a")).is_none());
    assert_eq!(line.said(), ["remove 2", "update 3"]);
}

#[test]
fn a_confirm_stays_with_its_changes() {
    let line = Line::new();
    let key = line.live("q", &list("a"));
    line.outbox.rescope(Which::All, 1);
    line.confirm(1);
    line.publish("", "a");
    assert_eq!(line.said(), [""; 0]);
    line.outbox.rescope_work();
    line.scope(key, &list("a"));
    assert_eq!(line.frames(), [["create 1", "confirm 1", "progress 1"]]);
}

#[test]
fn who_may_see_nothing_any_more_holds_nobody_up() {
    let line = Line::new();
    let key = line.live("q", &list("a"));
    line.live("other", &list("a"));
    let loading = line.loading("loading", &list("a"));
    line.page(loading, "page", 0);
    line.outbox.rescope(Which::These(&[key, loading.key]), 1);
    line.publish("", "a");
    assert_eq!(line.said(), [""; 0]);
    line.outbox.rescope_work();
    for key in [key, loading.key] {
        let query = line.outbox.remove(key).unwrap();
        line.hub.leave(&query, &line.outbox);
    }
    assert_eq!(line.said(), ["create 1"]);
    assert_eq!(line.outbox.holds().0, None);
}

/// What `read` saw when it was asked counts up to the next stop, and not beyond.
#[test]
fn an_answer_counts_up_to_the_next_stop() {
    let line = Line::new();
    let key = line.live("q", &list("a"));
    line.outbox.rescope(Which::All, 1);
    line.publish("", "a");
    assert_eq!(line.outbox.rescope_work().len(), 1);
    line.outbox.rescope(Which::All, 2);
    line.publish("a", "a");
    line.outbox.rescope(Which::All, 3);
    line.publish("a", "a");
    assert!(line.outbox.rescope_work().is_empty(), "one at a time");
    assert_eq!(line.outbox.holds(), (Some(1), 3));
    assert!(line.scope(key, &list("a")).is_none());
    assert_eq!(line.said(), ["create 1"]);
    assert_eq!(line.outbox.holds(), (Some(2), 3));
    assert_eq!(line.outbox.rescope_work().len(), 1);
    assert!(line.scope(key, &list("a")).is_none());
    assert_eq!(line.said(), ["update 2", "update 3"]);
    assert_eq!(line.outbox.holds(), (None, 3));
}

/// `read` was asked before the change, and the subscription is not there yet.
#[test]
fn a_subscription_that_begins_is_judged_again() {
    let line = Line::new();
    let begun = line.outbox.begin();
    let other = line.outbox.begin();
    line.outbox.rescope(Which::These(&[begun.key()]), 1);
    line.publish("", "a");
    for begun in [begun, other] {
        let id = if begun.key() == SubscriptionKey(0) { "held" } else { "free" };
        let (source, places, head) = line.hub.join_rows("Task", 0, Shape::all(list("a")), &line.outbox);
        let load = line.outbox.subscribe(begun, asked(id), source, (places, head));
        line.page(load, &format!("page of {id}"), 1);
        line.outbox.loaded(load, 1);
    }
    assert_eq!(line.said(), ["page of free", "live free 1"]);
    let work = line.outbox.rescope_work();
    assert_eq!(work.len(), 1);
    assert!(line.scope(work[0].key, &list("a")).is_none());
    assert_eq!(line.said(), ["page of held", "live held 1"]);
    drop(line.outbox.begin());
    assert!(line.outbox.state.lock().begun.is_empty());
}

/// A slow client's place lapses while it waits: the log has what it missed, and that waits too.
#[test]
fn catching_up_waits_as_well() {
    let line = Line::new();
    let key = line.live("q", &list("a"));
    line.publish("", "a");
    line.outbox.rescope(Which::All, 2);
    line.publish("a", "a");
    line.outbox.lapse();
    let work = line.outbox.log_work().unwrap();
    assert_eq!(work.after, 0);
    line.outbox.answer_to(work.load, r#"{"method":"changes"}"#.into(), 2);
    let (place, head) = line.hub.end_of(&work.source);
    line.outbox.caught_up(work.load, head, Some(place));
    assert_eq!(line.said(), ["behind q"]);
    line.outbox.rescope_work();
    // It began anew for another reason meanwhile: what `read` said before the stop counts no more.
    let (query, place, head) = line.hub.join_rows("Task", 0, Shape::all(list("b")), &line.outbox);
    line.outbox.rescope(Which::All, 3);
    assert!(line.outbox.restart(&work, &query, (place, head)).is_none());
    assert!(line.scope(key, &list("a")).is_none());
    line.outbox.rescope_work();
    assert!(line.scope(key, &list("a")).is_none());
    assert_eq!(line.said(), ["changes", "live q 2"]);
}

/// Otherwise it would take what the others are told for a sign of how far this one is, and would miss what lay before when the line is cut.
#[test]
fn who_is_live_no_more_is_told_before_the_others_hear_more() {
    let line = Line::new();
    let (slow, quick) = (list("a"), either(&["a", "b"]));
    let key = line.live("slow", &slow);
    line.live("quick", &quick);
    line.publish("", "a");
    line.outbox.state.lock().lapse(|subscription, _| subscription.key == key);
    line.publish("a", "b");
    let frames = line.frames();
    assert_eq!(frames.concat(), ["behind slow", "create 1", "update 2", "progress 0"]);

    // Once: until it is live again.
    line.publish("b", "a");
    line.outbox.state.lock().lapse(|subscription, _| subscription.key == key);
    assert_eq!(line.said(), ["update 3"]);
    let work = line.outbox.log_work().unwrap();
    let (place, head) = line.hub.end_of(&work.source);
    line.outbox.caught_up(work.load, head, Some(place));
    assert_eq!(line.said(), ["live slow 3"]);
    line.outbox.lapse();
    line.outbox.remove(key);
    assert_eq!(line.said(), ["behind quick"]);
}

/// It becomes live behind the head, and what stands beyond in its tail alone was heard of before.
#[test]
fn who_becomes_live_while_others_wait_misses_nothing() {
    let line = Line::new();
    let waits = line.live("waits", &list("a"));
    let joins = line.loading("joins", &list("d"));
    line.outbox.rescope(Which::These(&[waits]), 1);
    line.publish("", "d");
    assert_eq!(line.said(), [""; 0]);
    line.outbox.loaded(joins, 0);
    assert_eq!(line.said(), ["live joins 0"]);
    line.outbox.rescope_work();
    assert!(line.scope(waits, &list("a")).is_none());
    assert_eq!(line.said(), ["create 1"]);
}

/// What nobody has a subscription to any more is not kept in mind.
#[test]
fn queries_are_forgotten_with_their_subscriptions() {
    let line = Line::new();
    let key = line.live("q", &either(&["a", "b"]));
    let other = line.live("other", &list("a"));
    line.outbox.rescope(Which::These(&[key]), 1);
    line.outbox.rescope_work();
    let restarted = line.scope(key, &either(&["a", "c"])).unwrap();
    line.hub.leave(&restarted.left, &line.outbox);
    assert_eq!(line.outbox.state.lock().queries.len(), 2);
    for key in [key, other] {
        let source = line.outbox.remove(key).unwrap();
        line.hub.leave(&source, &line.outbox);
    }
    line.publish("", "a");
    assert_eq!(line.said(), [""; 0]);
    let state = line.outbox.state.lock();
    assert!(state.queries.is_empty() && state.marked.is_empty());
}
