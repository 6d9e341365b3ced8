//! The second opinion: reads a file with saphyr-parser, which shares no code path with the splices, and compares meanings.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::value::Value;
use super::{EditError, MAX_DEPTH, MAX_NODES};

/// What every document of `text` means; documents without content are left out.
pub(super) fn read(text: &str) -> Result<Vec<Value>, EditError> {
    let mut reader = Reader { events: Parser::new_from_str(text), nodes: 0 };
    let mut documents = Vec::new();
    while let Some(event) = reader.next()? {
        match event {
            Event::Scalar(..) | Event::MappingStart(..) | Event::SequenceStart(..) | Event::Alias(_) => {
                documents.push(reader.value(event, 0)?);
            }
            _ => {}
        }
    }
    Ok(documents)
}

/// Checks that `text` means `wanted`, document by document.
pub(super) fn expect(text: &str, wanted: &[Value]) -> Result<(), EditError> {
    let found = read(text)?;
    if found == wanted { Ok(()) } else { Err(EditError::Disagreement) }
}

struct Reader<'t> {
    events: Parser<'t, saphyr_parser::StrInput<'t>>,
    nodes: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Option<Event<'t>>, EditError> {
        self.events
            .next()
            .transpose()
            .map(|next| next.map(|(event, _)| event))
            .map_err(|error| EditError::Syntax { message: error.to_string() })
    }

    fn inside(&mut self) -> Result<Event<'t>, EditError> {
        self.next()?.ok_or_else(|| EditError::Syntax { message: "the document ends early".to_owned() })
    }

    fn value(&mut self, event: Event<'t>, depth: usize) -> Result<Value, EditError> {
        self.nodes += 1;
        if depth > MAX_DEPTH {
            return Err(EditError::TooDeep);
        }
        if self.nodes > MAX_NODES {
            return Err(EditError::TooManyNodes);
        }
        match event {
            Event::Scalar(text, ScalarStyle::Plain, _, _) => Ok(Value::plain(&text)),
            Event::Scalar(text, ..) => Ok(Value::string(&text)),
            Event::Alias(anchor) => Ok(Value::Alias(anchor)),
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.inside()? {
                        Event::SequenceEnd => return Ok(Value::List(items)),
                        event => items.push(self.value(event, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(..) => self.map(depth),
            _ => Err(EditError::Disagreement),
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, EditError> {
        let mut entries = BTreeMap::new();
        loop {
            let key = match self.inside()? {
                Event::MappingEnd => return Ok(Value::Map(entries)),
                Event::Scalar(key, ..) => key.into_owned(),
                _ => return Err(EditError::Disagreement),
            };
            let event = self.inside()?;
            let value = self.value(event, depth + 1)?;
            if entries.insert(key, value).is_some() {
                return Err(EditError::Disagreement);
            }
        }
    }
}
