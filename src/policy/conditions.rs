//! The conditions of a policy as they are written: each `when` and `unless`, and each operand of `&&`, `||`, `!` and `if` inside,
//! with its place. Cedar's syntax trees keep no places, so the text is taken apart here; what a condition says for a request
//! is evaluated by Cedar itself, from that text.

use std::ops::Range;

use cedar_policy::{Entities, EvalResult, Expression, Request, eval_expression};

use super::rules::Written;
use super::tokens::{Kind, Token, tokens};

/// One `when` or `unless`.
#[derive(Debug)]
pub(super) struct Clause {
    is_when: bool,
    node: Node,
}

#[derive(Debug)]
enum Node {
    /// No connective: Cedar evaluates it.
    Part(usize, Expression),
    All(usize, Vec<Self>),
    Any(usize, Vec<Self>),
    /// Seen both ways exactly when its operand is, so it is no condition of its own.
    Not(Box<Self>),
    If(usize, Box<[Self; 3]>),
}

/// All conditions of a statement, in the order of the text: a connective before its operands.
#[derive(Debug)]
pub(super) struct Conditions {
    pub(super) spans: Vec<Range<usize>>,
    clauses: Vec<Clause>,
}

/// What a condition was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    True,
    False,
    Error,
}

impl Conditions {
    /// `None` when the text cannot be taken apart.
    pub(super) fn of(written: &Written) -> Option<Self> {
        let all: Vec<Token<'_>> = tokens(&written.text).into_iter().filter(|t| t.kind != Kind::Comment && t.at >= written.start).collect();
        let mut reader = Reader { text: &written.text, spans: Vec::new() };
        let mut clauses = Vec::new();
        let mut rest = all.as_slice();
        while let Some((first, after)) = rest.split_first() {
            let opens = after.first().is_some_and(|next| next.is("{"));
            let is_when = first.is("when");
            rest = after;
            if (is_when || first.is("unless")) && opens {
                let inside = inside(after)?;
                clauses.push(Clause { is_when, node: reader.node(inside)? });
                rest = after.get(inside.len() + 2..)?;
            }
        }
        Some(Self { spans: reader.spans, clauses })
    }

    /// Evaluates in Cedar's order and tells of every condition that was reached; the answer is the policy's.
    pub(super) fn walk(&self, request: &Request, entities: &Entities, tell: &mut dyn FnMut(usize, Truth)) -> Truth {
        let mut walk = Walk { request, entities, tell };
        for clause in &self.clauses {
            match (walk.node(&clause.node), clause.is_when) {
                (Truth::Error, _) => return Truth::Error,
                (Truth::True, true) | (Truth::False, false) => {}
                (Truth::True, false) | (Truth::False, true) => return Truth::False,
            }
        }
        Truth::True
    }
}

struct Walk<'a> {
    request: &'a Request,
    entities: &'a Entities,
    tell: &'a mut dyn FnMut(usize, Truth),
}

