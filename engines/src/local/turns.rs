//! Whose turn it is: clients that wait for slots get them one after the other, however many requests each has waiting.
//!
//! Start-time fair queueing (Goyal, Vin, Cheng 1996) with requests of equal weight: each of a client's requests has a turn, one more than its
//! client's last, and not before the turn that is being served; the least turn goes first. A client on its own is served as it comes.

use std::collections::HashMap;
use std::sync::Arc;

/// The turns of all clients; those without a name are one.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The turn that was served last.
    served: u64,
    /// Each client's next one, where that isn't behind.
    next: HashMap<Option<Arc<str>>, u64>,
}

impl Turns {
    /// The turn of a client's request for so many answers.
    pub fn next(&mut self, client: Option<Arc<str>>, answers: usize) -> u64 {
        let Self { served, next } = self;
        // Who has nothing waiting any more begins anew.
        next.retain(|_, turn| *turn > *served);
        let turn = next.get(&client).copied().unwrap_or(*served);
        next.insert(client, turn + answers as u64);
        turn
    }

    /// So many of a client's answers will not be had, and none of its others waits: it owes no turns for them.
    pub fn give_back(&mut self, client: Option<&Arc<str>>, answers: usize) {
        if let Some(turn) = self.next.get_mut(&client.cloned()) {
            *turn = turn.saturating_sub(answers as u64);
        }
    }

    /// A request of that turn has been given a slot.
    pub fn begun(&mut self, turn: u64) {
        self.served = self.served.max(turn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_with_few_requests_does_not_wait_behind_one_with_many() {
        let mut turns = Turns::default();
        let (ada, bob) = (Some(Arc::from("ada")), Some(Arc::from("bob")));
        let many: Vec<u64> = (0..10).map(|_| turns.next(ada.clone(), 1)).collect();
        assert_eq!(many, (0..10).collect::<Vec<u64>>());
        turns.begun(many[0]);
        turns.begun(many[1]);
        assert_eq!(turns.next(bob.clone(), 1), 1, "at once, and not behind the other eight");
        assert_eq!(turns.next(bob.clone(), 1), 2, "then in turn");
        turns.begun(9);
        assert_eq!((turns.next(bob, 1), turns.next(ada, 3)), (9, 10), "nobody saves up turns");
    }

    #[test]
    fn turns_that_nobody_wanted_any_more_are_not_owed() {
        let mut turns = Turns::default();
        let ada = Some(Arc::from("ada"));
        assert_eq!([turns.next(ada.clone(), 3), turns.next(ada.clone(), 1)], [0, 3]);
        turns.give_back(ada.as_ref(), 4);
        assert_eq!(turns.next(ada.clone(), 8), 0);
        turns.begun(0);
        assert_eq!(turns.next(ada.clone(), 1), 8);
        turns.give_back(ada.as_ref(), 1);
        assert_eq!(turns.next(ada, 1), 8, "those that it has had are");
    }

    #[test]
    fn a_request_for_several_answers_takes_several_turns() {
        let mut turns = Turns::default();
        assert_eq!([turns.next(None, 3), turns.next(None, 1)], [0, 3]);
    }
}
