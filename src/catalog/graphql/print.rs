//! The document that goes upstream, written anew: one operation without fragments, of what was found in the schema and is declared.
//! All values are variables, so that the text of a query is the same whoever is asked for, and the upstream may keep what it worked out.

use super::select::{Node, TYPENAME};
use super::values::Slot;

/// A selection to be written.
#[derive(Clone, Debug)]
pub(super) enum Printed {
    /// Arguments each with its variable.
    Field { key: String, name: String, args: Vec<(String, String)>, children: Vec<Printed> },
    /// `... on Type`
    On { of: String, children: Vec<Printed> },
}

impl Printed {
    pub(super) fn of(node: &Node, children: Vec<Self>) -> Self {
        Self::Field { key: node.key.clone(), name: node.name.clone(), args: Vec::new(), children }
    }

    pub(super) fn typename(key: &str) -> Self {
        Self::Field { key: key.to_owned(), name: TYPENAME.to_owned(), args: Vec::new(), children: Vec::new() }
    }
}

/// `query Name($v1:ID!){a:customer(id:$v1){name}}`
pub(super) fn document(name: Option<&str>, slots: &[Slot], selections: &[Printed]) -> String {
    let mut out = String::from("query");
    if let Some(name) = name {
        out.push(' ');
        out.push_str(name);
    }
    if !slots.is_empty() {
        let variables: Vec<String> = slots.iter().map(|slot| format!("${}:{}", slot.variable, slot.of)).collect();
        out.push('(');
        out.push_str(&variables.join(","));
        out.push(')');
    }
    set(&mut out, selections);
    out
}

fn set(out: &mut String, selections: &[Printed]) {
    out.push('{');
    for (n, selection) in selections.iter().enumerate() {
        if n > 0 {
            out.push(' ');
        }
        match selection {
            Printed::Field { key, name, args, children } => {
                if key != name {
                    out.push_str(key);
                    out.push(':');
                }
                out.push_str(name);
                if !args.is_empty() {
                    let args: Vec<String> = args.iter().map(|(arg, variable)| format!("{arg}:${variable}")).collect();
                    out.push('(');
                    out.push_str(&args.join(","));
                    out.push(')');
                }
                if !children.is_empty() {
                    set(out, children);
                }
            }
            Printed::On { of, children } => {
                out.push_str("... on ");
                out.push_str(of);
                set(out, children);
            }
        }
    }
    out.push('}');
}