impl Walk<'_> {
    fn node(&mut self, node: &Node) -> Truth {
        let (at, truth) = match node {
            Node::Part(at, expression) => (*at, self.part(expression)),
            Node::All(at, parts) => (*at, self.until(parts, Truth::True)),
            Node::Any(at, parts) => (*at, self.until(parts, Truth::False)),
            Node::Not(operand) => {
                return match self.node(operand) {
                    Truth::True => Truth::False,
                    Truth::False => Truth::True,
                    Truth::Error => Truth::Error,
                };
            }
            Node::If(at, parts) => {
                let [condition, then, otherwise] = &**parts;
                let truth = match self.node(condition) {
                    Truth::True => self.node(then),
                    Truth::False => self.node(otherwise),
                    Truth::Error => Truth::Error,
                };
                (*at, truth)
            }
        };
        (self.tell)(at, truth);
        truth
    }

    /// The first operand that is not `onwards` settles it.
    fn until(&mut self, parts: &[Node], onwards: Truth) -> Truth {
        parts.iter().map(|part| self.node(part)).find(|truth| *truth != onwards).unwrap_or(onwards)
    }

    fn part(&self, expression: &Expression) -> Truth {
        match eval_expression(self.request, self.entities, expression) {
            Ok(EvalResult::Bool(true)) => Truth::True,
            Ok(EvalResult::Bool(false)) => Truth::False,
            Ok(
                EvalResult::Long(_)
                | EvalResult::String(_)
                | EvalResult::EntityUid(_)
                | EvalResult::Set(_)
                | EvalResult::Record(_)
                | EvalResult::ExtensionValue(_),
            )
            | Err(_) => Truth::Error,
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    spans: Vec<Range<usize>>,
}

impl Reader<'_> {
    fn node(&mut self, tokens: &[Token<'_>]) -> Option<Node> {
        let (first, last) = (tokens.first()?, tokens.last()?);
        if first.is("(") && inside(tokens)?.len() + 2 == tokens.len() {
            return self.node(inside(tokens)?);
        }
        if let Some(operand) = negated(tokens) {
            return self.node(operand).map(|operand| Node::Not(Box::new(operand)));
        }
        let at = self.spans.len();
        self.spans.push(first.at..last.end());
        if first.is("if") {
            let (condition, then, otherwise) = branches(tokens)?;
            return Some(Node::If(at, Box::new([self.node(condition)?, self.node(then)?, self.node(otherwise)?])));
        }
        for (sign, make) in [("||", Node::Any as fn(usize, Vec<Node>) -> Node), ("&&", Node::All)] {
            let operands = split(tokens, sign)?;
            if operands.len() > 1 {
                return operands.into_iter().map(|operand| self.node(operand)).collect::<Option<_>>().map(|operands| make(at, operands));
            }
        }
        self.text.get(first.at..last.end())?.parse().ok().map(|expression| Node::Part(at, expression))
    }
}

/// Tokens with the depth of brackets at which they stand; a bracket itself stands outside of what it holds.
fn depths<'a, 't>(tokens: &'a [Token<'t>]) -> impl Iterator<Item = (usize, usize, &'a Token<'t>)> {
    let mut depth = 0_usize;
    tokens.iter().enumerate().map(move |(at, token)| {
        let closes = [")", "]", "}"].iter().any(|sign| token.is(sign));
        depth = depth.saturating_sub(usize::from(closes));
        let outside = depth;
        depth += usize::from(["(", "[", "{"].iter().any(|sign| token.is(sign)));
        (at, outside, token)
    })
}

/// What stands between the bracket that comes first and the one that closes it.
fn inside<'a, 't>(tokens: &'a [Token<'t>]) -> Option<&'a [Token<'t>]> {
    let (end, ..) = depths(tokens).skip(1).find(|(_, depth, _)| *depth == 0)?;
    tokens.get(1..end)
}

fn split<'a, 't>(tokens: &'a [Token<'t>], sign: &str) -> Option<Vec<&'a [Token<'t>]>> {
    let cuts = depths(tokens).filter(|(_, depth, token)| *depth == 0 && token.is(sign)).map(|(at, ..)| at);
    let (mut parts, mut from) = (Vec::new(), 0);
    for cut in cuts.chain([tokens.len()]) {
        parts.push(tokens.get(from..cut)?);
        from = cut + 1;
    }
    Some(parts)
}

/// The operand of a `!` that stands before all of the rest.
fn negated<'a, 't>(tokens: &'a [Token<'t>]) -> Option<&'a [Token<'t>]> {
    const LOOSER: [&str; 15] = ["&&", "||", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "in", "has", "like", "is"];
    let operand = tokens.split_first().filter(|(first, _)| first.is("!")).map(|(_, rest)| rest)?;
    let reaches_on = depths(operand).any(|(_, depth, token)| depth == 0 && LOOSER.iter().any(|sign| token.is(sign)));
    (!reaches_on).then_some(operand)
}

type Branches<'a, 't> = (&'a [Token<'t>], &'a [Token<'t>], &'a [Token<'t>]);

fn branches<'a, 't>(tokens: &'a [Token<'t>]) -> Option<Branches<'a, 't>> {
    let then = own(tokens, 1, "then")?;
    let otherwise = own(tokens, then + 1, "else")?;
    Some((tokens.get(1..then)?, tokens.get(then + 1..otherwise)?, tokens.get(otherwise + 1..)?))
}

