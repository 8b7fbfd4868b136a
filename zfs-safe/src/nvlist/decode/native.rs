//! The native encoding: the in-memory form of libnvpair, with pointers blanked out.

use super::{DecodeError, PairHead, Reader, descend};
use crate::nvlist::scalar::Scalar;
use crate::nvlist::value::{LIST_SIZE, POINTER_SIZE, align, code, value_offset};
use crate::nvlist::{NvList, NvString, Pair, Unique, Value};

pub(super) fn list(mut reader: Reader<'_>, depth: usize) -> Result<NvList, DecodeError> {
    let unique = reader.list_head()?;
    pairs(&mut reader, unique, depth)
}

/// Reads pairs up to and including the terminator.
fn pairs(reader: &mut Reader<'_>, unique: Unique, depth: usize) -> Result<NvList, DecodeError> {
    let mut pairs = Vec::new();
    while let Some(pair) = pair(reader, depth)? {
        pairs.push(pair);
    }
    Ok(NvList::from_pairs(pairs, unique))
}

fn pair(reader: &mut Reader<'_>, depth: usize) -> Result<Option<Pair>, DecodeError> {
    let offset = reader.offset;
    let stated: i32 = reader.clone().read()?;
    if stated == 0 {
        reader.take(size_of::<i32>())?;
        return Ok(None);
    }
    let wrong_size = DecodeError::PairSize {
        offset,
        size: stated,
    };
    let size = usize::try_from(stated)
        .ok()
        .filter(|&size| size >= value_offset(0))
        .ok_or_else(|| wrong_size.clone())?;
    let mut body = reader.part(size)?;
    body.take(size_of::<i32>())?;
    let name_size: i16 = body.read()?;
    let _reserved: i16 = body.read()?;
    let count = body.read()?;
    let code = body.read()?;
    let name = name(&mut body, name_size)?;
    body.offset = offset + value_offset(name.len());
    if body.offset > body.input.len() {
        return Err(DecodeError::Name { offset });
    }

    let head = PairHead {
        offset,
        code,
        count,
    };
    let room = body.remaining();
    let value = match code {
        // The pairs of nested lists follow behind the pair that holds them.
        code::NVLIST => {
            head.counts(1)?;
            Value::List(nested(reader, &mut body, depth)?)
        }
        code::NVLIST_ARRAY => {
            let count = head.elements(POINTER_SIZE + LIST_SIZE, room)?;
            body.take(count * POINTER_SIZE)?;
            let mut lists = Vec::with_capacity(count);
            for _ in 0..count {
                lists.push(nested(reader, &mut body, depth)?);
            }
            Value::ListArray(lists)
        }
        _ => value(head, &mut body)?,
    };
    if room != align(value.native_size(), 8) {
        return Err(wrong_size);
    }
    Ok(Some(Pair::new(name.into(), value)))
}

/// Reads the name and its NUL.
fn name<'a>(body: &mut Reader<'a>, size: i16) -> Result<&'a [u8], DecodeError> {
    let invalid = DecodeError::Name {
        offset: body.offset,
    };
    let Some((0, name)) = usize::try_from(size)
        .ok()
        .and_then(|size| body.take(size).ok())
        .and_then(<[u8]>::split_last)
    else {
        return Err(invalid);
    };
    if name.contains(&0) {
        return Err(invalid);
    }
    Ok(name)
}

/// Reads the head of a nested list from the value of its pair, and its pairs from behind.
fn nested(
    reader: &mut Reader<'_>,
    value: &mut Reader<'_>,
    depth: usize,
) -> Result<NvList, DecodeError> {
    let mut head = value.part(LIST_SIZE)?;
    let unique = head.list_head()?;
    pairs(reader, unique, descend(depth, reader.offset)?)
}

fn value(head: PairHead, body: &mut Reader<'_>) -> Result<Value, DecodeError> {
    Ok(match head.code {
        code::BOOLEAN => {
            head.counts(0)?;
            Value::Boolean
        }
        code::BOOLEAN_VALUE => {
            head.counts(1)?;
            Value::BooleanValue(body.boolean()?)
        }
        code::BYTE => Value::Byte(one(head, body)?),
        code::INT8 => Value::Int8(one(head, body)?),
        code::UINT8 => Value::UInt8(one(head, body)?),
        code::INT16 => Value::Int16(one(head, body)?),
        code::UINT16 => Value::UInt16(one(head, body)?),
        code::INT32 => Value::Int32(one(head, body)?),
        code::UINT32 => Value::UInt32(one(head, body)?),
        code::INT64 => Value::Int64(one(head, body)?),
        code::UINT64 => Value::UInt64(one(head, body)?),
        code::HRTIME => Value::HrTime(one(head, body)?),
        code::DOUBLE => Value::Double(one(head, body)?),
        code::STRING => {
            head.counts(1)?;
            Value::String(string(body)?)
        }
        code::BOOLEAN_ARRAY => {
            let count = head.elements(4, body.remaining())?;
            let booleans: Result<_, _> = (0..count).map(|_| body.boolean()).collect();
            Value::BooleanArray(booleans?)
        }
        code::BYTE_ARRAY => Value::ByteArray(many(head, body)?),
        code::INT8_ARRAY => Value::Int8Array(many(head, body)?),
        code::UINT8_ARRAY => Value::UInt8Array(many(head, body)?),
        code::INT16_ARRAY => Value::Int16Array(many(head, body)?),
        code::UINT16_ARRAY => Value::UInt16Array(many(head, body)?),
        code::INT32_ARRAY => Value::Int32Array(many(head, body)?),
        code::UINT32_ARRAY => Value::UInt32Array(many(head, body)?),
        code::INT64_ARRAY => Value::Int64Array(many(head, body)?),
        code::UINT64_ARRAY => Value::UInt64Array(many(head, body)?),
        code::STRING_ARRAY => {
            // Each string has a pointer and at least its NUL.
            let count = head.elements(POINTER_SIZE + 1, body.remaining())?;
            body.take(count * POINTER_SIZE)?;
            let strings: Result<_, _> = (0..count).map(|_| string(body)).collect();
            Value::StringArray(strings?)
        }
        code => {
            return Err(DecodeError::UnknownType {
                offset: head.offset,
                code,
            });
        }
    })
}

fn one<T: Scalar>(head: PairHead, body: &mut Reader<'_>) -> Result<T, DecodeError> {
    head.counts(1)?;
    body.read()
}

fn many<T: Scalar>(head: PairHead, body: &mut Reader<'_>) -> Result<Vec<T>, DecodeError> {
    let count = head.elements(T::SIZE, body.remaining())?;
    let order = body.order;
    let elements = body.take(count * T::SIZE)?.chunks_exact(T::SIZE);
    Ok(elements.map(|element| T::read(element, order)).collect())
}

fn string(body: &mut Reader<'_>) -> Result<NvString, DecodeError> {
    let offset = body.offset;
    let len = body
        .rest()
        .iter()
        .position(|&byte| byte == 0)
        .ok_or(DecodeError::Text { offset })?;
    let string = body.take(len)?.into();
    body.take(1)?;
    Ok(string)
}
