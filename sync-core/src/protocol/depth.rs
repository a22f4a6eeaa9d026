//! How deep a JSON text is nested, before anything parses it.

/// Whether arrays and objects are nested more than `limit` deep. The text need not be valid JSON.
pub(crate) fn exceeds_depth(json: &str, limit: usize) -> bool {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for byte in json.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::exceeds_depth;

    #[test]
    fn counts_what_is_open() {
        assert!(!exceeds_depth("[[],[],{}]", 2));
        assert!(exceeds_depth("[[],[[]]]", 2));
        assert!(exceeds_depth(&"[".repeat(33), 32));
        assert!(!exceeds_depth(r#"["[[[[","\"[[[",{"a":"\\"}]"#, 2));
        assert!(!exceeds_depth("]]]]", 1));
    }
}
