#![allow(dead_code)]

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sync_core::SyncedModel;

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct User {
    id: u64,
    name: String,
    #[sync(server_only)]
    password: String,
}

#[derive(Clone, Serialize, Deserialize, SyncedModel)]
struct Post {
    id: u64,
    author: User,
    likes: HashMap<String, Vec<(u64, User)>>,
    reply_to: Option<Box<Self>>,
    #[sync(server_only)]
    reviewers: Vec<User>,
}

fn main() {}
