use serde_json::{Map, Value, json};

use crate::expression::{Selector, Side};
use crate::step::{Asked, Told};

/// What was asked and answered so far, by group and name of the request.
#[derive(Debug, Default)]
pub struct History {
    requests: Map<String, Value>,
    responses: Map<String, Value>,
    weight: usize,
}

/// What is kept of all requests and answers weighs no more: each value counts a little, and each byte of text.
pub const HISTORY_WEIGHT_MAX: usize = 8 * 1024 * 1024;
/// What a value counts.
const VALUE_WEIGHT: usize = 16;

impl History {
    /// Keeps what is asked, before it is.
    ///
    /// # Errors
    /// If it is too much to keep.
    pub fn note_request(&mut self, group: &str, name: &str, id: &str, asked: &Asked) -> Result<(), String> {
        let (data, token) = (&asked.data, asked.token.as_deref());
        let request = json!({
            "id": id, "operation": asked.operation, "path": asked.path, "map": data, "data": data,
            "headers": asked.headers, "client_token": token, "token": token,
        });
        self.note(Side::Request, group, name, request)
    }

    /// Keeps what was answered.
    ///
    /// # Errors
    /// If it is too much to keep.
    pub fn note_response(&mut self, group: &str, name: &str, told: &Told) -> Result<(), String> {
        self.note(Side::Response, group, name, told.shown())
    }

    fn note(&mut self, side: Side, group: &str, name: &str, value: Value) -> Result<(), String> {
        self.weight = self.weight.saturating_add(weight(&value));
        if self.weight > HISTORY_WEIGHT_MAX {
            return Err(
                "the requests and answers so far are too much to keep: ask for less at once".to_owned()
            );
        }
        let place = match side {
            Side::Request => &mut self.requests,
            Side::Response => &mut self.responses,
        };
        let group = place.entry(group).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(group) = group {
            group.insert(name.to_owned(), value);
        }
        Ok(())
    }

    /// A part of what was asked or answered. Without selectors, all of it.
    pub(crate) fn find(
        &self,
        side: Side,
        group: &str,
        name: &str,
        selectors: &[Selector],
    ) -> Result<&Value, String> {
        let place = self.side(side);
        if place.is_empty() {
            return Err("no values written".to_owned());
        }
        let group_of = place.get(group).ok_or_else(|| format!("missing outer block '{group}'"))?;
        let mut value = group_of
            .get(name)
            .ok_or_else(|| format!("in outer block '{group}': missing inner block '{name}'"))?;
        for (depth, selector) in selectors.iter().enumerate() {
            let found = match selector {
                Selector::Field(field) => value.get(field),
                Selector::Index(index) => value.get(index),
            };
            value = found.ok_or_else(|| match selector {
                Selector::Field(field) => {
                    format!("error resolving field: field {field:?} at depth {depth} is missing")
                }
                Selector::Index(index) => {
                    format!("error resolving field: selector ({index}) out of bounds at depth {depth}")
                }
            })?;
        }
        Ok(value)
    }

    /// All that was asked, or all that was answered.
    pub(crate) fn side(&self, side: Side) -> &Map<String, Value> {
        match side {
            Side::Request => &self.requests,
            Side::Response => &self.responses,
        }
    }

    /// Both sides, for whoever looks for a fault. Tokens by which requests were made are left out.
    pub fn shown(&self) -> Value {
        let mut requests = self.requests.clone();
        for group in requests.values_mut().filter_map(Value::as_object_mut) {
            for request in group.values_mut().filter_map(Value::as_object_mut) {
                request.remove("data");
                request.remove("token");
                request.insert("client_token".to_owned(), Value::String(String::new()));
            }
        }
        json!({ "requests": requests, "responses": self.responses })
    }
}

fn weight(value: &Value) -> usize {
    let own = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight).fold(0, usize::saturating_add),
        Value::Object(fields) => {
            let each = fields.iter().map(|(key, field)| key.len().saturating_add(weight(field)));
            each.fold(0, usize::saturating_add)
        }
        _ => 0,
    };
    own.saturating_add(VALUE_WEIGHT)
}
