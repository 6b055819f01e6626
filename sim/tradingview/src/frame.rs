//! The venue's framing inside a WebSocket message: `~m~LEN~m~PAYLOAD`, LEN in UTF-16 code units (facts 2.1).

/// Longest LEN that is read, in digits; ten of them are far beyond any message.
const DIGITS_MAX: usize = 10;

const MARK: &str = "~m~";

/// Adds a payload as a frame.
pub fn put_frame(message: &mut String, payload: &str) {
    put_frame_of(message, payload, utf16_len(payload));
}

/// Adds a payload as a frame that declares another length than it has.
pub(crate) fn put_frame_of(message: &mut String, payload: &str, declared: usize) {
    message.push_str(MARK);
    message.push_str(&declared.to_string());
    message.push_str(MARK);
    message.push_str(payload);
}

/// The length of a text in UTF-16 code units: what JavaScript calls its length.
pub fn utf16_len(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().map(char::len_utf16).sum() }
}

/// Cuts a message into the payloads of its frames; a frame never spans two messages.
///
/// After an error it ends: nothing says where the next frame would begin.
pub fn payloads(message: &str) -> Payloads<'_> {
    Payloads { rest: message }
}

/// The payloads of a message, from [`payloads`].
#[derive(Clone, Debug)]
pub struct Payloads<'a> {
    rest: &'a str,
}

/// Why a message is not made of frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// Something else stands where `~m~LEN~m~` has to.
    #[error("no frame begins where one has to")]
    NoHeader,
    /// The payload would end beyond the message, or inside a character.
    #[error("a frame of {0} UTF-16 units ends beyond its message")]
    BeyondTheEnd(usize),
}

impl<'a> Iterator for Payloads<'a> {
    type Item = Result<&'a str, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let cut = cut(self.rest);
        self.rest = cut.map_or("", |(_, rest)| rest);
        Some(cut.map(|(payload, _)| payload))
    }
}

/// The first payload, and what follows it.
fn cut(text: &str) -> Result<(&str, &str), FrameError> {
    let (digits, rest) =
        text.strip_prefix(MARK).and_then(|text| text.split_once(MARK)).ok_or(FrameError::NoHeader)?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(FrameError::NoHeader);
    }
    let units: usize = digits.parse().map_err(|_| FrameError::NoHeader)?;
    let end = byte_index(rest, units).ok_or(FrameError::BeyondTheEnd(units))?;
    Ok(rest.split_at(end))
}

/// Where in a text so many UTF-16 units end, as a byte index.
fn byte_index(text: &str, units: usize) -> Option<usize> {
    if text.is_ascii() {
        return (units <= text.len()).then_some(units);
    }
    let mut left = units;
    for (at, letter) in text.char_indices() {
        if left == 0 {
            return Some(at);
        }
        left = left.checked_sub(letter.len_utf16())?;
    }
    (left == 0).then_some(text.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut_all(message: &str) -> Result<Vec<&str>, FrameError> {
        payloads(message).collect()
    }

    /// The worked examples of facts 2.1.
    #[test]
    fn frames_are_as_the_facts_show_them() {
        for (payload, frame) in [
            (
                r#"{"m":"set_auth_token","p":["unauthorized_user_token"]}"#,
                r#"~m~54~m~{"m":"set_auth_token","p":["unauthorized_user_token"]}"#,
            ),
            ("~h~1", "~m~4~m~~h~1"),
            ("~h~157", "~m~6~m~~h~157"),
            (
                r#"{"m":"qsd","p":["qs_A1b2C3d4E5f6",{"n":"KRX:005930","s":"ok","v":{"local_description":"삼성전자"}}]}"#,
                r#"~m~96~m~{"m":"qsd","p":["qs_A1b2C3d4E5f6",{"n":"KRX:005930","s":"ok","v":{"local_description":"삼성전자"}}]}"#,
            ),
        ] {
            let mut message = String::new();
            put_frame(&mut message, payload);
            assert_eq!(message, frame);
            assert_eq!(cut_all(frame).unwrap(), [payload]);
        }
    }

    #[test]
    fn what_is_no_frame_is_told_and_nothing_after_it_is_guessed() {
        for (message, error) in [
            ("hello", FrameError::NoHeader),
            ("~m~~m~", FrameError::NoHeader),
            ("~m~x~m~a", FrameError::NoHeader),
            ("~m~-1~m~a", FrameError::NoHeader),
            ("~m~99999999999999999999~m~a", FrameError::NoHeader),
            ("~m~2~m~a", FrameError::BeyondTheEnd(2)),
            ("~m~1~m~😀", FrameError::BeyondTheEnd(1)),
            ("~m~1~m~ab~m~1~m~c", FrameError::NoHeader),
        ] {
            assert_eq!(cut_all(message), Err(error), "{message}");
        }
        let cut: Vec<_> = payloads("~m~1~m~a~m~10~m~b~m~1~m~c").collect();
        assert_eq!(cut, [Ok("a"), Err(FrameError::BeyondTheEnd(10))]);
        assert_eq!(cut_all("~m~0~m~~m~1~m~a").unwrap(), ["", "a"]);
    }

    proptest! {
        #[test]
        fn what_is_put_is_cut_again(texts in prop::collection::vec("(\\PC|~m~12~m~|~h~1|😀|한){0,12}", 0..6)) {
            let mut message = String::new();
            texts.iter().for_each(|text| put_frame(&mut message, text));
            prop_assert_eq!(cut_all(&message).unwrap(), texts);
        }

        #[test]
        fn no_message_makes_it_panic(message in "(~m~|[0-9]{1,3}|😀|\\PC){0,20}") {
            let _ = cut_all(&message);
        }
    }
}
