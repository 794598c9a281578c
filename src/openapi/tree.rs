//! A document as a tree. Members keep their order, so that what is written from it has the order that its author chose; whatever
//! stands there twice is refused, since two readers would see two documents.

use std::sync::Arc;

/// One value. Parts that an alias repeats are shared, not copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Null,
    Bool(bool),
    /// As it is written.
    Number(String),
    Text(String),
    List(Vec<Arc<Node>>),
    Object(Vec<(String, Arc<Node>)>),
}

impl Node {
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Self>> {
        self.members().iter().find(|(own, _)| own == name).map(|(_, node)| node)
    }

    #[must_use]
    pub fn members(&self) -> &[(String, Arc<Self>)] {
        match self {
            Self::Object(members) => members,
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::List(_) => &[],
        }
    }

    #[must_use]
    pub fn items(&self) -> &[Arc<Self>] {
        match self {
            Self::List(items) => items,
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::Object(_) => &[],
        }
    }

    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::List(_) | Self::Object(_) => None,
        }
    }

    /// A scalar as somebody would write it into a query.
    #[must_use]
    pub fn scalar(&self) -> Option<String> {
        match self {
            Self::Text(text) | Self::Number(text) => Some(text.clone()),
            Self::Bool(yes) => Some(yes.to_string()),
            Self::Null | Self::List(_) | Self::Object(_) => None,
        }
    }

    #[must_use]
    pub const fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// A place below, by a JSON pointer (RFC 6901) without the `#`.
    #[must_use]
    pub fn at<'n>(self: &'n Arc<Self>, pointer: &str) -> Option<&'n Arc<Self>> {
        let Some(rest) = pointer.strip_prefix('/') else {
            return pointer.is_empty().then_some(self);
        };
        rest.split('/').try_fold(self, |node, piece| {
            let name = piece.replace("~1", "/").replace("~0", "~");
            match &**node {
                Self::List(items) => items.get(name.parse::<usize>().ok()?),
                Self::Object(_) => node.get(&name),
                Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => None,
            }
        })
    }
}

/// The pointer of a member.
#[must_use]
pub fn below(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}
