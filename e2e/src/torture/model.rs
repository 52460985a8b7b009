//! What one group of keys must answer, as a model for the linearizability checker.
//!
//! The state knows the newest revision that an answer has named: a write must be above it, a read not below it. An operation
//! without an answer may take effect at any moment after its call, hence also never: it is then the last of all.

use super::history::{Answer, Call, Cell, KEYS};
use porcupine_rs::Model;

/// An operation as the checker sees it.
#[derive(Clone, Debug)]
pub struct Step {
    /// What was asked for.
    pub call: Call,
    /// What was answered; none: nobody knows.
    pub answer: Option<Answer>,
    /// Of a write without an answer: the revision at which somebody else has seen it.
    pub seen: Option<u64>,
}

/// A key in the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Place {
    /// It is not there.
    #[default]
    Empty,
    /// It is there.
    Known(Cell),
    /// It was written by an operation without an answer, whose revision nobody has seen.
    Unseen(u64),
}

/// A group of keys, and the newest revision named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    last: u64,
    places: [Place; KEYS],
}

/// The model of a group.
#[derive(Clone, Debug)]
pub struct Group;

impl Model for Group {
    type State = State;
    type Op = Step;
    type Metadata = String;

    fn init() -> State {
        State::default()
    }

    fn step(state: &State, step: &Step) -> (bool, State) {
        let mut next = state.clone();
        let allowed = match &step.answer {
            Some(answer) => next.answered(&step.call, answer),
            None => next.unanswered(&step.call, step.seen),
        };
        (allowed, next)
    }

    fn describe_operation(step: &Step) -> String {
        match &step.answer {
            Some(answer) => format!("{:?} -> {answer:?}", step.call),
            None => format!("{:?} -> nobody knows, seen at {:?}", step.call, step.seen),
        }
    }
}

impl State {
    /// Whether the answer is allowed now; and what it changes.
    fn answered(&mut self, call: &Call, answer: &Answer) -> bool {
        match (call, answer) {
            (Call::Put { key, value }, Answer::Written { revision }) => {
                self.write(*revision, &[(*key, *value)])
            }
            (Call::PutIf { key, value, expected }, Answer::Written { revision }) => {
                self.is_at(*key, *expected) && self.write(*revision, &[(*key, *value)])
            }
            (Call::PutIf { key, expected, .. }, Answer::Differs { current }) => {
                current != expected && self.shows_revision(*key, *current)
            }
            (Call::Delete { key }, Answer::Written { revision }) => {
                let there = self.places[*key] != Place::Empty;
                self.places[*key] = Place::Empty;
                there && self.write(*revision, &[])
            }
            (Call::Delete { key }, Answer::Missing) => self.places[*key] == Place::Empty,
            (Call::Get { key }, Answer::Found { revision, cell }) => {
                self.read(*revision) && self.shows(*key, cell)
            }
            (Call::List, Answer::Listed { revision, cells }) => {
                self.read(*revision) && cells.iter().enumerate().all(|(key, cell)| self.shows(key, cell))
            }
            (Call::Txn { values, expected }, Answer::Written { revision }) => {
                self.both_at(expected) && self.write(*revision, &[(0, values[0]), (1, values[1])])
            }
            (Call::Txn { expected, .. }, Answer::Otherwise { revision, cells }) => {
                let shown = cells.iter().enumerate().all(|(key, cell)| self.shows(key, cell));
                shown && self.read(*revision) && !self.both_at(expected)
            }
            _ => false,
        }
    }

    /// Its effect, if it has one now. Nothing is forbidden to it, but what was seen of it.
    fn unanswered(&mut self, call: &Call, seen: Option<u64>) -> bool {
        if let Some(revision) = seen {
            return self.answered(call, &Answer::Written { revision });
        }
        match call {
            Call::Put { key, value } => self.places[*key] = Place::Unseen(*value),
            Call::PutIf { key, value, expected } if self.is_at(*key, *expected) => {
                self.places[*key] = Place::Unseen(*value);
            }
            Call::Delete { key } => self.places[*key] = Place::Empty,
            Call::Txn { values, expected } if self.both_at(expected) => {
                self.places[0] = Place::Unseen(values[0]);
                self.places[1] = Place::Unseen(values[1]);
            }
            _ => {}
        }
        true
    }

    fn write(&mut self, revision: u64, puts: &[(usize, u64)]) -> bool {
        let later = revision > self.last;
        self.last = revision;
        for (key, value) in puts {
            self.places[*key] = Place::Known(Cell { value: *value, revision });
        }
        later
    }

    fn read(&mut self, revision: u64) -> bool {
        let not_back = revision >= self.last;
        self.last = revision;
        not_back
    }

    fn is_at(&self, key: usize, expected: u64) -> bool {
        match self.places[key] {
            Place::Empty => expected == 0,
            Place::Known(cell) => cell.revision == expected,
            // Nobody has seen its revision: nobody can have expected it.
            Place::Unseen(_) => false,
        }
    }

    fn both_at(&self, expected: &[u64; 2]) -> bool {
        expected.iter().enumerate().all(|(key, expected)| self.is_at(key, *expected))
    }

    fn shows(&mut self, key: usize, cell: &Option<Cell>) -> bool {
        match (self.places[key], cell) {
            (Place::Empty, None) => true,
            (Place::Known(ours), Some(seen)) => ours == *seen,
            (Place::Unseen(value), Some(seen)) => {
                self.places[key] = Place::Known(*seen);
                value == seen.value
            }
            _ => false,
        }
    }

    fn shows_revision(&mut self, key: usize, current: u64) -> bool {
        match self.places[key] {
            Place::Unseen(value) => {
                self.places[key] = Place::Known(Cell { value, revision: current });
                current != 0
            }
            _ => self.is_at(key, current),
        }
    }
}
