//! The model that a response names.

use crate::readings::Piece;

/// Bytes of a model's name at most; the longest public ones have about 70.
const MODEL_BYTES_MAX: usize = 96;

/// The first name that is neither empty nor too long.
#[derive(Debug)]
pub(crate) struct Model {
    bytes: [u8; MODEL_BYTES_MAX],
    /// More than `MODEL_BYTES_MAX` when the name is too long.
    length: usize,
    is_whole: bool,
}

impl Default for Model {
    fn default() -> Self {
        Self { bytes: [0; MODEL_BYTES_MAX], length: 0, is_whole: false }
    }
}

impl Model {
    pub(crate) fn push(&mut self, piece: Piece<'_>) {
        if self.is_whole {
            return;
        }
        match piece {
            Piece::Begin => self.length = 0,
            Piece::Bytes(bytes) => {
                let end = self.length.saturating_add(bytes.len());
                if let Some(room) = self.bytes.get_mut(self.length..end) {
                    room.copy_from_slice(bytes);
                }
                self.length = end;
            }
            Piece::End => self.is_whole = self.unescape().is_some(),
        }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        if !self.is_whole {
            return None;
        }
        std::str::from_utf8(self.bytes.get(..self.length)?).ok()
    }

    /// Some services escape the slash in a name.
    fn unescape(&mut self) -> Option<()> {
        let raw = self.bytes.get(..self.length)?;
        if raw.contains(&b'\\') {
            let quoted = [b"\"", raw, b"\""].concat();
            let name: String = serde_json::from_slice(&quoted).ok()?;
            self.length = name.len();
            self.bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        }
        let name = std::str::from_utf8(self.bytes.get(..self.length)?).ok()?;
        (!name.is_empty() && !name.contains(char::is_control)).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use crate::{Framing, Scanner};

    fn model(body: &str, chunk_bytes: usize) -> Option<String> {
        let mut scanner = Scanner::new(Framing::Json);
        body.as_bytes().chunks(chunk_bytes).for_each(|chunk| scanner.feed(chunk));
        scanner.model().map(str::to_owned)
    }

    #[test]
    fn short_names_are_kept_as_json_means_them() {
        let long = format!(r#"{{"model":"{}"}}"#, "m".repeat(97));
        for (body, name) in [
            (r#"{"model":"gpt-4o-mini","usage":{}}"#, Some("gpt-4o-mini")),
            (r#"{"model":"meta\/llama\u002d3","usage":{}}"#, Some("meta/llama-3")),
            (r#"{"modelVersion":"gemini-2.5-pro"}"#, Some("gemini-2.5-pro")),
            (r#"{"message":{"model":"claude-x"}}"#, Some("claude-x")),
            (r#"{"model":""}"#, None),
            (r#"{"model":"a\u0000b"}"#, None),
            (r#"{"model":"\ud800"}"#, None),
            (r#"{"model":7}"#, None),
            (r#"{"model":"cut"#, None),
            (r#"{"choices":{"model":"other"}}"#, None),
            (&long, None),
        ] {
            for chunk_bytes in [1, 2, 5, 1000] {
                assert_eq!(model(body, chunk_bytes).as_deref(), name, "{body}");
            }
        }
    }
}
