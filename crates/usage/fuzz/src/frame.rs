//! Frames of the AWS event stream.

/// A frame of an event as Bedrock has it.
pub fn event(name: &[u8], payload: &[u8]) -> Vec<u8> {
    frame(&[header(b":event-type", name), header(b":message-type", b"event")].concat(), payload)
}

/// A header whose value is text; what does not fit its length is cut.
pub fn header(name: &[u8], value: &[u8]) -> Vec<u8> {
    let name = &name[..name.len().min(usize::from(u8::MAX))];
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    let mut header = vec![u8::try_from(name.len()).unwrap_or(0)];
    header.extend_from_slice(name);
    header.push(7);
    header.extend_from_slice(&u16::try_from(value.len()).unwrap_or(0).to_be_bytes());
    header.extend_from_slice(value);
    header
}

/// A frame of these headers and this payload.
pub fn frame(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let number = |bytes: usize| u32::try_from(bytes).expect("inputs are short").to_be_bytes();
    let mut frame = number(16 + headers.len() + payload.len()).to_vec();
    frame.extend_from_slice(&number(headers.len()));
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame.extend_from_slice(headers);
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&crc32fast::hash(&frame).to_be_bytes());
    frame
}

/// The payloads of whole frames whose checksums are right; panics when `bytes` are none.
pub fn payloads(mut bytes: &[u8]) -> Vec<&[u8]> {
    let number = |bytes: &[u8]| {
        let number = bytes.first_chunk().expect("a frame is longer");
        u32::from_be_bytes(*number)
    };
    let mut payloads = Vec::new();
    while !bytes.is_empty() {
        let (frame, rest) = bytes.split_at(number(bytes) as usize);
        let (sum_at, headers) = (frame.len() - 4, number(&frame[4..]) as usize);
        assert_eq!(crc32fast::hash(&frame[..8]), number(&frame[8..]));
        assert_eq!(crc32fast::hash(&frame[..sum_at]), number(&frame[sum_at..]));
        payloads.push(&frame[12 + headers..sum_at]);
        bytes = rest;
    }
    payloads
}
