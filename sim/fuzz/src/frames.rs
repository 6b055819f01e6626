use ingest_ctrader::FrameReader;
use sim_ctrader::FrameDecoder;

use crate::input::Input;

/// The longest frame both decoders are asked to take here.
const FRAME_BYTES_MAX: usize = 15_000_000;

/// A stream of frames and of bytes that are none, cut anywhere: our decoder gives the same frames however the stream is
/// cut, stops for good at the same place, and agrees with the simulator's own decoder on where that is.
pub(crate) fn frames(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut stream = Vec::new();
    let mut cuts = Vec::new();
    while !input.is_empty() {
        match input.below(4) {
            // A frame as it should be.
            0 | 1 => {
                let body = input.run();
                stream.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
                stream.extend_from_slice(body);
            }
            // A length of anything.
            2 => {
                let length = u32::try_from(input.number() & 0xffff_ffff).unwrap();
                stream.extend_from_slice(&length.to_be_bytes());
            }
            _ => stream.extend_from_slice(input.run()),
        }
        cuts.push(usize::from(input.byte()));
    }
    let whole = read(&stream, &[]);
    assert_eq!(whole, read(&stream, &cuts), "cut in pieces");
    assert_eq!(whole, read(&stream, &[1]), "one byte at a time");
    // The simulator decodes the envelope as well, so it may stop earlier, and never later.
    let mut decoder = FrameDecoder::new(FRAME_BYTES_MAX);
    decoder.push(&stream);
    let mut seen = 0;
    while let Ok(Some(_)) = decoder.next_envelope() {
        seen += 1;
    }
    assert!(seen <= whole.0.len(), "{seen} envelopes in {} frames", whole.0.len());
}

/// The frames of a stream, and whether it came to a bad end.
fn read(stream: &[u8], cuts: &[usize]) -> (Vec<Vec<u8>>, bool) {
    let mut reader = FrameReader::default();
    let mut frames = Vec::new();
    let mut rest = stream;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let at = cuts.next().map_or(rest.len(), |cut| (*cut).clamp(1, rest.len()));
        let (piece, after) = rest.split_at(at);
        rest = after;
        reader.push(piece);
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => frames.push(frame.to_vec()),
                Ok(None) => break,
                Err(_) => return (frames, true),
            }
        }
    }
    (frames, false)
}
