//! An answer's head.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use hyper::ext::ReasonPhrase;

use super::HEAD_BYTES_MAX;
use crate::http1::{Decoder, Error, Framing, HEADERS_MAX, HeadEnd, INFORMATIONAL_MAX, name};

/// What a head says.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) response: Response<()>,
    pub(super) body: Decoder,
    /// Whether the connection can serve another request after this one.
    pub(super) keep_alive: bool,
}

/// What the answer to one request is read with.
#[derive(Debug, Default)]
pub(super) struct Reader {
    method: Method,
    /// How much was looked through for the head's end.
    scanned: usize,
    informational: usize,
}

impl Reader {
    pub(super) fn new(method: Method) -> Self {
        Self { method, scanned: 0, informational: 0 }
    }

    /// Takes the head off `buffer`, once it is there whole, and what informational ones are before it, which
    /// `inform` gets. Its headers take the place of the request's, `used`, and later those of the client's next
    /// request take theirs: the memory of one map goes round.
    pub(super) fn take(
        &mut self,
        buffer: &mut BytesMut,
        used: &mut HeaderMap,
        mut inform: impl FnMut(Response<()>),
    ) -> Result<Option<Head>, Error> {
        loop {
            let Some(HeadEnd { bytes, .. }) = HeadEnd::find(buffer, self.scanned) else {
                // The end may begin in what is there.
                self.scanned = buffer.len().saturating_sub(3);
                return if buffer.len() < HEAD_BYTES_MAX { Ok(None) } else { Err(Error::TooLarge) };
            };
            self.scanned = 0;
            if bytes > HEAD_BYTES_MAX {
                return Err(Error::TooLarge);
            }
            let head = self.parse(&buffer.split_to(bytes).freeze(), used)?;
            let status = head.response.status();
            if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Some(head));
            }
            self.informational += 1;
            if self.informational > INFORMATIONAL_MAX {
                return Err(Error::Framing("too many informational answers"));
            }
            inform(head.response);
        }
    }

    fn parse(&self, head: &Bytes, used: &mut HeaderMap) -> Result<Head, Error> {
        let mut lines = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut parsed = httparse::Response::new(&mut []);
        let parser = httparse::ParserConfig::default();
        let parsing = parser.parse_response_with_uninit_headers(&mut parsed, head, &mut lines)?;
        let (httparse::Status::Complete(_), Some(code)) = (parsing, parsed.code) else {
            return Err(Error::Framing("its head has no status"));
        };
        let status = StatusCode::from_u16(code).map_err(|_| Error::Framing("its status is none"))?;
        let mut response = Response::new(());
        *response.status_mut() = status;
        if parsed.version == Some(0) {
            *response.version_mut() = Version::HTTP_10;
        }
        if let Some(reason) = parsed.reason.filter(|reason| status.canonical_reason() != Some(reason))
            && let Ok(reason) = ReasonPhrase::try_from(reason.as_bytes())
        {
            response.extensions_mut().insert(reason);
        }
        let mut framing = Framing::new(response.version());
        // After an informational answer the request may have to be sent again.
        let mut headers = if status.is_informational() { HeaderMap::new() } else { std::mem::take(used) };
        headers.clear();
        headers.reserve(parsed.headers.len());
        for line in &*parsed.headers {
            let name = name(line.name.as_bytes());
            let value = HeaderValue::from_maybe_shared(head.slice_ref(line.value));
            let (Ok(name), Ok(value)) = (name, value) else {
                return Err(Error::Framing("a header is not valid"));
            };
            framing.read(&name, &value)?;
            headers.append(name, value);
        }
        *response.headers_mut() = headers;
        let body = framing.answer_body(&self.method, status);
        Ok(Head { response, body, keep_alive: framing.keep_alive })
    }
}
