//! Random lists for the tests.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{NvList, NvString, Pair, Unique, Value};

/// Lists of every type, nested a few levels, with every rule for repeated names.
pub(super) fn lists() -> impl Strategy<Value = NvList> {
    let leaf_list = list_of(scalars().boxed());
    leaf_list.prop_recursive(3, 24, 4, |inner| {
        let nested = prop_oneof![
            4 => scalars(),
            2 => inner.clone().prop_map(Value::List),
            1 => vec(inner, 0..4).prop_map(Value::ListArray),
        ];
        list_of(nested.boxed())
    })
}

/// Strings of any bytes but NUL.
pub(super) fn strings() -> impl Strategy<Value = NvString> {
    prop_oneof![
        vec(1..=u8::MAX, 0..40).prop_map(NvString::from),
        vec(b'a'..=b'd', 0..3).prop_map(NvString::from),
    ]
}

fn list_of(values: BoxedStrategy<Value>) -> BoxedStrategy<NvList> {
    let unique = prop_oneof![
        4 => Just(Unique::Name),
        1 => Just(Unique::NameAndType),
        1 => Just(Unique::No),
    ];
    (vec((strings(), values), 0..16), unique)
        .prop_map(|(pairs, unique)| {
            let pairs = pairs.into_iter().map(|(name, value)| {
                // libnvpair packs such a pair as XDR, and then refuses its own bytes (EFAULT, seen with 2.1.11).
                let refused = name.as_bytes().is_empty() && holds_only_empty_strings(&value);
                let name = if refused { "x".into() } else { name };
                Pair::new(name, value)
            });
            NvList::from_pairs(pairs.collect(), unique)
        })
        .boxed()
}

fn holds_only_empty_strings(value: &Value) -> bool {
    matches!(value, Value::StringArray(strings) if strings.iter().all(|s| s.as_bytes().is_empty()))
}

fn scalars() -> impl Strategy<Value = Value> {
    let doubles = any::<f64>().prop_filter("NaN equals nothing", |v| !v.is_nan());
    let single = prop_oneof![
        Just(Value::Boolean),
        any::<bool>().prop_map(Value::BooleanValue),
        any::<u8>().prop_map(Value::Byte),
        any::<i8>().prop_map(Value::Int8),
        any::<u8>().prop_map(Value::UInt8),
        any::<i16>().prop_map(Value::Int16),
        any::<u16>().prop_map(Value::UInt16),
        any::<i32>().prop_map(Value::Int32),
        any::<u32>().prop_map(Value::UInt32),
        any::<i64>().prop_map(Value::Int64),
        any::<u64>().prop_map(Value::UInt64),
        any::<i64>().prop_map(Value::HrTime),
        doubles.prop_map(Value::Double),
        strings().prop_map(Value::String),
    ];
    let array = prop_oneof![
        vec(any::<bool>(), 0..9).prop_map(Value::BooleanArray),
        vec(any::<u8>(), 0..9).prop_map(Value::ByteArray),
        vec(any::<i8>(), 0..9).prop_map(Value::Int8Array),
        vec(any::<u8>(), 0..9).prop_map(Value::UInt8Array),
        vec(any::<i16>(), 0..9).prop_map(Value::Int16Array),
        vec(any::<u16>(), 0..9).prop_map(Value::UInt16Array),
        vec(any::<i32>(), 0..9).prop_map(Value::Int32Array),
        vec(any::<u32>(), 0..9).prop_map(Value::UInt32Array),
        vec(any::<i64>(), 0..9).prop_map(Value::Int64Array),
        vec(any::<u64>(), 0..9).prop_map(Value::UInt64Array),
        vec(strings(), 0..9).prop_map(Value::StringArray),
    ];
    prop_oneof![single, array]
}
