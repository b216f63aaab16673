//! YAML text to a tree whose nodes know their lines. Scalars keep their text: whether `7880` is a number or a string is
//! decided by the key that it belongs to.

use std::collections::HashMap;
use std::iter::Peekable;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use crate::notice::{ConfigError, Problem};

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) line: u32,
    pub(crate) value: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    Scalar(String),
    List(Vec<Node>),
    /// In the order of the file.
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) line: u32,
    pub(crate) node: Node,
}

/// Nesting and size of a configuration are small; aliases could multiply it.
const DEPTH_MAX: u32 = 32;
const NODES_MAX: usize = 100_000;

/// The first document; an empty text is `Null`.
pub(crate) fn parse(text: &str) -> Result<Node, ConfigError> {
    let mut builder = Builder { events: Parser::new_from_str(text).peekable(), anchors: HashMap::new(), nodes: 0 };
    builder.document().map_err(ConfigError::one)
}

struct Builder<'a> {
    events: Peekable<Parser<'a, StrInput<'a>>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'a> Builder<'a> {
    fn document(&mut self) -> Result<Node, Problem> {
        loop {
            match self.events.peek() {
                None | Some(Ok((Event::StreamEnd, _))) => return Ok(Node { line: 1, value: Value::Null }),
                Some(Ok((Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _))) => {
                    self.next()?;
                }
                Some(_) => return self.node(0),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Problem> {
        match self.events.next() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let line = u32::try_from(error.marker().line()).ok();
                Err(Problem::new(line, format!("not YAML: {}", error.info()), "check indentation, colons and quotes"))
            }
            None => Err(ended(1)),
        }
    }

    fn node(&mut self, depth: u32) -> Result<Node, Problem> {
        let (event, span) = self.next()?;
        let line = u32::try_from(span.start.line()).unwrap_or(u32::MAX);
        self.nodes += 1;
        if depth > DEPTH_MAX || self.nodes > NODES_MAX {
            return Err(Problem::new(
                Some(line),
                "too large or nested too deeply",
                "a configuration has a few hundred lines",
            ));
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => (scalar(text.into_owned(), style), anchor),
            Event::SequenceStart(anchor, _) => (self.list(depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.map(depth)?, anchor),
            Event::Alias(anchor) => {
                let node = self.anchors.get(&anchor).cloned().ok_or_else(|| ended(line))?;
                self.nodes = self.nodes.saturating_add(count(&node));
                return Ok(node);
            }
            _ => return Err(ended(line)),
        };
        let node = Node { line, value };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: u32) -> Result<Value, Problem> {
        let mut items = Vec::new();
        while !matches!(self.events.peek(), Some(Ok((Event::SequenceEnd, _)))) {
            items.push(self.node(depth + 1)?);
        }
        self.next()?;
        Ok(Value::List(items))
    }

    fn map(&mut self, depth: u32) -> Result<Value, Problem> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut seen = HashMap::new();
        while !matches!(self.events.peek(), Some(Ok((Event::MappingEnd, _)))) {
            let key = self.node(depth + 1)?;
            let line = key.line;
            let Value::Scalar(key) = key.value else {
                return Err(Problem::new(Some(line), "a key that is no text", "write `key: value`"));
            };
            if let Some(first) = seen.insert(key.clone(), line) {
                let text = format!("{key} stands here and in line {first}");
                return Err(Problem::new(Some(line), text, "keep one of them"));
            }
            entries.push(Entry { key, line, node: self.node(depth + 1)? });
        }
        self.next()?;
        Ok(Value::Map(entries))
    }
}

fn count(node: &Node) -> usize {
    match &node.value {
        Value::Null | Value::Scalar(_) => 1,
        Value::List(items) => items.iter().map(count).sum(),
        Value::Map(entries) => entries.iter().map(|entry| count(&entry.node)).sum(),
    }
}

fn scalar(text: String, style: ScalarStyle) -> Value {
    let plain = style == ScalarStyle::Plain;
    if plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL") {
        Value::Null
    } else {
        Value::Scalar(text)
    }
}

fn ended(line: u32) -> Problem {
    Problem::new(Some(line), "the YAML ends in the middle of a value", "complete it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_the_file() {
        let node = parse("# comment\na: 1\nb:\n  - x\n  - y: z\n").unwrap();
        let Value::Map(entries) = node.value else { panic!() };
        assert_eq!((entries[0].line, entries[1].line), (2, 3));
        let Value::List(items) = &entries[1].node.value else { panic!() };
        assert_eq!((items[0].line, items[1].line), (4, 5));
    }

    #[test]
    fn broken_yaml_names_its_line() {
        let error = parse("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(error.problems[0].line >= Some(2), "{error}");
        assert!(parse("a: 1\na: 2\n").unwrap_err().to_string().contains("line 2"));
    }

    #[test]
    fn aliases_cannot_multiply_the_tree() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..12 {
            let list = vec![format!("*a{}", i - 1); 10].join(", ");
            text.push_str(&format!("a{i}: &a{i} [{list}]\n"));
        }
        assert!(parse(&text).is_err());
    }
}
