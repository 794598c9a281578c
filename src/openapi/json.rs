//! JSON into a tree. serde_json bounds the depth at 128 and knows the escapes; it would keep the last of two equal members.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};

use super::tree::Node;

pub(super) fn read(text: &str) -> Result<Arc<Node>, String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let node = Reading.deserialize(&mut reader).and_then(|node| reader.end().map(|()| node));
    node.map(Arc::new).map_err(|error| format!("this is not JSON: {error}"))
}

struct Reading;

impl<'de> DeserializeSeed<'de> for Reading {
    type Value = Node;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reading {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("json")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Reading)? {
            list.push(Arc::new(item));
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let mut seen = std::collections::HashSet::new();
        let mut found = Vec::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(Reading)?;
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom(format!("the member `{}` stands there twice", super::shown(&name))));
            }
            found.push((name, Arc::new(value)));
        }
        Ok(Node::Object(found))
    }
}
