//! Reading what somebody typed, strictly: every unknown field is found, a wrong type is named by its path, and an
//! array never passes for an object. The configuration and the HTTP requests are read with it.
//!
//! What a value means, and whether it is in range, is no business of this file.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_ignored::Path as Ignored;
use serde_path_to_error::{Path, Segment};

/// More unknown fields than this are no slip of the pen, and need not be gathered.
const MAX_UNKNOWN: usize = 64;

/// What came of reading one document.
pub(crate) struct Reading<T, E> {
    pub(crate) value: Result<T, Misfit<E>>,
    /// The paths of fields that nobody knows, up to a bound; only those before the misfit when there is one.
    pub(crate) unknown: Vec<String>,
}

/// A value that does not fit, and where it stands.
pub(crate) struct Misfit<E> {
    path: Path,
    pub(crate) error: E,
}

impl<E> Misfit<E> {
    /// `files[0].path`; empty for the document as a whole.
    pub(crate) fn path(&self) -> String {
        if self.path.iter().next().is_none() { String::new() } else { self.path.to_string() }
    }

    /// The keys on the way to the value, up to the first array.
    pub(crate) fn keys(&self) -> Vec<&str> {
        let mut keys = Vec::new();
        for segment in self.path.iter() {
            let Segment::Map { key } = segment else { break };
            keys.push(key.as_str());
        }
        keys
    }
}

pub(crate) fn read<'de, T, D>(deserializer: D) -> Reading<T, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(deserializer, &mut track);
    let mut note = |path: Ignored<'_>| {
        if unknown.len() < MAX_UNKNOWN {
            unknown.push(written(&path));
        }
    };
    let read = Object::deserialize(serde_ignored::Deserializer::new(tracked, &mut note));
    let value = match read {
        Ok(Object(value)) => Ok(value),
        Err(error) => Err(Misfit { path: track.path(), error }),
    };
    Reading { value, unknown }
}

/// A struct that is written as an object. Derived code alone would also take an array of its fields' values.
#[derive(Debug)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = T;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

/// For `#[serde(deserialize_with)]` on a field that holds a struct.
pub(crate) fn object<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Object::deserialize(deserializer).map(|Object(value)| value)
}

/// `files[0].path`, the way a person writes it.
fn written(path: &Ignored<'_>) -> String {
    match path {
        Ignored::Root => String::new(),
        Ignored::Seq { parent, index } => format!("{}[{index}]", written(parent)),
        Ignored::Map { parent, key } => match written(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Ignored::Some { parent } | Ignored::NewtypeStruct { parent } | Ignored::NewtypeVariant { parent } => {
            written(parent)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Outer {
        #[serde(default, deserialize_with = "object")]
        inner: Inner,
        #[serde(default)]
        list: Vec<Object<Inner>>,
    }

    #[derive(Debug, Default, serde::Deserialize)]
    struct Inner {
        number: Option<u8>,
    }

    fn reading(json: &str) -> Reading<Outer, serde_json::Error> {
        read(&mut serde_json::Deserializer::from_str(json))
    }

    #[test]
    fn every_unknown_field_is_named() {
        let reading = reading(r#"{"x":1,"inner":{"y":{"z":1},"number":3},"list":[{},{"w":0}]}"#);
        assert_eq!(reading.unknown, ["x", "inner.y", "list[1].w"]);
        let outer = reading.value.map_err(|misfit| misfit.error).unwrap();
        assert_eq!(outer.inner.number, Some(3));
        assert_eq!(outer.list.len(), 2);
    }

    #[test]
    fn a_misfit_has_its_path() {
        for (json, path) in [
            (r#"{"inner":{"number":"a"}}"#, "inner.number"),
            (r#"{"list":[{},{"number":-1}]}"#, "list[1].number"),
            (r#"{"inner":[1]}"#, "inner"),
            (r#"{"list":[[1]]}"#, "list[0]"),
            (r#"[]"#, ""),
            (r#"3"#, ""),
        ] {
            match reading(json).value {
                Ok(_) => panic!("{json} was read"),
                Err(misfit) => assert_eq!(misfit.path(), path, "{json}: {}", misfit.error),
            }
        }
    }
}
