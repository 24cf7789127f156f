//! JSON as it was sent, read member by member: every mistake knows where it is.

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::refusal::{Code, Refusal};

/// Of a member that is not known, so many characters are shown.
const NAME_CHARS_SHOWN: usize = 64;

/// A JSON object as a body has it.
pub(super) struct Input {
    text: Bytes,
    object: Map<String, Value>,
}

/// Where a value is, and the code of mistakes in it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// As in RFC 6901.
    pointer: String,
    code: Code,
}

/// A value, and where it is.
pub(super) struct Field<'a> {
    value: &'a Value,
    place: Place,
}

/// An object, and where it is.
pub(super) struct Object<'a> {
    members: &'a Map<String, Value>,
    place: Place,
}

impl Input {
    pub(super) fn parse(text: Bytes) -> Result<Self, Refusal> {
        match serde_json::from_slice(&text) {
            Ok(Value::Object(object)) => Ok(Self { text, object }),
            Ok(_) => Err(Refusal::at(Code::BadRequest, "", "the body must be a JSON object")),
            Err(error) => {
                // What was sent is not repeated: it may be anything.
                let (line, column) = (error.line(), error.column());
                let message = format!("the body is not JSON: see line {line}, column {column}");
                Err(Refusal::at(Code::BadRequest, "", message))
            }
        }
    }

    /// As it was sent.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The body's object; mistakes in it have this code.
    pub(super) fn object(&self, code: Code) -> Object<'_> {
        Object { members: &self.object, place: Place { pointer: String::new(), code } }
    }
}

impl Place {
    /// That what is here is wrong; `message` goes on after the pointer.
    pub(super) fn wrong(&self, message: &str) -> Refusal {
        Refusal::at(self.code, self.pointer.as_str(), format!("{} {message}", self.pointer))
    }

    fn below(&self, name: impl std::fmt::Display) -> Self {
        Self { pointer: format!("{}/{name}", self.pointer), code: self.code }
    }
}

impl<'a> Object<'a> {
    /// The member `name`; none where it is absent or null.
    pub(super) fn get(&self, name: &str) -> Option<Field<'a>> {
        let value = self.members.get(name).filter(|value| !value.is_null())?;
        Some(Field { value, place: self.place.below(name) })
    }

    /// The member `name`, or that its `meaning` is not said.
    pub(super) fn need(&self, name: &str, meaning: &str) -> Result<Field<'a>, Refusal> {
        self.get(name).ok_or_else(|| self.place.below(name).wrong(&format!("is missing: {meaning}")))
    }

    /// Fails unless all members are among `known`.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Refusal> {
        let Some(name) = self.members.keys().find(|name| !known.contains(&name.as_str())) else {
            return Ok(());
        };
        // RFC 6901, section 3. What was sent is shown, so not all of it.
        let name: String = name.chars().take(NAME_CHARS_SHOWN).collect();
        let place = self.place.below(name.replace('~', "~0").replace('/', "~1"));
        Err(place.wrong(&format!("is not known here; known are {}", known.join(", "))))
    }
}

impl<'a> Field<'a> {
    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// That it is wrong; `message` goes on after the pointer.
    pub(super) fn wrong(&self, message: &str) -> Refusal {
        self.place.wrong(message)
    }

    /// A text of 1 to `bytes_max` bytes.
    pub(super) fn text(&self, bytes_max: usize) -> Result<&'a str, Refusal> {
        let text = self.value.as_str().ok_or_else(|| self.wrong("must be a text"))?;
        if text.is_empty() || text.len() > bytes_max {
            return Err(self.wrong(&format!("must have 1 to {bytes_max} bytes")));
        }
        Ok(text)
    }

    pub(super) fn object(&self) -> Result<Object<'a>, Refusal> {
        let members = self.value.as_object().ok_or_else(|| self.wrong("must be an object"))?;
        Ok(Object { members, place: self.place.clone() })
    }

    /// The objects of a list of 1 to `max`.
    pub(super) fn objects(&self, max: usize) -> Result<Vec<Object<'a>>, Refusal> {
        let list = self.value.as_array().ok_or_else(|| self.wrong("must be a list"))?;
        if list.is_empty() || list.len() > max {
            return Err(self.wrong(&format!("must have 1 to {max} elements")));
        }
        let one = |(index, value)| Field { value, place: self.place.below(index) }.object();
        list.iter().enumerate().map(one).collect()
    }
}
