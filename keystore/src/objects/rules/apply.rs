//! Applying the rules: a template completed to the attributes of a new object, and a template applied to an object that is
//! there. What the rules call computed is filled in by the operations.

use hsmd_proto::attribute::{Attribute, Template, is_key_value};
use hsmd_proto::ck::{AttributeType as A, Rv};
use hsmd_proto::policy::Policy;

use super::{Change, Default, RULES, Rule, Shape, Way, readable_by_default, rule};

/// How a new object is to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) way: Way,
    pub(crate) shape: Shape,
    pub(crate) policy: Policy,
    /// The caller is the SO.
    pub(crate) so: bool,
}

/// A new object's attributes, as far as template and defaults give them.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) shape: Shape,
    /// Everything but key values.
    pub(crate) attributes: Template,
    /// Key values that the template named.
    pub(crate) values: Template,
}

impl Draft {
    /// A boolean that a rule gave a default, so that it is there.
    pub(crate) fn flag(&self, attribute: A) -> bool {
        self.attributes
            .get(attribute)
            .and_then(Attribute::as_bool)
            .unwrap_or(false)
    }

    /// Puts a computed attribute, over one that is there.
    pub(crate) fn put(&mut self, attribute: Attribute) {
        put(&mut self.attributes, attribute);
    }

    /// Puts a computed attribute; if the template named it, it must agree.
    ///
    /// # Errors
    /// `CKR_TEMPLATE_INCONSISTENT` when it does not.
    pub(crate) fn agree(&mut self, attribute: Attribute) -> Result<(), Rv> {
        match self.attributes.get(attribute.attribute) {
            Some(named) if named.value != attribute.value => Err(Rv::TEMPLATE_INCONSISTENT),
            Some(_) => Ok(()),
            None => {
                self.attributes.0.push(attribute);
                Ok(())
            }
        }
    }
}

/// Replaces or adds an attribute.
pub(crate) fn put(attributes: &mut Template, attribute: Attribute) {
    match attributes
        .0
        .iter_mut()
        .find(|entry| entry.attribute == attribute.attribute)
    {
        Some(entry) => *entry = attribute,
        None => attributes.0.push(attribute),
    }
}

/// Checks the template of a new object and completes it with the defaults.
///
/// # Errors
/// `CKR_ATTRIBUTE_TYPE_INVALID` for an attribute that objects of this shape do not have, `CKR_ATTRIBUTE_VALUE_INVALID` for
/// bytes of the wrong form, `CKR_TEMPLATE_INCONSISTENT` for a contradiction or an attribute that this way does not take,
/// `CKR_ATTRIBUTE_READ_ONLY` for one that only the token (or the SO) sets, `CKR_TEMPLATE_INCOMPLETE`.
pub(crate) fn complete(plan: Plan, template: &Template) -> Result<Draft, Rv> {
    template.check_form()?;
    let mut draft = Draft {
        shape: plan.shape,
        attributes: Template::default(),
        values: Template::default(),
    };
    for entry in &template.0 {
        let rule = rule(plan.shape, entry.attribute).ok_or(Rv::ATTRIBUTE_TYPE_INVALID)?;
        if !rule.named.has(plan.way) {
            let never = rule.named == super::Ways::NONE;
            return Err(if never {
                Rv::ATTRIBUTE_READ_ONLY
            } else {
                Rv::TEMPLATE_INCONSISTENT
            });
        }
        if rule.so_only && !plan.so && entry.as_bool() == Some(true) {
            return Err(Rv::ATTRIBUTE_READ_ONLY);
        }
        let hidden = is_key_value(plan.shape.class(), entry.attribute);
        put(
            if hidden {
                &mut draft.values
            } else {
                &mut draft.attributes
            },
            entry.clone(),
        );
    }
    for rule in RULES.iter().filter(|rule| rule.shapes.has(plan.shape)) {
        if draft.attributes.get(rule.attribute).is_some() || draft.values.get(rule.attribute).is_some() {
            continue;
        }
        if rule.required.has(plan.way) {
            return Err(Rv::TEMPLATE_INCOMPLETE);
        }
        draft.attributes.0.extend(default(rule, plan));
    }
    hangs_together(&draft.attributes)?;
    Ok(draft)
}