/// Where the word stands that belongs to this `if` and to none inside.
fn own(tokens: &[Token<'_>], from: usize, word: &str) -> Option<usize> {
    let mut inner = 0_usize;
    for (at, _, token) in depths(tokens).filter(|(at, depth, _)| *at >= from && *depth == 0) {
        if token.is("if") {
            inner += 1;
        } else if token.is(word) {
            if inner == 0 {
                return Some(at);
            }
            inner -= 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use cedar_policy::{Authorizer, Context, Policy, PolicySet};
    use proptest::prelude::*;

    use super::*;

    /// The conditions of a policy with these clauses, as written; a letter stands for a fact.
    fn conditions(clauses: &str) -> Vec<String> {
        let mut facts = clauses.to_owned();
        for token in tokens(clauses).into_iter().rev().filter(|token| token.kind == Kind::Word && token.text.len() == 1) {
            facts.insert_str(token.at, "context.");
        }
        let text = format!("@when(\"{{\") permit (principal, action in [Action::\"a\"], resource) {facts};");
        let found = Conditions::of(&Written::alone(&text)).unwrap();
        found.spans.into_iter().map(|span| text.get(span).unwrap().replace("context.", "")).collect()
    }

    #[test]
    fn every_operand_is_a_condition_with_its_text() {
        assert_eq!(conditions(""), Vec::<String>::new());
        assert_eq!(conditions("when { a }"), ["a"]);
        assert_eq!(
            conditions("when { a && (b || !c) && d } unless { e == \"} || &&\" }"),
            ["a && (b || !c) && d", "a", "b || !c", "b", "c", "d", "e == \"} || &&\""]
        );
        assert_eq!(
            conditions("when { !(a || b) || c.contains(d && e) }"),
            ["!(a || b) || c.contains(d && e)", "a || b", "a", "b", "c.contains(d && e)"]
        );
        assert_eq!(conditions("when { !a == b } unless { !!a }"), ["!a == b", "a"], "`!` binds more closely than `==`");
        assert_eq!(conditions("when { (a || b) == (c) // d && e\n }"), ["(a || b) == (c)"]);
        assert_eq!(
            conditions("when { if if a then b else c then d && e else if f then g else h }"),
            [
                "if if a then b else c then d && e else if f then g else h",
                "if a then b else c",
                "a",
                "b",
                "c",
                "d && e",
                "d",
                "e",
                "if f then g else h",
                "f",
                "g",
                "h"
            ]
        );
    }

    #[derive(Clone, Debug)]
    enum Tree {
        Leaf(&'static str),
        Not(Box<Tree>),
        All(Vec<Tree>),
        Any(Vec<Tree>),
        If(Box<[Tree; 3]>),
    }

    impl Tree {
        fn text(&self) -> String {
            let joined = |parts: &[Self], sign: &str| parts.iter().map(|part| format!("({})", part.text())).collect::<Vec<_>>().join(sign);
            match self {
                Self::Leaf(text) => (*text).to_owned(),
                Self::Not(operand) => format!("!({})", operand.text()),
                Self::All(parts) => joined(parts, " && "),
                Self::Any(parts) => joined(parts, "||"),
                Self::If(parts) => {
                    let [condition, then, otherwise] = &**parts;
                    format!("if {} then {} else {}", condition.text(), then.text(), otherwise.text())
                }
            }
        }
    }

    fn trees() -> impl Strategy<Value = Tree> {
        let leaves =
            ["context.a", "!context.b", "context.a != context.b", "context.none", "context has none", "!context.a == context.b", "true", "1 < 2"];
        let leaf = prop::sample::select(leaves.to_vec()).prop_map(Tree::Leaf);
        leaf.prop_recursive(4, 24, 3, |inner| {
            prop_oneof![
                inner.clone().prop_map(|tree| Tree::Not(Box::new(tree))),
                prop::collection::vec(inner.clone(), 2..4).prop_map(Tree::All),
                prop::collection::vec(inner.clone(), 2..4).prop_map(Tree::Any),
                [inner.clone(), inner.clone(), inner].prop_map(|parts| Tree::If(Box::new(parts))),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_conditions_add_up_to_what_cedar_says(when in trees(), unless in trees(), a in any::<bool>(), b in any::<bool>()) {
            let text = format!("permit (principal, action, resource) when {{ {} }} unless {{ {} }};", when.text(), unless.text());
            let found = Conditions::of(&Written::alone(&text)).unwrap();
            let context = Context::from_json_value(serde_json::json!({ "a": a, "b": b }), None).unwrap();
            let uid = || "X::\"x\"".parse().unwrap();
            let request = Request::new(uid(), uid(), uid(), context, None).unwrap();
            let set = PolicySet::from_policies([Policy::parse(None, &text).unwrap()]).unwrap();
            let response = Authorizer::new().is_authorized(&request, &set, &Entities::empty());
            let by_cedar = if response.diagnostics().errors().next().is_some() {
                Truth::Error
            } else if response.diagnostics().reason().next().is_some() {
                Truth::True
            } else {
                Truth::False
            };
            let mut told = vec![None; found.spans.len()];
            let walked = found.walk(&request, &Entities::empty(), &mut |at, truth| told[at] = Some(truth));
            prop_assert_eq!(walked, by_cedar, "{}", text);
            prop_assert!(told.iter().any(Option::is_some));
        }
    }
}
