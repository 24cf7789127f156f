//! One frame of the AWS event stream, as Bedrock writes it.

const PRELUDE_BYTES: usize = 12;
const CHECKSUM_BYTES: usize = 4;

/// The kind of a header that is a string.
const STRING: u8 = 7;

/// An event's frame; `None` when it would be too long.
pub(super) fn frame(event: &str, payload: &[u8]) -> Option<Vec<u8>> {
    let mut headers = Vec::new();
    for (name, value) in
        [(":event-type", event), (":content-type", "application/json"), (":message-type", "event")]
    {
        headers.push(u8::try_from(name.len()).ok()?);
        headers.extend_from_slice(name.as_bytes());
        headers.push(STRING);
        headers.extend(u16::try_from(value.len()).ok()?.to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let total = PRELUDE_BYTES + headers.len() + payload.len() + CHECKSUM_BYTES;
    let mut frame = u32::try_from(total).ok()?.to_be_bytes().to_vec();
    frame.extend(u32::try_from(headers.len()).ok()?.to_be_bytes());
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame.extend(headers);
    frame.extend_from_slice(payload);
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    Some(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_as_bedrock_writes_it() {
        let recorded = b"\x00\x00\x00~\x00\x00\x00V\xa1\xc8u\x06\x0b:event-type\x07\x00\x10contentBlockStop\r\
            :content-type\x07\x00\x10application/json\r:message-type\x07\x00\x05event{\"contentBlockIndex\": 0}\x0bd04";
        assert_eq!(frame("contentBlockStop", b"{\"contentBlockIndex\": 0}").as_deref(), Some(&recorded[..]));
    }
}
