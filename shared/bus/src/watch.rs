use async_nats::Event;

/// Follows the connection to the bus by the client's events: how it is, why, and what of it is news.
#[derive(Debug, Default)]
pub struct BusWatch {
    is_up: bool,
    was_up: bool,
    /// What the client or the server complained of last, since it was last connected.
    error: Option<String>,
}

/// What an event comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BusNews {
    /// Connected.
    Up,
    /// Not connected any more.
    Down,
    /// The client or the server complains. Each attempt to connect ends with one, so that most are repeats.
    Trouble {
        /// In the words of the client, which hold neither an address nor a secret.
        error: String,
        /// Whether it is another one than the last.
        is_new: bool,
    },
    /// A subscription was full and has dropped a message.
    SlowConsumer,
    /// Nothing that matters.
    Nothing,
}

impl BusWatch {
    /// Takes an event.
    pub fn hear(&mut self, event: &Event) -> BusNews {
        match event {
            Event::Connected => {
                *self = Self { is_up: true, was_up: true, error: None };
                BusNews::Up
            }
            Event::Disconnected | Event::Closed => {
                self.is_up = false;
                BusNews::Down
            }
            Event::ClientError(error) => self.trouble(error.to_string()),
            Event::ServerError(error) => self.trouble(error.to_string()),
            Event::SlowConsumer(_) => BusNews::SlowConsumer,
            Event::LameDuckMode | Event::Draining => BusNews::Nothing,
        }
    }

    /// How it is, for `/readyz`.
    ///
    /// # Errors
    /// Why there is no connection, where there is none.
    pub fn state(&self) -> Result<(), String> {
        if self.is_up {
            return Ok(());
        }
        let state = if self.was_up { "disconnected" } else { "connecting" };
        Err(self.error.as_ref().map_or(state.to_owned(), |error| format!("{state}: {error}")))
    }

    fn trouble(&mut self, error: String) -> BusNews {
        let is_new = self.error.as_ref() != Some(&error);
        self.error = Some(error.clone());
        BusNews::Trouble { error, is_new }
    }
}

#[cfg(test)]
mod tests {
    use async_nats::{ClientError, ServerError};

    use super::*;

    fn client(text: &str) -> Event {
        Event::ClientError(ClientError::Other(text.to_owned()))
    }

    fn is_new(watch: &mut BusWatch, event: &Event) -> bool {
        matches!(watch.hear(event), BusNews::Trouble { is_new: true, .. })
    }

    #[test]
    fn the_last_error_is_the_reason_and_is_news_when_it_changes() {
        let mut watch = BusWatch::default();
        assert_eq!(watch.state(), Err("connecting".into()));
        assert!(is_new(&mut watch, &client("DNS error")));
        assert!(!is_new(&mut watch, &client("DNS error")));
        assert!(is_new(&mut watch, &client("timed out")));
        assert_eq!(watch.state(), Err("connecting: nats: timed out".into()));

        assert_eq!(watch.hear(&Event::Connected), BusNews::Up);
        assert_eq!(watch.state(), Ok(()));
        let denied = Event::ServerError(ServerError::Other("permissions violation".into()));
        assert!(is_new(&mut watch, &denied) && !is_new(&mut watch, &denied));
        assert_eq!(watch.hear(&Event::SlowConsumer(7)), BusNews::SlowConsumer);
        assert_eq!(watch.state(), Ok(()), "a complaint is no end of the connection");

        watch.hear(&Event::Connected);
        assert_eq!(watch.hear(&Event::Disconnected), BusNews::Down);
        assert_eq!(watch.state(), Err("disconnected".into()));
        assert!(is_new(&mut watch, &client("timed out")), "a new outage is told again");
        assert_eq!(watch.state(), Err("disconnected: nats: timed out".into()));
    }

    /// The words come from the client, so it is asked: a server that is not there, and a password in its address.
    #[tokio::test]
    async fn what_the_client_says_of_a_server_that_is_away_holds_no_password() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = format!("nats://me:hush@{free}");
        let settings = crate::BusSettings { url, ..crate::BusSettings::default() };
        let (tell, mut told) = tokio::sync::mpsc::channel(16);
        let notice = move |event: Event| drop(tell.try_send(format!("{event:?} {event}")));
        let _client = crate::connect(&settings, "probe", 1, notice).await.unwrap();
        let words = told.recv().await.unwrap();
        assert!(words.contains("error"), "{words}");
        assert!(!words.contains("hush"), "{words}");
    }
}
