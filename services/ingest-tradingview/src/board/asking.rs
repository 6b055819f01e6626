use std::time::Duration;

use tickcast_model::Symbol;
use tickcast_session::{Note, Now, SessionOutput};

use super::{ANSWER_WITHIN, Board, SESSIONS_PER_CONNECTION};
use crate::entry::{Entry, Room, Step};
use crate::message::{FIELDS, encode};

/// Keys in one message (facts 5.4).
const KEYS_PER_MESSAGE: usize = 50;
/// A session that broke says so within this.
const REST: Duration = Duration::from_secs(1);
/// Sessions beside those the symbols need: for keys on trial and for symbols that an older session lost.
const SPARE_SESSIONS: usize = 8;

/// The next message may not go yet.
struct Blocked;

/// What is asked of the venue, and when.
impl Board {
    /// Asks for the difference between what is wanted and what is held, as fast as allowed.
    pub(super) fn reconcile(&mut self, now: Now) {
        self.work_at = None;
        if self.is_open {
            // The first thing that may not go yet ends the round, so that a key is never added where it was not let go.
            let _ =
                self.let_go(now).and_then(|()| self.try_suspects(now)).and_then(|()| self.add_needed(now));
        }
    }

    fn let_go(&mut self, now: Now) -> Result<(), Blocked> {
        let numbers: Vec<u64> = self.rooms.keys().copied().collect();
        for number in numbers {
            let is_resting = self.rooms.get(&number).is_some_and(|room| room.rests_until > now.elapsed);
            if is_resting {
                self.wait_for(number);
                continue;
            }
            // What was asked for in it may have been let go since.
            self.rooms.get_mut(&number).map(Room::answered);
            while let Some(room) = self.rooms.get(&number).filter(|room| !room.leaving.is_empty()) {
                let batch: Vec<Symbol> = room.leaving.iter().take(KEYS_PER_MESSAGE).cloned().collect();
                let message = encode("quote_remove_symbols", with_id(&room.id, &batch));
                self.send(now, "remove_symbols", [message])?;
                if let Some(room) = self.rooms.get_mut(&number) {
                    for symbol in &batch {
                        room.leaving.remove(symbol);
                        room.keys.remove(symbol);
                    }
                }
            }
            // One is kept for what comes next.
            if let Some(room) = self.rooms.get(&number).filter(|room| room.is_used && room.keys.is_empty())
                && self.rooms.len() > 1
                && !room.on_trial
            {
                let message = encode("quote_delete_session", [room.id.as_str()]);
                self.send(now, "delete_session", [message])?;
                self.rooms.remove(&number);
            }
        }
        Ok(())
    }

    /// Asks for keys that may have broken a session: one batch at a time, in a session of its own.
    fn try_suspects(&mut self, now: Now) -> Result<(), Blocked> {
        let needed =
            || self.entries.iter().filter(|(_, entry)| entry.step == Step::Needed && entry.is_suspect());
        let Some(lot) = needed().map(|(_, entry)| entry.lot).next() else { return Ok(()) };
        let alike = needed().filter(|(_, entry)| entry.lot == lot).take(lot.min(KEYS_PER_MESSAGE));
        let batch: Vec<Symbol> = alike.map(|(symbol, _)| symbol.clone()).collect();
        let on_trial = self.rooms.iter().find(|(_, room)| room.on_trial);
        let number = match on_trial {
            Some((_, room)) if !room.keys.is_empty() => return Ok(()),
            Some((number, _)) => *number,
            // The others need not wait with them.
            None if self.healing.opens_at(true) > now.elapsed => {
                let Blocked = self.wait_until(self.healing.opens_at(true));
                return Ok(());
            }
            None => self.open_session(now, true)?,
        };
        self.add(now, number, batch)
    }

