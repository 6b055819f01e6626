use tickcast_model::{AuthState, Hop, LinkState, StateChange, Symbol, SymbolState};

use super::symbols::utc;
use super::{Phase, Supervisor, millis};
use crate::{Now, Session};

impl<S: Session> Supervisor<S> {
    /// The way of one symbol from the venue to here, step by step: `link`, `login`, `demand`, `subscription`, `schedule`, `ticks`.
    ///
    /// The first hop that is not right says why the symbol is quiet and what happens next.
    pub fn explain(&self, now: Now, symbol: &Symbol) -> Vec<Hop> {
        vec![
            self.link_hop(now),
            self.login_hop(),
            self.demand_hop(symbol),
            self.subscription_hop(now, symbol),
            self.schedule_hop(symbol),
            self.ticks_hop(now, symbol),
        ]
    }

    fn link_hop(&self, now: Now) -> Hop {
        let since_ms = Some(self.axes.link_since_ms);
        // The link is there to be had, what is wrong is said by the next hop.
        if self.axes.auth == AuthState::Refused && self.axes.link != LinkState::Up {
            let detail = "let go, as the login was refused".to_owned();
            return hop("link", true, since_ms, detail, self.next_attempt(now));
        }
        let cause = self.link_cause.as_ref().map(ToString::to_string).unwrap_or_default();
        let (detail, next) = match (self.axes.link, &self.phase) {
            (LinkState::Up, _) => ("connected".to_owned(), String::new()),
            (LinkState::Connecting, Phase::Dialling { give_up_at }) => {
                let left = millis(give_up_at.saturating_sub(now.elapsed));
                (
                    format!("connecting; before that: {cause}"),
                    format!("given up in {left} ms if nobody answers"),
                )
            }
            _ => (cause, self.next_attempt(now)),
        };
        hop("link", self.axes.link == LinkState::Up, since_ms, detail, next)
    }

    fn next_attempt(&self, now: Now) -> String {
        let Phase::Waiting { until } = self.phase else { return String::new() };
        let left = millis(until.saturating_sub(now.elapsed));
        format!("attempt {} in {left} ms", self.backoff.attempt() + 1)
    }

    fn login_hop(&self) -> Hop {
        let cause = self.link_cause.as_ref().map(ToString::to_string);
        let (ok, detail, next) = match self.axes.auth {
            AuthState::Ok => (true, "logged in".to_owned(), ""),
            AuthState::None if self.is_ready() => (true, "the venue asks for no login".to_owned(), ""),
            AuthState::None => {
                (false, "no connection to log in on".to_owned(), "a login once the link is up")
            }
            AuthState::Pending => {
                (false, cause.unwrap_or_else(|| "login under way".to_owned()), "the venue's answer")
            }
            AuthState::Refused => (
                false,
                cause.unwrap_or_else(|| "refused".to_owned()),
                "tried again rarely; check the credentials",
            ),
        };
        hop("login", ok, Some(self.axes.auth_since_ms), detail, next.to_owned())
    }

    fn demand_hop(&self, symbol: &Symbol) -> Hop {
        let wanted = self.demand.wanted().contains(symbol);
        let holders = self.demand.holders();
        let (detail, next) = if wanted {
            ("wanted".to_owned(), "")
        } else if self.demand.is_left_out(symbol) {
            let max = self.demand.symbols_max();
            (
                format!("wanted, and left out: no more than {max} symbols at once"),
                "served when others are given up",
            )
        } else {
            ("nobody wants it".to_owned(), "a lease that names it")
        };
        hop("demand", wanted, None, format!("{detail}; {holders} leases in all"), next.to_owned())
    }

    fn subscription_hop(&self, now: Now, symbol: &Symbol) -> Hop {
        let Phase::Up(up) = &self.phase else {
            let detail = "no connection to subscribe on".to_owned();
            return hop("subscription", false, None, detail, "subscribed after the login".to_owned());
        };
        let standing = up.session.standing(now, symbol);
        let since_ms = standing.since.map(|since| now.unix_ms_of(since));
        hop("subscription", standing.ok, since_ms, standing.detail, standing.next)
    }

    fn schedule_hop(&self, symbol: &Symbol) -> Hop {
        let span = self.ledger.get(symbol).and_then(|channel| channel.pulse.seen_span());
        let Some(span) = span else {
            return hop("schedule", true, None, "its hours are not known".to_owned(), String::new());
        };
        let since_ms = Some(span.from_ms).filter(|from| *from != i64::MIN);
        let until = span.until().map(utc);
        let (detail, next) = if span.open {
            ("the market is open", until.map_or(String::new(), |until| format!("closes at {until}")))
        } else {
            let known = until.map(|until| format!("opens at {until}"));
            ("the market is closed", known.unwrap_or_else(|| "next opening not known".to_owned()))
        };
        // A closed market is as it should be.
        hop("schedule", true, since_ms, detail.to_owned(), next)
    }

    fn ticks_hop(&self, now: Now, symbol: &Symbol) -> Hop {
        let Some(channel) = self.ledger.get(symbol) else {
            return hop("ticks", false, None, "never seen".to_owned(), String::new());
        };
        let since_ms = channel.last().map(|tick| tick.received_us.div_euclid(1000));
        let age = since_ms.map_or("no tick yet".to_owned(), |at| {
            format!("last tick {} ms ago", now.unix_ms().saturating_sub(at).max(0))
        });
        let detail = match channel.said() {
            Some(said) => format!("{}; {age}", words(said)),
            None => age,
        };
        let pulse = &channel.pulse;
        let next = match channel.state() {
            Some(SymbolState::Live) => {
                format!("stale after {} ms without a tick", pulse.threshold(&self.bounds).as_millis())
            }
            Some(SymbolState::Stale) if self.is_ready() => {
                let left = millis(pulse.ask_at.saturating_sub(now.elapsed));
                format!("asked for {} times, again in {left} ms", pulse.asked)
            }
            Some(SymbolState::Closed) => "prices come again when the market opens".to_owned(),
            _ => String::new(),
        };
        let ok = channel.is_live() || channel.state() == Some(SymbolState::Closed);
        hop("ticks", ok, since_ms, detail, next)
    }
}

fn hop(name: &str, ok: bool, since_ms: Option<i64>, detail: String, next: String) -> Hop {
    Hop { name: name.to_owned(), ok, since_ms, detail, next }
}

/// A state with its code and reason in one line.
fn words(said: &StateChange) -> String {
    let reasons = [said.code.as_deref(), said.message.as_deref()];
    let reasons: Vec<&str> = reasons.into_iter().flatten().collect();
    let state = said.state.as_str();
    if reasons.is_empty() { state.to_owned() } else { format!("{state} ({})", reasons.join(": ")) }
}
