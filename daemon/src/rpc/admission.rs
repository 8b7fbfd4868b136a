//! How many peers may be between their connect and their label, and who has to go when there are too many.
//!
//! Peers come in, and for each a number flows out, and the number of the one that has to make room. As long as there is room
//! nobody has to. Then it is always one of the origin that has the most, the newcomer included, and of those the oldest: an origin
//! that floods us displaces itself, while a client that connects and speaks, as clients do, finds room.

use std::collections::{BTreeSet, HashMap};

/// Peers that have not said yet what they want.
#[derive(Debug)]
pub struct Admission {
    room: usize,
    next: u64,
    origins: HashMap<u64, String>,
    /// Numbers of each origin, oldest first.
    waiting: HashMap<String, BTreeSet<u64>>,
}

/// A newcomer's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Its number, for [`Admission::leave`].
    pub number: u64,
    /// Who has to leave for it. It has been taken out already.
    pub displaced: Option<u64>,
}

impl Admission {
    /// With room for so many, at least one.
    pub fn new(room: usize) -> Self {
        Self {
            room: room.max(1),
            next: 0,
            origins: HashMap::new(),
            waiting: HashMap::new(),
        }
    }

    /// A peer comes.
    pub fn enter(&mut self, origin: &str) -> Admitted {
        let displaced = (self.origins.len() >= self.room)
            .then(|| self.oldest_of_the_most(origin))
            .flatten();
        if let Some(number) = displaced {
            self.leave(number);
        }
        let number = self.next;
        self.next += 1;
        self.origins.insert(number, origin.to_owned());
        self.waiting
            .entry(origin.to_owned())
            .or_default()
            .insert(number);
        Admitted { number, displaced }
    }

    /// A peer is through, or gone. One that has left is ignored.
    pub fn leave(&mut self, number: u64) {
        let Some(origin) = self.origins.remove(&number) else {
            return;
        };
        if let Some(numbers) = self.waiting.get_mut(&origin) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.waiting.remove(&origin);
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.origins.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    fn oldest_of_the_most(&self, newcomer: &str) -> Option<u64> {
        let crowd = |origin: &String, numbers: &BTreeSet<u64>| {
            numbers.len() + usize::from(origin == newcomer)
        };
        let (_, numbers) = self.waiting.iter().max_by(|(left, old), (right, new)| {
            let by_count = crowd(left, old).cmp(&crowd(right, new));
            // Where two have as many, the one whose oldest is older.
            by_count.then_with(|| new.first().cmp(&old.first()))
        })?;
        numbers.first().copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn enter_all(admission: &mut Admission, origins: &[&str]) -> Vec<Option<u64>> {
        origins
            .iter()
            .map(|origin| admission.enter(origin).displaced)
            .collect()
    }

    #[test]
    fn nobody_has_to_go_while_there_is_room() {
        let mut admission = Admission::new(3);
        assert_eq!(enter_all(&mut admission, &["a", "a", "b"]), [None; 3]);
        admission.leave(1);
        admission.leave(1);
        assert_eq!(admission.enter("a").displaced, None);
        assert_eq!(admission.len(), 3);
    }

    #[test]
    fn an_origin_that_floods_displaces_itself() {
        let mut admission = Admission::new(4);
        enter_all(&mut admission, &["quiet", "flood", "flood", "flood"]);
        let displaced = enter_all(&mut admission, &["flood", "flood", "other", "flood"]);
        assert_eq!(displaced, [Some(1), Some(2), Some(3), Some(4)]);
        admission.leave(0);
        assert_eq!(
            admission.len(),
            3,
            "the quiet one had been there all the time"
        );
    }

    #[test]
    fn among_equals_the_oldest_goes() {
        let mut admission = Admission::new(2);
        assert_eq!(
            enter_all(&mut admission, &["a", "b", "c", "d"]),
            [None, None, Some(0), Some(1)]
        );
    }

    proptest! {
        /// Whatever comes, an origin with one peer keeps it as long as another has more.
        #[test]
        fn the_modest_are_not_displaced(flood in 1_usize..200, room in 2_usize..20) {
            let mut admission = Admission::new(room);
            let modest = admission.enter("modest").number;
            for _ in 0..flood {
                prop_assert_ne!(admission.enter("flood").displaced, Some(modest));
                prop_assert!(admission.len() <= room);
            }
        }
    }
}
