//! `section!`, `kinds!`, `words!` and `notation!`: one declaration of a part of the configuration, from which the type, its
//! decoder and its JSON Schema are made.

/// A section: a struct with a field per key.
///
/// Each key has a doc comment, which becomes part of the schema, and one of
/// - `= required`: it must be there and have a value,
/// - `= default(value)`: what it is when it is left out,
/// - `= section`: a section in which every key has a default.
///
/// `field ["key"]` is for keys that cannot be names in Rust.
macro_rules! section {
    (
        $(#[doc = $doc:literal])+
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $key_doc:literal])+
                $key:ident $([$written:literal])? : $type:ty = $presence:ident $(($default:expr))?
            ),* $(,)?
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        $vis struct $name {
            $(
                $(#[doc = $key_doc])+
                $(#[serde(rename = $written)])?
                pub $key: $type,
            )*
        }

        impl $crate::config::decode::Section for $name {
            const NAME: &'static str = stringify!($name);
            const DOC: &'static str = concat!($($doc, "\n"),+);
            const KEYS: &'static [&'static str] =
                &[$(section!(@name $key $($written)?)),*];

            #[allow(unused_variables, reason = "some sections have no keys")]
            fn decode(
                fields: &$crate::config::decode::Fields<'_>,
                cx: &mut $crate::config::decode::Reading<'_>,
            ) -> Option<Self> {
                // All keys are read before the first failure counts.
                $( let $key = section!(
                    @read fields, cx, section!(@name $key $($written)?), $presence $(($default))?
                ); )*
                Some(Self { $( $key: $key? ),* })
            }

            #[allow(unused_variables, reason = "some sections have no keys")]
            fn keys(
                definitions: &mut $crate::config::decode::schema::Definitions,
            ) -> Vec<$crate::config::decode::schema::Key> {
                vec![$( $crate::config::decode::schema::Key {
                    name: section!(@name $key $($written)?),
                    doc: $crate::config::decode::schema::doc(&[$($key_doc),+]),
                    schema: <$type as $crate::config::decode::Value>::schema(definitions),
                    presence: section!(@presence $type, $presence $(($default))?),
                } ),*]
            }
        }
    };
    (@name $key:ident) => { stringify!($key) };
    (@name $key:ident $written:literal) => { $written };
    (@read $fields:ident, $cx:ident, $key:expr, required) => { $fields.required($key, $cx) };
    (@read $fields:ident, $cx:ident, $key:expr, section) => { $fields.section($key, $cx) };
    (@read $fields:ident, $cx:ident, $key:expr, default($default:expr)) => {
        $fields.or($key, $default, $cx)
    };
    (@presence $type:ty, required) => { $crate::config::decode::schema::Presence::Required };
    (@presence $type:ty, section) => { $crate::config::decode::schema::Presence::Section };
    (@presence $type:ty, default($default:expr)) => {{
        let default: $type = $default;
        $crate::config::decode::schema::Presence::Default(serde_json::json!(default))
    }};
}

/// Several kinds of section, told apart by the key `type`: an enum with a variant per kind.
macro_rules! kinds {
    (
        $(#[doc = $doc:literal])+
        $vis:vis enum $name:ident {
            $( $(#[doc = $kind_doc:literal])+ $kind:ident($type:ty) = $word:literal ),+ $(,)?
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        #[serde(tag = "type")]
        $vis enum $name {
            $( $(#[doc = $kind_doc])+ #[serde(rename = $word)] $kind($type), )+
        }

        impl $name {
            /// The word in the key `type`.
            pub fn type_name(&self) -> &'static str {
                match self { $( Self::$kind(_) => $word, )+ }
            }
        }

        impl $crate::config::decode::Value for $name {
            fn read(
                node: &$crate::config::decode::node::Node,
                cx: &mut $crate::config::decode::Reading<'_>,
            ) -> Option<Self> {
                let kind = $crate::config::decode::read_type(node, &[$($word),+], cx)?;
                let mut place = 0;
                $(
                    if kind == place {
                        return $crate::config::decode::read_section(node, true, cx).map(Self::$kind);
                    }
                    place += 1;
                )+
                let _ = place;
                None
            }

            fn schema(
                definitions: &mut $crate::config::decode::schema::Definitions,
            ) -> $crate::config::decode::schema::Json {
                definitions.define::<Self>(stringify!($name), |definitions| {
                    serde_json::json!({
                        "description": $crate::config::decode::schema::doc(&[$($doc),+]),
                        "oneOf": [$(
                            $crate::config::decode::schema::object::<$type>(
                                Some($word),
                                &$crate::config::decode::schema::doc(&[$($kind_doc),+]),
                                definitions,
                            )
                        ),+],
                    })
                })
            }
        }
    };
}

/// A choice between words: an enum without data.
macro_rules! words {
    (
        $(#[doc = $doc:literal])+
        $vis:vis enum $name:ident: $what:literal $(, null = $null:ident)? {
            $( $(#[doc = $word_doc:literal])+ $word:ident = $text:literal ),+ $(,)?
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
        $vis enum $name {
            $( $(#[doc = $word_doc])+ #[serde(rename = $text)] $word, )+
        }

        impl $name {
            /// The word as it is written.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$word => $text, )+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::config::decode::Value for $name {
            fn read(
                node: &$crate::config::decode::node::Node,
                cx: &mut $crate::config::decode::Reading<'_>,
            ) -> Option<Self> {
                const WORDS: &[&str] = &[$($text),+];
                const VALUES: &[$name] = &[$($name::$word),+];
                let place = $crate::config::decode::read_word(node, WORDS, $what, cx)?;
                VALUES.get(place).copied()
            }

            $( fn null() -> Option<Self> { Some(Self::$null) } )?

            fn schema(
                _: &mut $crate::config::decode::schema::Definitions,
            ) -> $crate::config::decode::schema::Json {
                serde_json::json!({
                    "description": $crate::config::decode::schema::doc(&[$($doc),+]),
                    "enum": [$($text),+],
                })
            }
        }
    };
}

/// A type with a notation of its own, that is, one with `FromStr` and `Display`. To the schema it is a text, unless `as` says
/// otherwise.
macro_rules! notation {
    ($type:ty $(, null = $null:expr)?, $doc:literal, [$($example:literal),*]) => {
        notation!($type $(, null = $null)?, $doc, [$($example),*] as text);
    };
    ($type:ty $(, null = $null:expr)?, $doc:literal, [$($example:literal),*] as $schema:ident) => {
        impl $crate::config::decode::Value for $type {
            fn read(
                node: &$crate::config::decode::node::Node,
                cx: &mut $crate::config::decode::Reading<'_>,
            ) -> Option<Self> {
                $crate::config::decode::parsed(node, cx)
            }

            $( fn null() -> Option<Self> { $null } )?

            fn schema(
                _: &mut $crate::config::decode::schema::Definitions,
            ) -> $crate::config::decode::schema::Json {
                $crate::config::decode::schema::$schema($doc, &[$($example),*])
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

pub(crate) use {kinds, notation, section, words};
