//! Whole numbers beyond 2^53, which a JavaScript client would change: refused as numbers, exact as strings. And what the server must not
//! change itself.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sync_core::{Context, Filter, Limits, Result, SyncedModel, sync_handlers};
use sync_tests::TestServer;

/// The first whole number that is not told from another.
const BEYOND: u64 = 1 << 53;

/// Whole numbers of every kind.
#[derive(Clone, Debug, Serialize, Deserialize, SyncedModel)]
pub struct Account {
    /// Assigned by the server.
    pub id: u64,
    /// A number, which the server doubles.
    #[serde(default)]
    pub number: i64,
    /// Travels as a string.
    #[serde(default, with = "sync_core::integer_string")]
    #[sync(index)]
    pub exact: u64,
    /// Travels as a string, if at all.
    #[serde(default, with = "sync_core::integer_string", rename = "perhaps")]
    pub maybe: Option<i128>,
    /// Anything that JSON can say.
    #[serde(default)]
    pub more: Value,
    /// Does not travel.
    #[sync(server_only)]
    pub hidden: u64,
}

#[sync_handlers(crud)]
impl Account {
    async fn create(_ctx: &Context, draft: Account) -> Result<Account> {
        Ok(Account { number: draft.number * 2, hidden: u64::MAX, ..draft })
    }

    async fn update(_ctx: &Context, _current: &Account, next: Account) -> Result<Account> {
        Ok(Account { number: next.number * 2, ..next })
    }

    async fn read(_ctx: &Context) -> Result<Filter<Account>> {
        Ok(Account::EXACT.one_of([0, u64::MAX, BEYOND + 1]))
    }
}

fn assert_refused(answer: &Value, fields: &[&str]) {
    assert_eq!((&answer["code"], &answer["retry"]), (&json!("invalid"), &json!(false)), "{answer}");
    let named: Vec<_> = answer["fields"].as_object().unwrap().keys().collect();
    assert_eq!(named, fields);
    let message = answer["fields"][fields[0]].as_str().unwrap();
    assert!(message.contains("beyond 2^53") && message.contains("as a string"), "{message}");
}

#[tokio::test]
async fn a_client_cannot_send_what_it_could_not_read() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    let created = client
        .ask(&json!({"method":"create","id":1,"modelname":"Account","model":{"more":[BEYOND - 1, -9_007_199_254_740_991_i64]}}))
        .await;
    assert_eq!(created["model"]["more"], json!([BEYOND - 1, -9_007_199_254_740_991_i64]));
    for (fields, model) in [
        (["number"], json!({"number":BEYOND})),
        (["number"], json!({"number":-9_007_199_254_740_992_i64})),
        (["more"], json!({"more":{"deep":[{"er":u64::MAX}]}})),
        (["exact"], json!({"exact":BEYOND})),
    ] {
        for method in ["create", "update", "patch"] {
            let mut model = model.clone();
            if method != "create" {
                model["id"] = json!(1);
            }
            let answer =
                client.ask(&json!({"method":method,"id":2,"modelname":"Account","model":model})).await;
            assert_refused(&answer, &fields);
        }
    }
    // A number that is not whole, or is text, is no such number.
    for fine in [json!(9_007_199_254_740_993.5), json!(1e300), json!("9007199254740993")] {
        let patch = json!({"method":"patch","id":3,"modelname":"Account","model":{"id":1,"more":fine}});
        assert_eq!(client.ask(&patch).await["model"]["more"], fine);
    }
    server.stop().await;
}

#[tokio::test]
async fn ids_are_whole_numbers_too() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    for method in ["update", "patch", "delete", "read"] {
        let request = json!({"method":method,"id":1,"modelname":"Account","model":{"id":BEYOND}});
        assert_refused(&client.ask(&request).await, &["id"]);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_handler_cannot_return_it() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    let half = BEYOND / 2;
    let answer =
        client.ask(&json!({"method":"create","id":1,"modelname":"Account","model":{"number":half}})).await;
    assert_refused(&answer, &["number"]);
    let created = client.ask(&json!({"method":"create","id":2,"modelname":"Account","model":{}})).await;
    for method in ["update", "patch"] {
        let model = json!({"id":created["model"]["id"],"number":half});
        let answer = client.ask(&json!({"method":method,"id":3,"modelname":"Account","model":model})).await;
        assert_refused(&answer, &["number"]);
    }
    let rows = client.ask(&json!({"method":"read","id":4,"modelname":"Account"})).await;
    assert_eq!(rows["models"].as_array().unwrap().len(), 1, "nothing of it was stored: {rows}");
    assert_eq!(rows["models"][0]["number"], 0);
    server.stop().await;
}

#[tokio::test]
async fn as_a_string_it_comes_back_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("integers.db").display());
    let server = TestServer::start(&store, Limits::default()).await;
    let mut client = server.client().await;
    let row =
        json!({"id":1,"number":0,"exact":"18446744073709551615","perhaps":i128::MIN.to_string(),"more":null});
    let model = json!({"exact":row["exact"],"perhaps":row["perhaps"]});
    let created = client.ask(&json!({"method":"create","id":1,"modelname":"Account","model":model})).await;
    assert_eq!(created["model"], row);
    let patch =
        json!({"method":"patch","id":2,"modelname":"Account","model":{"id":1,"exact":"9007199254740993"}});
    let patched = client.ask(&patch).await;
    assert_eq!(patched["model"]["exact"], "9007199254740993");
    assert_eq!(patched["model"]["perhaps"], row["perhaps"], "what a patch leaves out stays exact");
    // Out of the view that `read` gives: the filter compares what is stored.
    let away = client
        .ask(&json!({"method":"patch","id":3,"modelname":"Account","model":{"id":1,"exact":"9007199254740992"}}))
        .await;
    assert_eq!((&away["method"], away.get("model")), (&json!("confirm"), None));
    server.stop().await;
    let server = TestServer::start(&store, Limits::default()).await;
    let mut client = server.client().await;
    client.ask(&json!({"method":"create","id":4,"modelname":"Account","model":model})).await;
    let rows = client.ask(&json!({"method":"read","id":5,"modelname":"Account"})).await;
    assert_eq!(rows["models"][0]["exact"], "18446744073709551615");
    server.stop().await;
}

/// A patch of one field leaves the others as they are, and a float is a number like others in JavaScript.
#[tokio::test]
async fn floats_stay_what_they_are() {
    let server = TestServer::memory().await;
    let mut client = server.client().await;
    let floats =
        "[9007199254740991.0,0.1234567890123456,2.2250738585072014e-308,-123456.78901234567,6.02214076e23]";
    let create = format!(r#"{{"method":"create","id":1,"modelname":"Account","model":{{"more":{floats}}}}}"#);
    client.send_text(&create).await;
    let mut texts = vec![client.answer(&json!(1)).await["model"]["more"].to_string()];
    for id in 2..5 {
        let patch = json!({"method":"patch","id":id,"modelname":"Account","model":{"id":1,"perhaps":id}});
        texts.push(client.ask(&patch).await["model"]["more"].to_string());
    }
    texts.dedup();
    assert_eq!(texts, [floats.replace("e23", "e+23")]);
    server.stop().await;
}
