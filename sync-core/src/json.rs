//! Walking along JSON text that is known to be valid, without parsing it.

/// Where the string that begins at `start` ends: after its closing quote.
pub(crate) fn string_end(json: &[u8], start: usize) -> usize {
    let mut escaped = false;
    let rest = json.iter().enumerate().skip(start + 1);
    for (place, byte) in rest {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return place + 1,
            _ => {}
        }
    }
    json.len()
}

/// The first byte from `start` on that is no white space, and where it is.
#[cfg(feature = "server")]
pub(crate) fn token(json: &[u8], start: usize) -> Option<(usize, u8)> {
    let bytes = json.iter().copied().enumerate().skip(start);
    bytes.into_iter().find(|(_, byte)| !is_space(*byte))
}

/// The last byte before `end` that is no white space, and where it is.
#[cfg(feature = "server")]
pub(crate) fn token_before(json: &[u8], end: usize) -> Option<(usize, u8)> {
    let bytes = json.iter().copied().enumerate().take(end);
    bytes.rev().find(|(_, byte)| !is_space(*byte))
}

#[cfg(feature = "server")]
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}
