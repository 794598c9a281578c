//! YAML 1.2 into a tree, from the parser's events. What an alias repeats is shared and counted: a few lines that stand for a
//! billion values are refused, whether or not anybody would walk through them.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::tree::Node;

/// Nesting, aliases included.
const DEPTH_MAX: usize = 128;
/// Values, those that aliases repeat included.
const NODES_MAX: usize = 2_000_000;
const ALIASES_MAX: usize = 10_000;

/// A value with what it comes to when every alias in it is written out.
#[derive(Clone)]
struct Built {
    node: Arc<Node>,
    nodes: usize,
    height: usize,
}

/// A list or object that is not at its end.
struct Open {
    anchor: usize,
    line: usize,
    nodes: usize,
    height: usize,
    content: Content,
}

enum Content {
    List(Vec<Arc<Node>>),
    Object { members: Vec<(String, Arc<Node>)>, seen: HashSet<String>, key: Option<String> },
}

#[derive(Default)]
struct Reading {
    open: Vec<Open>,
    anchors: HashMap<usize, Built>,
    aliases: usize,
    root: Option<Built>,
}

pub(super) fn read(text: &str) -> Result<Arc<Node>, String> {
    let mut parser = Parser::new_from_str(text);
    let mut reading = Reading::default();
    let mut documents = 0;
    while let Some(next) = parser.next_event() {
        let (event, span) = next.map_err(|error| format!("this is not YAML: line {}: {}", error.marker().line(), super::shown(error.info())))?;
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
            if documents > 1 {
                return Err(at(span, "a second document begins here; write one"));
            }
        }
        reading.take(event, span)?;
    }
    reading.root.map(|built| built.node).ok_or_else(|| "the document is empty".to_owned())
}

fn at(span: Span, what: &str) -> String {
    format!("line {}: {what}", span.start.line())
}

impl Reading {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), String> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => Ok(()),
            Event::Alias(anchor) => {
                self.aliases += 1;
                let Some(built) = self.anchors.get(&anchor).cloned() else {
                    return Err(at(span, "this alias stands within what it repeats"));
                };
                if self.aliases > ALIASES_MAX {
                    return Err(at(span, &format!("more than {ALIASES_MAX} aliases")));
                }
                self.value(built, span)
            }
            Event::Scalar(text, style, anchor, tag) => {
                let node = scalar(text, style, tag.as_deref()).map_err(|what| at(span, what))?;
                let built = Built { node: Arc::new(node), nodes: 1, height: 0 };
                self.remember(anchor, &built);
                self.value(built, span)
            }
            Event::SequenceStart(anchor, tag) => self.begin(anchor, tag, span, Content::List(Vec::new())),
            Event::MappingStart(anchor, tag) => {
                self.begin(anchor, tag, span, Content::Object { members: Vec::new(), seen: HashSet::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
        }
    }

    fn begin(&mut self, anchor: usize, tag: Option<Cow<'_, Tag>>, span: Span, content: Content) -> Result<(), String> {
        if tag.is_some_and(|tag| !(tag.is_yaml_core_schema() && ["seq", "map"].contains(&tag.suffix.as_str()))) {
            return Err(at(span, OTHER_TAG));
        }
        if matches!(self.open.last(), Some(Open { content: Content::Object { key: None, .. }, .. })) {
            return Err(at(span, "a list or object stands where a name should"));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(at(span, &format!("nested more than {DEPTH_MAX} deep")));
        }
        self.open.push(Open { anchor, line: span.start.line(), nodes: 1, height: 0, content });
        Ok(())
    }

    fn end(&mut self, span: Span) -> Result<(), String> {
        let Some(Open { anchor, line, nodes, height, content }) = self.open.pop() else { return Ok(()) };
        let node = match content {
            Content::List(items) => Node::List(items),
            Content::Object { members, key: None, .. } => Node::Object(members),
            Content::Object { key: Some(_), .. } => return Err(format!("line {line}: the last name has no value")),
        };
        let built = Built { node: Arc::new(node), nodes, height };
        self.remember(anchor, &built);
        self.value(built, span)
    }

    fn remember(&mut self, anchor: usize, built: &Built) {
        if anchor > 0 {
            self.anchors.insert(anchor, built.clone());
        }
    }

    fn value(&mut self, built: Built, span: Span) -> Result<(), String> {
        let depth = self.open.len();
        let Some(open) = self.open.last_mut() else {
            self.root = Some(built);
            return Ok(());
        };
        open.nodes = open.nodes.saturating_add(built.nodes);
        open.height = open.height.max(built.height + 1);
        if open.nodes > NODES_MAX {
            return Err(at(span, &format!("with its aliases this stands for more than {NODES_MAX} values")));
        }
        if depth + built.height > DEPTH_MAX {
            return Err(at(span, &format!("nested more than {DEPTH_MAX} deep")));
        }
        match &mut open.content {
            Content::List(items) => items.push(built.node),
            Content::Object { members, seen, key } => match key.take() {
                Some(name) => members.push((name, built.node)),
                None => {
                    let name = match &*built.node {
                        Node::Null => "null".to_owned(),
                        Node::Bool(_) | Node::Number(_) | Node::Text(_) | Node::List(_) | Node::Object(_) => {
                            built.node.scalar().ok_or_else(|| at(span, "a list or object stands where a name should"))?
                        }
                    };
                    if name == "<<" {
                        return Err(at(span, "`<<` is of YAML 1.1; write the members out"));
                    }
                    if !seen.insert(name.clone()) {
                        return Err(at(span, &format!("the member `{}` stands there twice", super::shown(&name))));
                    }
                    *key = Some(name);
                }
            },
        }
        Ok(())
    }
}

const OTHER_TAG: &str = "this tag is not of YAML's core schema";

/// YAML's core schema: what is quoted is text.
fn scalar(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Result<Node, &'static str> {
    let is_text = match tag {
        None => style != ScalarStyle::Plain,
        Some(tag) if tag.is_yaml_core_schema() && ["str", "int", "float", "bool", "null"].contains(&tag.suffix.as_str()) => {
            tag.suffix == "str" || style != ScalarStyle::Plain
        }
        Some(_) => return Err(OTHER_TAG),
    };
    Ok(match &*text {
        _ if is_text => Node::Text(text.into_owned()),
        "" | "~" | "null" | "Null" | "NULL" => Node::Null,
        "true" | "True" | "TRUE" => Node::Bool(true),
        "false" | "False" | "FALSE" => Node::Bool(false),
        plain if is_number(plain) => Node::Number(plain.to_owned()),
        _ => Node::Text(text.into_owned()),
    })
}

fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') && unsigned.contains(|c: char| c.is_ascii_digit()) && text.parse::<f64>().is_ok()
}
