use serde_json::{Value, json};

/// The event under which a tick travels; others are the protocol's own.
const TICK_EVENT: &[u8] = br#""event":"tick""#;

/// What a server that speaks the Pusher protocol says, as far as a load tool cares.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PusherEvent<'a> {
    /// The data of a tick.
    Tick(&'a [u8]),
    /// To be answered with [`pusher_pong`].
    Ping,
    /// An error in words.
    Error(String),
    /// Anything else.
    Other,
}

/// Reads the server's messages; it keeps room for unpacking them.
#[derive(Default)]
pub struct PusherReader {
    data: Vec<u8>,
}

impl PusherReader {
    /// What a text message says. A tick's data is a JSON text inside the JSON text, or an object: either is given as the
    /// object's bytes.
    pub fn read<'a>(&'a mut self, message: &'a [u8]) -> PusherEvent<'a> {
        if contains(message, TICK_EVENT)
            && let Some(start) = find(message, br#""data":"#)
        {
            let data = &message[start..];
            return match data.first() {
                Some(b'"') => match self.unescape(&data[1..]) {
                    Some(data) => PusherEvent::Tick(data),
                    None => PusherEvent::Error("unreadable data".into()),
                },
                _ => match serde_json::Deserializer::from_slice(data).into_iter::<Value>().next() {
                    Some(Ok(value)) => {
                        self.data = value.to_string().into();
                        PusherEvent::Tick(&self.data)
                    }
                    _ => PusherEvent::Error("unreadable data".into()),
                },
            };
        }
        let Ok(message) = serde_json::from_slice::<Value>(message) else {
            return PusherEvent::Error("not JSON".into());
        };
        match message["event"].as_str() {
            Some("pusher:ping") => PusherEvent::Ping,
            Some("pusher:error" | "pusher:subscription_error") => {
                PusherEvent::Error(message["data"].to_string())
            }
            _ => PusherEvent::Other,
        }
    }

    /// A text up to its closing quote; ticks hold no escapes but those of quotes and backslashes.
    fn unescape(&mut self, text: &[u8]) -> Option<&[u8]> {
        self.data.clear();
        let mut bytes = text.iter();
        loop {
            match bytes.next()? {
                b'"' => return Some(&self.data),
                b'\\' => match bytes.next()? {
                    escaped @ (b'"' | b'\\' | b'/') => self.data.push(*escaped),
                    _ => return None,
                },
                byte => self.data.push(*byte),
            }
        }
    }
}

/// Subscribes these channels, a message each.
pub fn pusher_subscriptions<'a>(channels: impl Iterator<Item = &'a str>) -> impl Iterator<Item = String> {
    channels.map(|channel| json!({"event": "pusher:subscribe", "data": {"channel": channel}}).to_string())
}

/// Answers a ping.
pub fn pusher_pong() -> String {
    json!({"event": "pusher:pong", "data": {}}).to_string()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    find(text, part).is_some()
}

/// Where `part` ends in `text`.
fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part).map(|start| start + part.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_given_as_its_object_however_it_is_packed() {
        let mut reader = PusherReader::default();
        let packed =
            br#"{"event":"tick","channel":"S00","data":"{\"type\":\"tick\",\"symbol\":\"A\\\\B\"}"}"#;
        assert_eq!(reader.read(packed), PusherEvent::Tick(br#"{"type":"tick","symbol":"A\\B"}"#));
        let plain = br#"{"event":"tick","data":{"type":"tick"},"channel":"S00"}"#;
        assert_eq!(reader.read(plain), PusherEvent::Tick(br#"{"type":"tick"}"#));
    }

    #[test]
    fn the_protocols_own_messages_are_told_apart() {
        let mut reader = PusherReader::default();
        assert_eq!(reader.read(br#"{"event":"pusher:ping","data":{}}"#), PusherEvent::Ping);
        assert_eq!(
            reader.read(br#"{"event":"pusher_internal:subscription_succeeded","channel":"S00","data":"{}"}"#),
            PusherEvent::Other
        );
        let error = br#"{"event":"pusher:error","data":{"code":4004,"message":"full"}}"#;
        assert!(matches!(reader.read(error), PusherEvent::Error(words) if words.contains("full")));
        for broken in [&b"{"[..], br#"{"event":"tick","data":"{\"a"#, br#"{"event":"tick","data":{"#] {
            assert!(matches!(reader.read(broken), PusherEvent::Error(_)));
        }
    }

    #[test]
    fn each_channel_is_subscribed_by_a_message_of_its_own() {
        let all: Vec<String> = pusher_subscriptions(["a", "b"].into_iter()).collect();
        assert_eq!(all[1], r#"{"data":{"channel":"b"},"event":"pusher:subscribe"}"#);
        assert_eq!(pusher_pong(), r#"{"data":{},"event":"pusher:pong"}"#);
    }
}
