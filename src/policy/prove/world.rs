//! The catalogue as a Cedar condition: who is there, in which department and role, which category is whose, which purpose
//! stands below which, which agent may be sent to do what. The solver knows no entities of its own accord; with this condition it speaks of those that are.
//!
//! INVARIANT: every loaded entity meets the condition, so that nothing that can happen is left out. [`World::of`] has
//! Cedar itself judge it; a condition that said less than the catalogue would only make the solver's counterexamples
//! fail when they are tried.

use std::collections::BTreeSet;

use cedar_policy::{EntityTypeName, EntityUid, EvalResult, Expression, Policy, PolicyId, PolicySet, Request, eval_expression};

use super::super::Policies;
use super::Trouble;

/// For each app and agent, what forbids every request but those that it could make in the loaded catalogue. One by one, since
/// the solver is faster with many small worlds than with a large one.
#[derive(Debug)]
pub(super) struct World(Vec<(EntityUid, Policy)>);

const NAME: &str = "consentry-world";

/// Of agents it is always said for whom they call, and for an employee is said by the employee.
const BEHALF: &str = r#"context has behalf &&
(if context.behalf == Behalf::"employee" then context has employee else true) &&
(if context.behalf == Behalf::"nobody" then !(context has employee) else true)"#;

/// What the gateway counts with.
fn counted(number: &str) -> String {
    format!("0 <= context.{number} && context.{number} <= {}", u32::MAX)
}

impl World {
    /// `read` are the policies that are asked about: attributes that none of them names are left out.
    pub(super) fn of(policies: &Policies, read: &str, sample: &Request) -> Result<Self, Trouble> {
        let rows = Rows { policies, read };
        let (principals, resources) = (rows.any_of("principal", &["Application", "Agent"]), rows.any_of("resource", &["Category"]));
        let purposes = rows.any_of("context.purpose", &["Purpose"]);
        let roles: Vec<String> = rows.of_type("Role").map(|role| role.to_string()).collect();
        let staff = format!("(if context has employee then [{}].containsAll(context.employee.roles) else true)", roles.join(", "));
        let tasks = rows.any_of("context.task", &["Task"]);
        rows.check(&principals, &resources, &purposes, &tasks, sample)?;
        let numbers = ["records", "customers"].map(|number| format!("(if context has {number} then {} else true)", counted(number)));
        let others = [vec![resources, purposes], if roles.is_empty() { Vec::new() } else { vec![staff] }, numbers.to_vec()].concat().join(" && ");
        let has_tasks = rows.of_type("Task").next().is_some();
        let mandate = |uid: &EntityUid| match (uid.type_name().to_string() == "Agent", has_tasks) {
            (true, true) => format!("{BEHALF} && (if context has task then principal.tasks.contains(context.task) && {tasks} else true)"),
            (true, false) => format!("{BEHALF} && !(context has task)"),
            (false, _) => "!(context has behalf) && !(context has task)".to_owned(),
        };
        let alone = |uid: EntityUid| {
            let text = format!("forbid (principal, action, resource) unless {{ {} && {} && {others} }};", rows.row("principal", &uid), mandate(&uid));
            let policy = Policy::parse(Some(PolicyId::new(NAME)), text).map_err(|e| Trouble::broken("the catalogue as a condition", &e))?;
            Ok((uid, policy))
        };
        ["Application", "Agent"].into_iter().flat_map(|kind| rows.of_type(kind)).map(alone).collect::<Result<_, _>>().map(Self)
    }

    /// The same answers as `set`, as far as what one app of this type may ask; a deny beyond. One set an app.
    pub(super) fn within(&self, set: &PolicySet, kind: &EntityTypeName) -> Result<Vec<PolicySet>, Trouble> {
        let alone = |(_, world): &(EntityUid, Policy)| {
            let mut set = set.clone();
            set.add(world.clone()).map_err(|e| Trouble::broken("the catalogue as a condition", &e))?;
            Ok(set)
        };
        self.0.iter().filter(|(uid, _)| uid.type_name() == kind).map(alone).collect()
    }
}

struct Rows<'a> {
    policies: &'a Policies,
    read: &'a str,
}

