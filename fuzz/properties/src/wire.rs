//! The wire: a text is a frame or an error; a frame survives being written and
//! read again; what is too long is refused unread.

use std::fmt::Debug;

use doorstep_shared::protocol::{FRAME_BYTES_MAX, FrameError, ToEdge, ToExecutor, decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// One in so many lengths is also tried at the limit: that reads a quarter of a
/// MiB, which is dear beside a frame of a few hundred bytes.
const LIMIT_TRIED_EVERY: usize = 16;

/// Decodes the bytes as a frame of either direction.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    one_way::<ToExecutor>(text);
    one_way::<ToEdge>(text);
}

fn one_way<T: Serialize + DeserializeOwned + PartialEq + Debug>(text: &str) {
    let Ok(frame) = decode::<T>(text) else { return };
    let written = encode(&frame);
    assert!(written.is_ok(), "{frame:?} cannot be written");
    let written = written.unwrap_or_default();
    // Defaults that were left out are written, which may go past the limit.
    if written.len() <= FRAME_BYTES_MAX {
        let again = decode::<T>(&written);
        assert_eq!(again.ok().as_ref(), Some(&frame), "read again from {written}");
        let twice = encode(&frame).unwrap_or_default();
        assert_eq!(written, twice, "written twice, two texts");
    }
    if text.len().is_multiple_of(LIMIT_TRIED_EVERY) {
        at_the_limit(text, &frame);
    }
}

fn at_the_limit<T: DeserializeOwned + PartialEq + Debug>(text: &str, frame: &T) {
    let mut padded = text.to_owned();
    padded.extend(std::iter::repeat_n(' ', FRAME_BYTES_MAX.saturating_sub(text.len())));
    assert_eq!(decode::<T>(&padded).ok().as_ref(), Some(frame), "a frame of the largest size is read");
    padded.push(' ');
    let refused = matches!(decode::<T>(&padded), Err(FrameError::TooLong(_)));
    assert!(refused, "a frame one byte too long is refused");
}
