//! A response as it was on the wire.

use serde_json::Value;

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As its framing says: all of `Content-Length`, the last chunk, or no body.
    Complete,
    /// Without a length of its own, by the end of the connection.
    Closed,
    /// Before its framing says.
    Cut,
}

/// A response: status, headers in their order, body, trailers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names as they were spelt; values that are no UTF-8 have replacement characters.
    pub headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// The trailers in their order.
    pub trailers: Vec<(String, String)>,
    /// How it ended.
    pub ending: Ending,
}

impl Response {
    /// The first response in `bytes` and how many bytes it takes; `None` when its head is not whole.
    ///
    /// `to_head` says that the request was HEAD, so that no body follows. A body that is not whole is `Cut`.
    #[must_use]
    pub fn parse(bytes: &[u8], to_head: bool) -> Option<(Self, usize)> {
        let head_bytes = find(bytes, b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&bytes[..head_bytes]);
        let (status_line, fields) = head.split_once("\r\n")?;
        let status = status_line.split(' ').nth(1)?.parse().ok()?;
        let mut response = Self {
            status,
            headers: fields_of(fields),
            body: Vec::new(),
            trailers: Vec::new(),
            ending: Ending::Complete,
        };
        let body_bytes = if to_head || (100..200).contains(&status) || status == 204 || status == 304 {
            0
        } else {
            response.read_body(&bytes[head_bytes..])
        };
        Some((response, head_bytes + body_bytes))
    }

    /// All responses in `bytes`, interim ones included.
    #[must_use]
    pub fn parse_all(mut bytes: &[u8]) -> Vec<Self> {
        let mut responses = Vec::new();
        while let Some((response, read)) = Self::parse(bytes, false) {
            responses.push(response);
            bytes = &bytes[read..];
        }
        responses
    }

    /// The value of the first header of this name, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// The values of all headers of this name.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    fn read_body(&mut self, rest: &[u8]) -> usize {
        if self.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return self.read_chunks(rest).unwrap_or_else(|| {
                self.ending = Ending::Cut;
                rest.len()
            });
        }
        let length = self.header("content-length").and_then(|length| length.parse().ok());
        let (body, ending) = match length {
            None => (rest, Ending::Closed),
            Some(length) => rest.get(..length).map_or((rest, Ending::Cut), |body| (body, Ending::Complete)),
        };
        self.body = body.to_vec();
        self.ending = ending;
        body.len()
    }

    /// Bytes of the chunked body and its trailers; `None` when it is cut.
    fn read_chunks(&mut self, rest: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let line_bytes = find(&rest[at..], b"\r\n")?;
            let line = str::from_utf8(&rest[at..at + line_bytes]).ok()?;
            let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
            at += line_bytes + 2;
            if size == 0 {
                // Empty trailers begin with the empty line that ends them.
                let empty = rest[at..].starts_with(b"\r\n");
                let trailer_bytes = if empty { 2 } else { find(&rest[at..], b"\r\n\r\n")? + 4 };
                self.trailers = fields_of(&String::from_utf8_lossy(&rest[at..at + trailer_bytes]));
                return Some(at + trailer_bytes);
            }
            let chunk = &rest[at..];
            self.body.extend_from_slice(&chunk[..size.min(chunk.len())]);
            chunk.get(size..size + 2)?;
            at += size + 2;
        }
    }
}

pub(crate) fn fields_of(text: &str) -> Vec<(String, String)> {
    text.split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

/// Where `wanted` begins in `bytes`.
pub(crate) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lengths_chunks_trailers_and_what_follows() {
        let bytes = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
            HTTP/1.1 200 OK\r\nA: 1\r\na: 2\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\n\
            HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno";
        let all = Response::parse_all(bytes);
        assert_eq!(all.iter().map(|response| response.status).collect::<Vec<_>>(), [103, 200, 404]);
        assert_eq!(all[1].all("A"), ["1", "2"]);
        assert_eq!((all[1].text().as_str(), all[1].ending), ("abc", Ending::Complete));
        assert_eq!(all[1].trailers, [("T".to_owned(), "v".to_owned())]);
        assert_eq!(all[2].body, b"no");
    }

    #[test]
    fn sees_what_was_cut() {
        for cut in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
        ] {
            let (response, read) = Response::parse(cut.as_bytes(), false).unwrap();
            assert_eq!((response.text().as_str(), response.ending, read), ("abc", Ending::Cut, cut.len()));
        }
        assert_eq!(Response::parse(b"HTTP/1.1 200 OK\r\nA: 1\r\n", false), None);
    }
}