/// What no single row says: a key that asks for the PIN each time is a private object (PKCS#11 3.2, 4.10).
fn hangs_together(attributes: &Template) -> Result<(), Rv> {
    let on = |attribute| attributes.value(attribute) == Some(&[1]);
    if on(A::ALWAYS_AUTHENTICATE) && !on(A::PRIVATE) {
        return Err(Rv::TEMPLATE_INCONSISTENT);
    }
    Ok(())
}

fn default(rule: &Rule, plan: Plan) -> Option<Attribute> {
    let boolean = |value| Some(Attribute::boolean(rule.attribute, value));
    match rule.default {
        Default::Absent | Default::Computed => None,
        Default::Empty => Some(Attribute::bytes(rule.attribute, &[])),
        Default::False => boolean(false),
        Default::True => boolean(true),
        Default::Number(number) => Some(Attribute::ulong(rule.attribute, number)),
        Default::Usage(shapes) => boolean(plan.policy.usage_by_default() && shapes.has(plan.shape)),
        Default::LegacyUsage(shapes) => boolean(plan.policy == Policy::Legacy && shapes.has(plan.shape)),
        Default::Private => boolean(super::Shapes::PRIVATE_BY_DEFAULT.has(plan.shape)),
        Default::Sensitive => boolean(!readable_by_default(plan.way, plan.shape, plan.policy)),
        Default::Extractable => boolean(readable_by_default(plan.way, plan.shape, plan.policy)),
    }
}

/// What a copy or a change makes of an object's attributes.
#[derive(Debug)]
pub(crate) struct Amended {
    pub(crate) attributes: Template,
    /// Whether anything differs from before.
    pub(crate) changed: bool,
}

/// Applies a template to the attributes of an object that is there (C_CopyObject, C_SetAttributeValue).
///
/// # Errors
/// As [`complete`]; `CKR_ATTRIBUTE_READ_ONLY` for a change that the rules do not allow, `CKR_ACTION_PROHIBITED` for an
/// object that may not be copied or changed at all.
pub(crate) fn amend(way: Way, shape: Shape, so: bool, current: &Template, template: &Template) -> Result<Amended, Rv> {
    let barred = if way == Way::Copy { A::COPYABLE } else { A::MODIFIABLE };
    if current.get(barred).and_then(Attribute::as_bool) == Some(false) {
        return Err(Rv::ACTION_PROHIBITED);
    }
    template.check_form()?;
    let mut amended = Amended {
        attributes: current.clone(),
        changed: false,
    };
    for entry in &template.0 {
        let rule = rule(shape, entry.attribute).ok_or(Rv::ATTRIBUTE_TYPE_INVALID)?;
        // INV-1: a key value is never changed, nor compared with the caller's guess.
        if !rule.named.has(way) || is_key_value(shape.class(), entry.attribute) {
            return Err(Rv::ATTRIBUTE_READ_ONLY);
        }
        let before = current.get(entry.attribute);
        if before.is_some_and(|before| before.value == entry.value) {
            continue;
        }
        let wanted = entry.as_bool();
        let allowed = match rule.change {
            Change::Any => !(rule.so_only && !so && wanted == Some(true)),
            Change::Raise => wanted == Some(true),
            Change::Lower => wanted == Some(false),
            Change::Same => false,
        };
        if !allowed {
            return Err(Rv::ATTRIBUTE_READ_ONLY);
        }
        put(&mut amended.attributes, entry.clone());
        amended.changed = true;
    }
    if template.get(A::ALWAYS_AUTHENTICATE).is_some() {
        hangs_together(&amended.attributes)?;
    }
    Ok(amended)
}
