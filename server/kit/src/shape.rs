use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};

/// The schema of a type, once it is asked for. There are hundreds of these, so all but the type's own part is made in
/// one place.
#[derive(Clone, Copy)]
pub struct Shape {
    of: fn(&mut SchemaGenerator) -> Schema,
    name: fn() -> Cow<'static, str>,
}

impl Shape {
    /// That of `T`.
    pub(crate) const fn of<T: JsonSchema>() -> Self {
        Self { of: T::json_schema, name: T::schema_name }
    }

    /// The schema, with those that it refers to under `$defs`.
    #[must_use]
    pub fn schema(&self) -> Schema {
        let mut generator = SchemaGenerator::default();
        let mut schema = (self.of)(&mut generator);
        let definitions = generator.take_definitions(true);
        let object = schema.ensure_object();
        object.entry("title").or_insert_with(|| (self.name)().into());
        if !definitions.is_empty() {
            object.insert("$defs".to_owned(), definitions.into());
        }
        schema
    }
}
