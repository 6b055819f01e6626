/// One `~m~LEN~m~payload` of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Payload<'a> {
    /// `~h~N`: to be sent back as it is.
    Heartbeat(&'a str),
    /// Anything else that is not empty, without the legacy `~j~` mark.
    Json(&'a str),
}

/// A frame that is not one. What follows it in its message is lost, for no next beginning is certain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Broken;

/// The frames of one WebSocket message, which always holds whole ones (facts 2.1).
pub(crate) struct Frames<'a> {
    rest: &'a str,
}

const MARK: &str = "~m~";
const BEAT: &str = "~h~";
const LEGACY_JSON: &str = "~j~";
/// Digits of a length at most: no message is that long.
const DIGITS_MAX: usize = 9;

impl<'a> Frames<'a> {
    /// The frames of this message.
    pub(crate) fn new(message: &'a str) -> Self {
        Self { rest: message }
    }

    fn cut(&mut self) -> Option<&'a str> {
        let rest = self.rest.strip_prefix(MARK)?;
        let digits = rest.bytes().take(DIGITS_MAX).take_while(u8::is_ascii_digit).count();
        let units = rest[..digits].parse().ok()?;
        let (payload, rest) = split_units(rest[digits..].strip_prefix(MARK)?, units)?;
        self.rest = rest;
        Some(payload)
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Payload<'a>, Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            match self.cut() {
                Some("") => {}
                Some(payload) => return Some(Ok(kind(payload))),
                None => {
                    self.rest = "";
                    return Some(Err(Broken));
                }
            }
        }
        None
    }
}

fn kind(payload: &str) -> Payload<'_> {
    let number = payload.strip_prefix(BEAT);
    if number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())) {
        Payload::Heartbeat(payload)
    } else {
        Payload::Json(payload.strip_prefix(LEGACY_JSON).unwrap_or(payload))
    }
}

/// Splits after so many UTF-16 code units, which is how the venue counts; `None` where there are not as many, or a
/// character would be cut in two.
fn split_units(text: &str, units: usize) -> Option<(&str, &str)> {
    // A unit is at least a byte of UTF-8.
    let head = text.as_bytes().get(..units)?;
    if head.is_ascii() {
        return Some(text.split_at(units));
    }
    let mut left = units;
    let mut end = 0;
    for character in text.chars() {
        if left == 0 {
            break;
        }
        left = left.checked_sub(character.len_utf16())?;
        end += character.len_utf8();
    }
    (left == 0).then(|| text.split_at(end))
}

/// Frames a payload of ours, which is ASCII: then every way of counting agrees (facts 2.1).
pub(crate) fn wrap(payload: &str) -> String {
    format!("{MARK}{}{MARK}{payload}", payload.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(message: &str) -> Vec<Result<Payload<'_>, Broken>> {
        Frames::new(message).collect()
    }

    #[test]
    fn the_facts_own_examples_are_cut_and_written() {
        for (payload, message) in [
            (r#"{"m":"set_auth_token","p":["unauthorized_user_token"]}"#, "~m~54~m~"),
            (r#"{"m":"quote_create_session","p":["qs_A1b2C3d4E5f6"]}"#, "~m~52~m~"),
            ("~h~1", "~m~4~m~"),
            ("~h~157", "~m~6~m~"),
        ] {
            assert_eq!(wrap(payload), format!("{message}{payload}"));
        }
        let korean = r#"{"m":"qsd","p":["qs_A1b2C3d4E5f6",{"n":"KRX:005930","s":"ok","v":{"local_description":"삼성전자"}}]}"#;
        assert_eq!(korean.len(), 104);
        assert_eq!(
            all(&format!("~m~96~m~{korean}~m~4~m~~h~2")),
            [Ok(Payload::Json(korean)), Ok(Payload::Heartbeat("~h~2"))]
        );
    }

    #[test]
    fn text_that_looks_like_a_frame_is_text() {
        let tricky = r#"{"d":"~m~12~m~ ~h~1 \u007em"}"#;
        assert_eq!(all(&wrap(tricky)), [Ok(Payload::Json(tricky))]);
        assert_eq!(all("~m~5~m~~h~1x"), [Ok(Payload::Json("~h~1x"))]);
        assert_eq!(all("~m~3~m~~h~"), [Ok(Payload::Json("~h~"))]);
    }

    #[test]
    fn an_empty_payload_and_the_old_mark_are_passed_over() {
        assert_eq!(all("~m~0~m~~m~5~m~~j~{}"), [Ok(Payload::Json("{}"))]);
    }

    #[test]
    fn what_follows_a_broken_frame_is_lost_and_what_came_before_is_not() {
        for broken in [
            "~m~9~m~{}",
            "~m~1~m~🎯",
            "~m~~m~{}",
            "~m~x~m~{}",
            "~m~2{}",
            "~m~9999999999~m~{}",
            "noise",
            "~m~-1~m~",
        ] {
            let message = format!("~m~2~m~{{}}{broken}");
            assert_eq!(all(&message), [Ok(Payload::Json("{}")), Err(Broken)], "{broken}");
        }
        // A length that is too short leaves a rest that is no frame.
        assert_eq!(all("~m~1~m~{}~m~4~m~~h~1"), [Ok(Payload::Json("{")), Err(Broken)]);
    }

    proptest! {
        #[test]
        fn any_texts_framed_by_utf16_units_come_back(texts in proptest::collection::vec("[a-z~mh0-9삼é🎯\"]{1,20}", 0..8)) {
            let message: String = texts
                .iter()
                .map(|text| format!("~m~{}~m~x{text}", text.encode_utf16().count() + 1))
                .collect();
            let texts: Vec<String> = texts.iter().map(|text| format!("x{text}")).collect();
            let expected: Vec<_> = texts.iter().map(|text| Ok(Payload::Json(text.as_str()))).collect();
            prop_assert_eq!(all(&message), expected);
        }

        #[test]
        fn no_message_makes_it_panic_or_go_on_for_ever(message in "(~m~|~h~|[0-9]|\\PC){0,40}") {
            prop_assert!(all(&message).len() <= message.len());
        }
    }
}
