//! Governed: report mode, in which an API is taken on. For some weeks at most, members that no shape maps yet go out as well, and the
//! log says so. Everything that is mapped is enforced, and what is not mapped goes out with an object of which
//! everything is permitted to this caller, or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::read::{Table, Value};
use crate::catalog::{Api, Catalog, ReportMode};
use crate::model::{Field, FieldRule, PathPattern, ResponsePlan, Shape, ShapeName, Shapes, Step};

/// `mode`, and `report` with it. `Some(None)`: enforced.
pub(super) fn read(table: &mut Table<'_>) -> Option<Option<ReportMode>> {
    let mode = table.opt("mode");
    let report = table.opt("report");
    let is_report = mode.map_or(Some(false), |v| v.word("mode", &[("enforce", false), ("report", true)]))?;
    match (report, is_report) {
        (None, false) => Some(None),
        (Some(report), false) => {
            report.error_help("`report` says nothing while the API is enforced", "add `mode = \"report\"`, or remove it");
            None
        }
        (None, true) => {
            mode?.error_help(
                "report mode needs an end, a reason and an approval",
                "add `report = { until = 2026-01-31, reason = \"…\", approved = \"…\" }`",
            );
            None
        }
        (Some(report), true) => terms(report).map(Some),
    }
}

fn terms(value: Value<'_>) -> Option<ReportMode> {
    let mut table = value.table("`report`")?;
    let until = table.need("until").and_then(Value::end);
    let reason = table.need("reason").and_then(Value::str);
    let approved = table.need("approved").and_then(Value::str);
    table.finish();
    Some(ReportMode { until: until?, reason: reason?.to_owned(), approved: approved?.to_owned(), plans: BTreeMap::new() })
}

impl Value<'_> {
    /// A day, which counts to its end in UTC, or a time with its offset.
    fn end(self) -> Option<Timestamp> {
        let Some(text) = self.datetime() else {
            self.error_help("this is not a date", "write it without quotes: `2026-01-31`");
            return None;
        };
        let end_of = |day: jiff::civil::Date| day.tomorrow().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
        let found = text.parse::<Timestamp>().ok().or_else(|| if text.contains([':', 'T']) { None } else { end_of(text.parse().ok()?) });
        if found.is_none() {
            self.error_help("this is not a day", "write `2026-01-31`, or a time with its offset: `2026-01-31T12:00:00Z`");
        }
        found
    }
}

/// Gives each API in report mode its plans, by shapes of their own.
pub(super) fn plan(catalog: &mut Catalog) {
    let mut shapes = catalog.shapes.clone();
    // What the gateway adds must not pass from the upstream, too.
    for plan in catalog.apis.iter().flat_map(|api| &api.routes).map(|route| &route.response) {
        if let (ResponsePlan::Object { at, shape, .. }, Some(name)) = (plan, plan.withheld_as())
            && at.0.is_empty()
            && let Some(shape) = shapes.get_mut(&shape.name)
        {
            Arc::make_mut(shape).hidden.push(PathPattern(vec![Step::Member(name.to_owned())]));
        }
    }
    for api in &mut catalog.apis {
        let Some(mut report) = api.report.clone() else { continue };
        let planned = api.routes.iter().filter_map(|route| {
            let shape = route.response.shape()?;
            let shape = loosened(shape.name, &shapes, &mut catalog.shapes)?;
            let plan = route.response.by_shape(&shape);
            let bare = route.bare.as_ref().map(|_| ((route.key, true), plan.bare()));
            Some([Some(((route.key, false), plan)), bare])
        });
        report.plans = planned.flatten().flatten().collect::<BTreeMap<_, ResponsePlan>>();
        *api = Arc::new(Api { report: Some(report), ..Api::clone(api) });
    }
}

/// The shape of report mode, with those that it embeds.
fn loosened(name: ShapeName, shapes: &Shapes, found: &mut Shapes) -> Option<Arc<Shape>> {
    let loose = ShapeName::intern(&format!("{name} (report mode)"));
    // A file may declare any name; what stands there is no shape of report mode, so the route stays as it is.
    if shapes.contains_key(&loose) {
        return None;
    }
    if let Some(known) = found.get(&loose) {
        return Some(Arc::clone(known));
    }
    let strict = shapes.get(&name)?;
    let embedded = |field: &Field| match field.rule {
        FieldRule::Embed(other) => Some(Field { rule: FieldRule::Embed(loosened(other, shapes, found)?.name), ..field.clone() }),
        FieldRule::Category { .. } => Some(field.clone()),
    };
    let fields: Vec<Field> = strict.fields.iter().map(embedded).collect::<Option<_>>()?;
    // Where an object names several customers, nobody can say of which one an unmapped member is.
    let is_of_one = strict.customer.len() <= 1 && strict.customer.iter().all(|path| !path.0.contains(&Step::Items));
    let shape = Arc::new(Shape { name: loose, fields, lets_unmapped_pass: is_of_one, ..Shape::clone(strict) });
    found.insert(loose, Arc::clone(&shape));
    Some(shape)
}
