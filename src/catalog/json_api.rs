//! Query parameters of JSON:API (<https://jsonapi.org/format/1.1/#fetching>): `sort`, `fields[TYPE]`, `filter[…]`, `page[…]`. Names
//! are those of attributes and relationships. `include` brings resources of other types along, of which the shape of a route says
//! nothing: it is refused.

use super::fields::{Fields, Names};
use super::param::{NameStyle, ParamError, Said, names};

/// Where attributes and relationships stand in a resource; its `id` and `type` stand beside them.
#[must_use]
pub fn roots() -> Vec<Names> {
    vec![vec!["attributes".to_owned()], vec!["relationships".to_owned()], Vec::new()]
}

pub(super) fn reads(name: &str) -> bool {
    name == "sort" || ["fields[", "filter[", "page["].iter().any(|family| name.starts_with(family))
}

pub(super) fn read(fields: &Fields, resource: Option<&str>, name: &str, value: &str) -> Result<Said, ParamError> {
    let undeclared = || ParamError::NotDeclared(name.chars().take(64).collect());
    let (family, members) = members(name).ok_or_else(undeclared)?;
    match (family, members.as_slice()) {
        ("sort", []) => names(name, value, fields, NameStyle::Sort),
        ("fields", [of]) if resource == Some(*of) => sparse(fields, name, value),
        ("filter", [field] | [field, _]) => {
            let is_operator = |text: &str| text.len() <= 32 && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            if members.get(1).is_some_and(|operator| !is_operator(operator)) {
                return Err(undeclared());
            }
            let found = fields.find_text(field).ok_or_else(|| ParamError::field(name, field))?.own(name)?;
            Ok(Said { categories: found.categories, value: value.to_owned(), bare: false })
        }
        ("page", ["number" | "size" | "offset" | "limit"]) => {
            let number = (1..=9).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit());
            if number { Ok(Said { value: value.to_owned(), ..Said::default() }) } else { Err(ParamError::Value(name.to_owned())) }
        }
        _ => Err(undeclared()),
    }
}

/// `filter[total][gte]` is (`filter`, [`total`, `gte`]).
fn members(name: &str) -> Option<(&str, Vec<&str>)> {
    let Some((family, rest)) = name.split_once('[') else { return Some((name, Vec::new())) };
    let inner: Vec<&str> = rest.strip_suffix(']')?.split("][").collect();
    inner.iter().all(|member| !member.is_empty() && !member.contains(['[', ']'])).then_some((family, inner))
}

/// A sparse fieldset names whole attributes and relationships. The id of a resource is none of them, and always comes.
fn sparse(fields: &Fields, name: &str, value: &str) -> Result<Said, ParamError> {
    let (mut asked, mut sent) = (vec![vec!["id".to_owned()]], Vec::new());
    for item in value.split(',') {
        let found = fields.find(&[item.to_owned()]).filter(|found| found.names.len() > 1).ok_or_else(|| ParamError::field(name, item))?;
        asked.push(found.names);
        sent.push(item.to_owned());
    }
    let (missing, bare) = fields.missing_ids(&asked);
    for id in missing {
        let Some(field) = id.get(1) else { continue };
        if !sent.contains(field) {
            sent.push(field.clone());
        }
    }
    Ok(Said { value: sent.join(","), bare, categories: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::super::fields::tests::shape;
    use super::*;
    use crate::model::Shapes;

    fn contacts(customer: &str) -> Fields {
        let fields = [
            ("attributes.name", "identity"),
            ("attributes.email", "contact"),
            ("attributes.score", "behaviour"),
            ("attributes.address.**", "contact"),
        ];
        let shape = shape("contacts", &[customer], &["id", "type", "attributes.createdAt", "relationships.owner.data.id"], &fields);
        Fields::new(&shape, &Shapes::new(), &[], roots())
    }

    fn said(fields: &Fields, name: &str, value: &str) -> Result<(String, String, bool), ParamError> {
        if !reads(name) {
            return Err(ParamError::NotDeclared(name.to_owned()));
        }
        let said = read(fields, Some("contacts"), name, value)?;
        Ok((said.categories.iter().map(|c| c.as_str()).collect::<Vec<_>>().join(" "), said.value, said.bare))
    }

    #[test]
    fn attributes_and_relationships_are_meant() {
        let fields = contacts("id");
        for (name, value, categories, sent) in [
            ("sort", "-score,createdAt", "behaviour", "-score,createdAt"),
            ("sort", "id", "", "id"),
            ("sort", "attributes.email", "contact", "attributes.email"),
            ("filter[email]", "a@b,c@d", "contact", "a@b,c@d"),
            ("filter[address.city][eq]", "Ulm", "contact", "Ulm"),
            ("filter[owner]", "7", "", "7"),
            ("fields[contacts]", "email,owner", "", "email,owner"),
            ("page[size]", "20", "", "20"),
        ] {
            assert_eq!(Ok((categories.to_owned(), sent.to_owned(), false)), said(&fields, name, value), "{name}={value}");
        }
    }

    #[test]
    fn an_id_among_the_attributes_is_added() {
        let by_mail = contacts("attributes.email");
        assert_eq!(Ok((String::new(), "name,email".to_owned(), true)), said(&by_mail, "fields[contacts]", "name"));
        assert_eq!(Ok((String::new(), "email,name".to_owned(), false)), said(&by_mail, "fields[contacts]", "email,name"));
        let by_owner = contacts("relationships.owner.data.id");
        assert_eq!(Ok((String::new(), "name,owner".to_owned(), true)), said(&by_owner, "fields[contacts]", "name"));
    }

    #[test]
    fn other_parameters_and_names_are_refused() {
        let fields = contacts("id");
        for (name, value) in [
            ("include", "owner"),
            ("Sort", "name"),
            ("sort", "secret"),
            ("sort", "name,-"),
            ("sort[name]", "asc"),
            ("filter", "name"),
            ("filter[secret]", "x"),
            ("filter[email][$ne]", "x"),
            ("filter[email][eq][or]", "x"),
            ("filter[email", "x"),
            ("filter[]", "x"),
            ("filter[[email]]", "x"),
            ("fields[contacts]", "secret"),
            ("fields[contacts]", "id"),
            ("fields[contacts]", "address.city"),
            ("fields[contacts]", ""),
            ("fields[people]", "name"),
            ("fields[contacts][x]", "name"),
            ("page[cursor]", "abc"),
            ("page[size]", "20x"),
            ("page[size]", ""),
            ("page", "1"),
        ] {
            assert!(said(&fields, name, value).is_err(), "{name}={value}: {:?}", said(&fields, name, value));
        }
    }
}
