//! The XDR encoding: big-endian, in units of four bytes.

use super::{DecodeError, PairHead, Reader, descend};
use crate::nvlist::scalar::Scalar;
use crate::nvlist::value::{align, code, value_offset};
use crate::nvlist::{NvList, NvString, Pair, Value};

pub(super) fn list(mut reader: Reader<'_>, depth: usize) -> Result<NvList, DecodeError> {
    nested(&mut reader, depth)
}

/// Reads a list from its version to its terminator.
fn nested(reader: &mut Reader<'_>, depth: usize) -> Result<NvList, DecodeError> {
    let unique = reader.list_head()?;
    let mut pairs = Vec::new();
    while let Some(pair) = pair(reader, depth)? {
        pairs.push(pair);
    }
    Ok(NvList::from_pairs(pairs, unique))
}

fn pair(reader: &mut Reader<'_>, depth: usize) -> Result<Option<Pair>, DecodeError> {
    let offset = reader.offset;
    // Nothing relies on the packed size: libnvpair states four bytes too many for an empty array.
    let _packed_size: i32 = reader.read()?;
    let native_size: i32 = reader.read()?;
    if native_size == 0 {
        return Ok(None);
    }
    let name_at = reader.offset;
    let name = text(reader)?;
    if name.as_bytes().len() >= i16::MAX as usize {
        return Err(DecodeError::Name { offset: name_at });
    }
    let head = PairHead {
        offset,
        code: reader.read()?,
        count: reader.read()?,
    };
    let value = value(head, reader, depth)?;
    let expected = value_offset(name.as_bytes().len()) + align(value.native_size(), 8);
    if usize::try_from(native_size) != Ok(expected) {
        return Err(DecodeError::PairSize {
            offset,
            size: native_size,
        });
    }
    Ok(Some(Pair::new(name, value)))
}

fn value(head: PairHead, reader: &mut Reader<'_>, depth: usize) -> Result<Value, DecodeError> {
    Ok(match head.code {
        code::BOOLEAN => {
            head.counts(0)?;
            Value::Boolean
        }
        code::BOOLEAN_VALUE => {
            head.counts(1)?;
            Value::BooleanValue(reader.boolean()?)
        }
        code::BYTE => Value::Byte(one(head, reader)?),
        code::INT8 => Value::Int8(one(head, reader)?),
        code::UINT8 => Value::UInt8(one(head, reader)?),
        code::INT16 => Value::Int16(one(head, reader)?),
        code::UINT16 => Value::UInt16(one(head, reader)?),
        code::INT32 => Value::Int32(one(head, reader)?),
        code::UINT32 => Value::UInt32(one(head, reader)?),
        code::INT64 => Value::Int64(one(head, reader)?),
        code::UINT64 => Value::UInt64(one(head, reader)?),
        code::HRTIME => Value::HrTime(one(head, reader)?),
        code::DOUBLE => Value::Double(one(head, reader)?),
        code::STRING => {
            head.counts(1)?;
            Value::String(text(reader)?)
        }
        code::NVLIST => {
            head.counts(1)?;
            Value::List(nested(reader, descend(depth, reader.offset)?)?)
        }
        code::BOOLEAN_ARRAY => {
            let count = array(head, 4, reader)?;
            let booleans: Result<_, _> = (0..count).map(|_| reader.boolean()).collect();
            Value::BooleanArray(booleans?)
        }
        // The only array whose count is not repeated in front of the elements.
        code::BYTE_ARRAY => {
            let count = head.elements(1, reader.remaining())?;
            Value::ByteArray(padded(reader, count)?.to_vec())
        }
        code::INT8_ARRAY => Value::Int8Array(many(head, reader)?),
        code::UINT8_ARRAY => Value::UInt8Array(many(head, reader)?),
        code::INT16_ARRAY => Value::Int16Array(many(head, reader)?),
        code::UINT16_ARRAY => Value::UInt16Array(many(head, reader)?),
        code::INT32_ARRAY => Value::Int32Array(many(head, reader)?),
        code::UINT32_ARRAY => Value::UInt32Array(many(head, reader)?),
        code::INT64_ARRAY => Value::Int64Array(many(head, reader)?),
        code::UINT64_ARRAY => Value::UInt64Array(many(head, reader)?),
        code::STRING_ARRAY => {
            let count = head.elements(4, reader.remaining())?;
            let strings: Result<_, _> = (0..count).map(|_| text(reader)).collect();
            Value::StringArray(strings?)
        }
        code::NVLIST_ARRAY => {
            // Version, flag and terminator.
            let count = head.elements(16, reader.remaining())?;
            let mut lists = Vec::with_capacity(count);
            for _ in 0..count {
                lists.push(nested(reader, descend(depth, reader.offset)?)?);
            }
            Value::ListArray(lists)
        }
        code => {
            return Err(DecodeError::UnknownType {
                offset: head.offset,
                code,
            });
        }
    })
}

fn one<T: Scalar>(head: PairHead, reader: &mut Reader<'_>) -> Result<T, DecodeError> {
    head.counts(1)?;
    Ok(T::read_xdr(reader.take(T::XDR_SIZE)?))
}

fn many<T: Scalar>(head: PairHead, reader: &mut Reader<'_>) -> Result<Vec<T>, DecodeError> {
    let count = array(head, T::XDR_SIZE, reader)?;
    let elements = reader.take(count * T::XDR_SIZE)?;
    Ok(elements
        .chunks_exact(T::XDR_SIZE)
        .map(T::read_xdr)
        .collect())
}

/// Reads the repeated count of an array, which is left out where the array is empty.
fn array(head: PairHead, size: usize, reader: &mut Reader<'_>) -> Result<usize, DecodeError> {
    if head.count == 0 {
        return Ok(0);
    }
    let repeated: i32 = reader.read()?;
    head.counts(repeated)?;
    head.elements(size, reader.remaining())
}

fn text(reader: &mut Reader<'_>) -> Result<NvString, DecodeError> {
    let offset = reader.offset;
    let invalid = DecodeError::Text { offset };
    let len: u32 = reader.read()?;
    let Ok(len) = usize::try_from(len) else {
        return Err(invalid);
    };
    let bytes = padded(reader, len)?;
    if bytes.contains(&0) {
        return Err(invalid);
    }
    Ok(bytes.into())
}

/// Takes bytes and the padding behind them.
fn padded<'a>(reader: &mut Reader<'a>, count: usize) -> Result<&'a [u8], DecodeError> {
    let bytes = reader.take(count)?;
    reader.take(align(count, 4) - count)?;
    Ok(bytes)
}