impl Rows<'_> {
    fn of_type(&self, kind: &str) -> impl Iterator<Item = EntityUid> {
        let named: BTreeSet<EntityUid> =
            self.policies.entities.iter().map(cedar_policy::Entity::uid).filter(|uid| uid.type_name().to_string() == kind).collect();
        named.into_iter()
    }

    /// One row for each entity of these types, any of which may be it.
    fn any_of(&self, variable: &str, kinds: &[&str]) -> String {
        let rows: Vec<String> = kinds.iter().flat_map(|kind| self.of_type(kind)).map(|uid| self.row(variable, &uid)).collect();
        format!("({})", rows.join(" || "))
    }

    fn row(&self, variable: &str, uid: &EntityUid) -> String {
        // A variable of another type must not be compared with this one.
        let is = if variable == "principal" { format!("principal is {} && ", uid.type_name()) } else { String::new() };
        let row = [vec![format!("{is}{variable} == {uid}")], self.groups(variable, uid), self.attributes(variable, uid)].concat();
        format!("({})", row.join(" && "))
    }

    fn groups(&self, variable: &str, uid: &EntityUid) -> Vec<String> {
        let kinds: &[&str] = match variable {
            "principal" => &["Department", "Role"],
            "resource" => &["CategoryGroup"],
            "context.purpose" => &["Purpose"],
            _ => &[],
        };
        let is_in = |group: EntityUid| {
            let is_in = self.policies.entities.is_ancestor_of(&group, uid);
            if is_in { format!("{variable} in {group}") } else { format!("!({variable} in {group})") }
        };
        kinds.iter().flat_map(|kind| self.of_type(kind)).filter(|group| group != uid).map(is_in).collect()
    }

    fn attributes(&self, variable: &str, uid: &EntityUid) -> Vec<String> {
        let same_type = self.policies.entities.iter().filter(|entity| entity.uid().type_name() == uid.type_name());
        let names: BTreeSet<String> = same_type.flat_map(|entity| entity.attrs().map(|(name, _)| name.to_owned())).collect();
        let entity = self.policies.entities.get(uid);
        let value = |name: &str| entity.and_then(|entity| entity.attr(name)).and_then(Result::ok);
        let row = |name: &String| match value(name) {
            None => format!("!({variable} has {name})"),
            Some(EvalResult::Set(set)) if set.iter().next().is_none() => format!("{variable} has {name} && {variable}.{name}.isEmpty()"),
            Some(value) => format!("{variable} has {name} && {variable}.{name} == {value}"),
        };
        names.iter().filter(|name| self.read.contains(name.as_str())).map(row).collect()
    }

    /// Every entity is put into the place of its variable, and its part of the condition must hold.
    fn check(&self, principals: &str, resources: &str, purposes: &str, tasks: &str, sample: &Request) -> Result<(), Trouble> {
        let expression = |text: &str| text.parse::<Expression>().map_err(|e| Trouble::broken("the catalogue as a condition", &e));
        let parts = [expression(principals)?, expression(resources)?, expression(&purposes.replace("context.purpose", "resource"))?];
        let [principals, resources, purposes] = parts;
        let (Some(principal), Some(action), Some(resource)) = (sample.principal(), sample.action(), sample.resource()) else {
            return Err(Trouble::Broken("the sample request is not complete".to_owned()));
        };
        let context = cedar_policy::Context::empty;
        let ask = |principal: &EntityUid, resource: &EntityUid, part: &Expression| {
            let request = Request::new(principal.clone(), action.clone(), resource.clone(), context(), None);
            let held = request.ok().and_then(|request| eval_expression(&request, &self.policies.entities, part).ok());
            if held == Some(EvalResult::Bool(true)) {
                return Ok(());
            }
            Err(Trouble::Broken(format!("{principal} and {resource} do not meet the condition that was made of the catalogue")))
        };
        for principal in self.of_type("Application").chain(self.of_type("Agent")) {
            ask(&principal, resource, &principals)?;
        }
        for category in self.of_type("Category") {
            ask(principal, &category, &resources)?;
        }
        for purpose in self.of_type("Purpose") {
            ask(principal, &purpose, &purposes)?;
        }
        for task in self.of_type("Task") {
            ask(principal, &task, &expression(&tasks.replace("context.task", "resource"))?)?;
        }
        Ok(())
    }
}
