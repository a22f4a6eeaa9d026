//! Gates: places at which a handler stops until a test lets it go on.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use tokio::{sync::Semaphore, time::timeout};

/// Stops whoever comes to it.
#[derive(Debug)]
pub struct Gate {
    begun: Semaphore,
    go: Semaphore,
}

fn gates() -> &'static Mutex<HashMap<String, Arc<Gate>>> {
    static GATES: OnceLock<Mutex<HashMap<String, Arc<Gate>>>> = OnceLock::new();
    GATES.get_or_init(Mutex::default)
}

/// Puts a gate up. Its name is the test's own.
pub fn gate(name: &str) -> Arc<Gate> {
    let gate = Arc::new(Gate { begun: Semaphore::new(0), go: Semaphore::new(0) });
    gates().lock().unwrap().insert(name.to_owned(), gate.clone());
    gate
}

/// Stops at the gate of that name, if there is one.
pub async fn pass(name: &str) {
    let gate = gates().lock().unwrap().get(name).cloned();
    if let Some(gate) = gate {
        gate.begun.add_permits(1);
        gate.go.acquire().await.unwrap().forget();
    }
}

impl Gate {
    /// Waits until somebody stands before it.
    pub async fn begun(&self) {
        let begun = timeout(Duration::from_secs(10), self.begun.acquire());
        begun.await.expect("the handler does not begin").unwrap().forget();
    }

    /// Lets one go on.
    pub fn open(&self) {
        self.go.add_permits(1);
    }
}
