//! WebSocket frames as a server sends them.

/// Appends a text message as one frame, unmasked as servers' frames are (RFC 6455 section 5.2).
pub fn put_text(out: &mut Vec<u8>, text: &str) {
    out.push(0x81);
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(length), _) if length < 126 => out.push(length),
        (_, Ok(length)) => {
            out.push(126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(text.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use loadgen::{FrameReader, Message};

    use super::*;

    #[test]
    fn a_client_reads_what_was_put() {
        let texts = [0, 1, 125, 126, 150, 65_535, 65_536].map(|length| "x".repeat(length));
        let mut bytes = Vec::new();
        for text in &texts {
            put_text(&mut bytes, text);
        }
        let mut seen = Vec::new();
        let take = |message: Message<'_>| match message {
            Message::Text(text) => seen.push(text.len()),
            other => panic!("{other:?}"),
        };
        FrameReader::default().feed(&bytes, take).unwrap();
        assert_eq!(seen, texts.map(|text| text.len()));
    }
}
