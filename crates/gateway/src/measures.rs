//! What was seen of an exchange.

use tollgate_usage::{FieldReader, TokenUsage};

use crate::{
    admission::Needs,
    llm::{Answer, Owed},
};

/// What was seen of an exchange.
#[derive(Clone, Copy, Default)]
pub(crate) struct Measures<'a> {
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) model: Model<'a>,
    /// What the answer's body says where the route looks at it.
    pub(crate) fields: Option<&'a FieldReader>,
}

/// What was seen of a model.
#[derive(Clone, Copy, Default)]
pub(crate) enum Model<'a> {
    /// Nothing.
    #[default]
    Unseen,
    /// Its answer.
    Answer(&'a Answer),
    /// What it said in the midst of a conversation, and what is charged for that.
    Said { usage: &'a TokenUsage, model: Option<&'a str>, amounts: &'a Needs },
    /// The end of a conversation.
    Owed(&'a Owed),
}

impl<'a> Measures<'a> {
    pub(crate) fn of_model(model: Model<'a>) -> Self {
        Self { model, ..Self::default() }
    }

    /// What was seen of an answer that was read as it passed.
    pub(crate) fn of_answer(answer: Option<&'a Answer>) -> Self {
        let model = answer.map_or(Model::Unseen, Model::Answer);
        Self { model, fields: answer.and_then(Answer::fields), ..Self::default() }
    }
}

impl<'a> Model<'a> {
    pub(crate) fn answer(self) -> Option<&'a Answer> {
        match self {
            Self::Answer(answer) => Some(answer),
            Self::Unseen | Self::Said { .. } | Self::Owed(_) => None,
        }
    }
}
