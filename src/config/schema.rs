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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::{of_text, raw, reader::Table};
    use super::*;

    /// The schema that a `$ref` leads to, or this one.
    fn resolved<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
        let reference = schema["$ref"]
            .as_str()
            .or_else(|| schema["allOf"][0]["$ref"].as_str());
        reference.map_or(schema, |path| {
            root.pointer(path.trim_start_matches('#')).unwrap()
        })
    }

    fn check_keys<T: Table>(root: &Value, table: &Value) {
        let schema = resolved(root, table);
        let mut keys: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
        let mut known = T::KEYS.to_vec();
        keys.sort();
        known.sort_unstable();
        assert_eq!(keys, known);
        assert_eq!(schema["additionalProperties"], false, "{schema}");
        for (key, property) in schema["properties"].as_object().unwrap() {
            assert!(property["description"].is_string(), "{key} isn't described");
        }
    }

    #[test]
    fn the_schema_and_the_reader_know_the_same_keys() {
        let root = schema().to_value();
        let at = |table: &Value, key: &str| {
            resolved(&root, &resolved(&root, table)["properties"][key]).clone()
        };
        check_keys::<raw::RawConfig>(&root, &root);
        check_keys::<raw::RawAdmin>(&root, &at(&root, "admin"));
        check_keys::<raw::RawLog>(&root, &at(&root, "log"));
        check_keys::<raw::RawUsage>(&root, &at(&root, "usage"));
        check_keys::<raw::RawShutdown>(&root, &at(&root, "shutdown"));
        check_keys::<raw::RawLimits>(&root, &at(&root, "limits"));
        check_keys::<raw::RawDefaults>(&root, &at(&root, "defaults"));
        let route = at(&root, "routes")["additionalProperties"].clone();
        check_keys::<raw::RawRoute>(&root, &route);
        check_keys::<raw::RawHeaderEdits>(&root, &at(&route, "request_headers"));
        check_keys::<raw::RawTimeouts>(&root, &at(&route, "timeouts"));
        check_keys::<raw::RawTenantLimits>(&root, &at(&route, "limits"));
        check_keys::<raw::RawHealth>(&root, &at(&route, "health"));
        let path = at(&route, "paths")["items"].clone();
        check_keys::<raw::RawPath>(&root, &path);
        assert_eq!(
            resolved(&root, &route)["required"],
            serde_json::json!(["hosts", "upstream"])
        );
        assert_eq!(
            resolved(&root, &path)["required"],
            serde_json::json!(["prefix", "upstream"])
        );
    }

    #[test]
    fn the_defaults_that_the_schema_tells_are_the_defaults() {
        fn write(root: &Value, table: &Value, prefix: &str, out: &mut String) {
            for (key, property) in resolved(root, table)["properties"].as_object().unwrap() {
                let name = format!("{prefix}{key}");
                if let Some(default) = property.get("default") {
                    out.push_str(&format!("{name} = {default}\n"));
                } else if resolved(root, property)["properties"].is_object() {
                    write(root, property, &format!("{name}."), out);
                }
            }
        }
        let root = schema().to_value();
        let mut text = String::new();
        write(&root, &root, "", &mut text);
        assert!(
            text.contains("defaults.timeouts.tunnel_idle = \"1h\"\n"),
            "{text}"
        );
        assert!(text.contains("limits.connections = 20000\n"), "{text}");
        assert_eq!(of_text(&text).unwrap(), of_text("").unwrap(), "{text}");
    }
}