    fn add_needed(&mut self, now: Now) -> Result<(), Blocked> {
        let is_needed = |entry: &Entry| entry.step == Step::Needed && !entry.is_suspect();
        while let Some(after) = self.entries.values().find(|entry| is_needed(entry)).map(|entry| entry.after)
        {
            let most = self.limits.symbols_per_session;
            let needed_sessions = self.limits.symbols_max.div_ceil(most);
            let is_full = self.rooms.len() >= needed_sessions + SPARE_SESSIONS;
            let after = if is_full { 0 } else { after };
            let with_space = || {
                let rooms = self.rooms.iter().filter(|(_, room)| !room.on_trial && room.keys.len() < most);
                rooms.filter(move |(number, _)| **number > after)
            };
            let is_awake = |room: &Room| room.rests_until <= now.elapsed;
            let number = match with_space().find(|(_, room)| is_awake(room)).map(|(number, _)| *number) {
                Some(number) => number,
                None => {
                    // What will fit where keys are being answered waits for that.
                    let space: usize = with_space().map(|(_, room)| most - room.keys.len()).sum();
                    let soonest =
                        with_space().min_by_key(|(_, room)| room.rests_until).map(|(number, _)| *number);
                    if let Some(number) = soonest
                        && (is_full
                            || self.entries.values().filter(|entry| is_needed(entry)).count() <= space)
                    {
                        self.wait_for(number);
                        return Err(Blocked);
                    }
                    self.open_session(now, false)?
                }
            };
            let held = self.rooms.get(&number).map_or(0, |room| room.keys.len());
            let space = most.saturating_sub(held).clamp(1, KEYS_PER_MESSAGE);
            let fits = |entry: &Entry| is_needed(entry) && (entry.after < number || is_full);
            let fitting = self.entries.iter().filter(|(_, entry)| fits(entry)).take(space);
            let batch = fitting.map(|(symbol, _)| symbol.clone()).collect();
            self.add(now, number, batch)?;
        }
        Ok(())
    }

    fn open_session(&mut self, now: Now, on_trial: bool) -> Result<u64, Blocked> {
        if self.opened >= SESSIONS_PER_CONNECTION {
            return Err(Blocked);
        }
        let opens_at = self.healing.opens_at(on_trial);
        if opens_at > now.elapsed {
            return Err(self.wait_until(opens_at));
        }
        let id: String = std::iter::repeat_with(|| self.rng.alphanumeric()).take(12).collect();
        let id = format!("qs_{id}");
        let create = encode("quote_create_session", [id.as_str()]);
        let fields = encode("quote_set_fields", std::iter::once(id.as_str()).chain(FIELDS));
        self.send(now, "create_session", [create, fields])?;
        self.opened += 1;
        self.rooms.insert(self.opened, Room::new(id, on_trial));
        Ok(self.opened)
    }

    fn add(&mut self, now: Now, number: u64, batch: Vec<Symbol>) -> Result<(), Blocked> {
        let Some(id) = self.rooms.get(&number).map(|room| &room.id) else { return Err(Blocked) };
        let message = encode("quote_add_symbols", with_id(id, &batch));
        self.send(now, "add_symbols", [message])?;
        if let Some(room) = self.rooms.get_mut(&number) {
            room.rests_until = now.elapsed + REST;
            room.is_used = true;
        }
        for symbol in batch {
            if let (Some(entry), Some(room)) = (self.entries.get_mut(&symbol), self.rooms.get_mut(&number)) {
                entry.go(now.elapsed, Step::Asked);
                entry.room = Some(number);
                room.keys.insert(symbol.clone());
                room.asked.insert(symbol.clone());
                self.agenda.insert((now.elapsed + ANSWER_WITHIN, symbol));
            }
        }
        Ok(())
    }

    /// Sends messages that belong together, if they may go now.
    fn send<const N: usize>(
        &mut self,
        now: Now,
        request: &'static str,
        messages: [String; N],
    ) -> Result<(), Blocked> {
        match self.pace.take(now.elapsed, N) {
            Ok(()) => {
                self.outputs.push_back(SessionOutput::Note(Note::Request(request)));
                self.commands.extend(messages);
                Ok(())
            }
            Err(at) => {
                let wait = at.saturating_sub(now.elapsed);
                self.outputs.push_back(SessionOutput::Note(Note::Paced(request, wait)));
                Err(self.wait_until(at))
            }
        }
    }

    /// This session will take more once it is answered, which is noticed, or once it has rested.
    fn wait_for(&mut self, number: u64) {
        if let Some(at) = self.rooms.get(&number).map(|room| room.rests_until) {
            let Blocked = self.wait_until(at);
        }
    }

    fn wait_until(&mut self, at: Duration) -> Blocked {
        self.work_at = Some(self.work_at.map_or(at, |before| before.min(at)));
        Blocked
    }
}

fn with_id<'a>(id: &'a str, batch: &'a [Symbol]) -> impl Iterator<Item = &'a str> {
    std::iter::once(id).chain(batch.iter().map(Symbol::as_str))
}
