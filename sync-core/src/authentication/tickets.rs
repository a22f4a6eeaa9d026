//! Tickets: random text for the URL that stands for a session, once and for a short time.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::{Error, Result, authority::Authority};

/// How long a ticket holds.
const VALID: Duration = Duration::from_secs(30);

/// The most that one subject has at a time; the oldest goes. Enough for a browser that restores all its tabs.
const OF_SUBJECT: usize = 64;

/// Text for the URL of a socket, `/sync?ticket=…`, that stands for a session once: made by [`Running::ticket`](crate::Running::ticket).
///
/// Its `Display` is the text, which belongs to nobody but the client; `Debug` does not show it.
#[derive(Clone)]
pub struct Ticket(Box<str>);

impl Ticket {
    /// The text: 32 hexadecimal digits, of which 122 bits are random.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(…)")
    }
}

impl Serialize for Ticket {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// The tickets that are not used yet.
pub(super) struct Tickets {
    limit: usize,
    /// In the order in which they were issued, which is that in which they end.
    issued: BTreeMap<u64, Issued>,
    /// By the ticket. They are looked up by a keyed hash, so that how long it takes says nothing of those that there are.
    numbers: HashMap<Uuid, u64>,
    next: u64,
}

struct Issued {
    ticket: Uuid,
    until: Instant,
    authority: Arc<Authority>,
}

impl Tickets {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, issued: BTreeMap::new(), numbers: HashMap::new(), next: 0 }
    }

    pub(super) fn issue(&mut self, authority: Arc<Authority>, now: Instant) -> Result<Ticket> {
        self.drop_old(now);
        if let Some(subject) = authority.subject() {
            let of_subject = |issued: &Issued| issued.authority.subject() == Some(subject);
            let mut theirs = self.issued.iter().filter(|(_, issued)| of_subject(issued));
            let oldest = theirs.next().map(|(number, _)| *number);
            if theirs.count() + 1 >= OF_SUBJECT
                && let Some(oldest) = oldest
            {
                self.remove(oldest);
            }
        }
        if self.issued.len() >= self.limit {
            let limit = self.limit;
            return Err(Error::limit("tickets", format!("{limit} tickets are not used yet; try again soon")));
        }
        let (ticket, number) = (Uuid::new_v4(), self.next);
        self.next += 1;
        self.issued.insert(number, Issued { ticket, until: now + VALID, authority });
        self.numbers.insert(ticket, number);
        Ok(Ticket(ticket.simple().to_string().into()))
    }

    /// What the ticket stands for, once.
    pub(super) fn redeem(&mut self, text: &str, now: Instant) -> Option<Arc<Authority>> {
        self.drop_old(now);
        let number = *self.numbers.get(&Uuid::try_parse(text).ok()?)?;
        self.remove(number).map(|issued| issued.authority)
    }

    pub(super) fn revoke(&mut self, subject: &str) {
        let of_subject = |issued: &Issued| issued.authority.subject().is_some_and(|of| **of == *subject);
        let theirs = self.issued.iter().filter(|(_, issued)| of_subject(issued));
        let theirs: Vec<_> = theirs.map(|(number, _)| *number).collect();
        for number in theirs {
            self.remove(number);
        }
    }

    fn drop_old(&mut self, now: Instant) {
        while let Some(first) = self.issued.first_entry().filter(|first| first.get().until <= now) {
            self.numbers.remove(&first.remove().ticket);
        }
    }

    fn remove(&mut self, number: u64) -> Option<Issued> {
        let issued = self.issued.remove(&number)?;
        self.numbers.remove(&issued.ticket);
        Some(issued)
    }
}

/// Only how many.
impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("count", &self.issued.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Session;

    fn of(subject: &str) -> Arc<Authority> {
        Arc::new(Session::new(()).subject(subject).into_authority())
    }

    #[test]
    fn counts_once_and_for_half_a_minute() {
        let (mut tickets, start) = (Tickets::new(10), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        let first = tickets.issue(of("ada"), start).unwrap();
        let second = tickets.issue(of("bob"), after(5)).unwrap();
        assert_eq!(first.as_str().len(), 32);
        assert_ne!(first.as_str(), second.as_str());
        assert_eq!(&**tickets.redeem(first.as_str(), after(29)).unwrap().subject().unwrap(), "ada");
        assert!(tickets.redeem(first.as_str(), after(29)).is_none(), "once");
        assert!(tickets.redeem(second.as_str(), after(35)).is_none(), "too late");
        for text in ["", "x", "00000000000000000000000000000000", "é"] {
            assert!(tickets.redeem(text, after(1)).is_none(), "{text}");
        }
        assert!(tickets.issued.is_empty() && tickets.numbers.is_empty());
    }

    #[test]
    fn are_limited_and_come_back() {
        let (mut tickets, start) = (Tickets::new(3), Instant::now());
        let issued = ["a", "b", "c"].map(|subject| tickets.issue(of(subject), start).unwrap());
        let error = tickets.issue(of("d"), start).unwrap_err();
        assert_eq!(error.limit_name(), Some("tickets"));
        tickets.redeem(issued[1].as_str(), start).unwrap();
        tickets.issue(of("d"), start).unwrap();
        assert!(tickets.issue(of("e"), start).is_err());
        tickets.issue(of("e"), start + VALID).unwrap();
        assert_eq!((tickets.issued.len(), tickets.numbers.len()), (1, 1));
    }

    #[test]
    fn one_subject_takes_no_others_place() {
        let (mut tickets, now) = (Tickets::new(OF_SUBJECT + 1), Instant::now());
        let many: Vec<_> = (0..=OF_SUBJECT).map(|_| tickets.issue(of("ada"), now).unwrap()).collect();
        assert_eq!(tickets.issued.len(), OF_SUBJECT);
        tickets.issue(of("bob"), now).unwrap();
        assert!(tickets.redeem(many[0].as_str(), now).is_none(), "the oldest went");
        assert!(tickets.redeem(many[1].as_str(), now).is_some());
    }

    #[test]
    fn are_revoked_with_their_subject() {
        let (mut tickets, now) = (Tickets::new(10), Instant::now());
        let (ada, bob) = (tickets.issue(of("ada"), now).unwrap(), tickets.issue(of("bob"), now).unwrap());
        tickets.revoke("ada");
        assert!(tickets.redeem(ada.as_str(), now).is_none());
        assert!(tickets.redeem(bob.as_str(), now).is_some());
        assert_eq!(format!("{ada:?} {tickets:?}"), "Ticket(…) Tickets { count: 0, .. }");
    }
}
