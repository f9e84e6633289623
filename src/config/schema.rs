//! The JSON Schema of proxy.toml, made of the same types that it is read into.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};

use super::{
    raw::RawConfig,
    reader::{At, Field, Many, Named, Tables},
    scalar::Leaf,
};

/// The JSON Schema of proxy.toml, for editors.
#[must_use]
pub fn schema() -> Schema {
    SchemaSettings::draft07()
        .into_generator()
        .into_root_schema_for::<RawConfig>()
}

/// Gives a type the schema of another: what it adds is where things stand.
macro_rules! same_schema {
    ($($of:ident => $inner:ident),*) => { $(
        impl<$inner: JsonSchema> JsonSchema for $of<$inner> {
            fn schema_name() -> Cow<'static, str> {
                $inner::schema_name()
            }

            fn inline_schema() -> bool {
                $inner::inline_schema()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                $inner::json_schema(generator)
            }
        }
    )* };
}

same_schema!(Field => T);

impl<T: Leaf> JsonSchema for At<T> {
    fn schema_name() -> Cow<'static, str> {
        T::EXPECTED.into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        T::schema()
    }
}

impl<T: Leaf> JsonSchema for Many<T> {
    fn schema_name() -> Cow<'static, str> {
        T::EXPECTED.into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let one = T::schema();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

impl<T: JsonSchema> JsonSchema for Tables<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("list of {}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": generator.subschema_for::<T>() })
    }
}

impl<K: Leaf, V: JsonSchema> JsonSchema for Named<K, V> {
    fn schema_name() -> Cow<'static, str> {
        format!("{} by {}", V::schema_name(), K::EXPECTED).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": generator.subschema_for::<V>(),
            "propertyNames": K::schema(),
        })
    }
}
