//! Packing of lists.

use super::scalar::Scalar;
use super::value::{LIST_SIZE, POINTER_SIZE, Value, align, value_offset};
use super::{NvList, NvString, Pair, decode};
use crate::byte_order::ByteOrder;

/// How a list is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Native, in the byte order of this machine: what ioctls take and give.
    Native,
    /// Native, least significant byte first.
    NativeLittle,
    /// Native, most significant byte first.
    NativeBig,
    /// XDR, the form inside streams and on disk.
    Xdr,
}

/// Why a list could not be packed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A name contains NUL.
    #[error("name {name:?} contains a NUL byte")]
    NulInName {
        /// The name.
        name: NvString,
    },
    /// A string contains NUL.
    #[error("a string in the value of {name:?} contains a NUL byte")]
    NulInString {
        /// Name of the pair.
        name: NvString,
    },
    /// A name is longer than the format can express.
    #[error("a name of {len} bytes is longer than {NAME_MAX}")]
    NameTooLong {
        /// Length of the name in bytes.
        len: usize,
    },
    /// Lists are nested more deeply than [`Limits::DEPTH`](super::Limits::DEPTH).
    #[error("lists in the value of {name:?} are nested too deeply")]
    TooDeep {
        /// Name of the pair at the limit.
        name: NvString,
    },
    /// The packed list would exceed what the format can express (2 GiB).
    #[error("packed list would be larger than 2 GiB")]
    TooLarge,
}

pub(super) fn encode(list: &NvList, encoding: Encoding) -> Result<Vec<u8>, EncodeError> {
    let order = match encoding {
        Encoding::Native | Encoding::Xdr => ByteOrder::HOST,
        Encoding::NativeLittle => ByteOrder::Little,
        Encoding::NativeBig => ByteOrder::Big,
    };
    let endian = match order {
        ByteOrder::Little => decode::LITTLE,
        ByteOrder::Big => decode::BIG,
    };
    if encoding == Encoding::Xdr {
        let mut out = vec![decode::XDR, endian, 0, 0];
        xdr_list(list, 0, &mut out)?;
        Ok(out)
    } else {
        let mut out = vec![decode::NATIVE, endian, 0, 0];
        list_head(list).for_each(|word| word.write(order, &mut out));
        Native {
            order,
            out: &mut out,
        }
        .pairs(list, 0)?;
        Ok(out)
    }
}

struct Native<'a> {
    order: ByteOrder,
    out: &'a mut Vec<u8>,
}

impl Native<'_> {
    fn pairs(&mut self, list: &NvList, depth: usize) -> Result<(), EncodeError> {
        for pair in &list.pairs {
            self.pair(pair, depth)?;
        }
        self.put(0_u32);
        within_format(self.out.len())?;
        Ok(())
    }

    fn pair(&mut self, pair: &Pair, depth: usize) -> Result<(), EncodeError> {
        check(pair)?;
        let name = pair.name.as_bytes();
        let value_at = value_offset(name.len());
        let size = value_at + align(pair.value.native_size(), 8);
        let start = self.out.len();
        self.put(within_format(size)?);
        self.put(name_size(name)?);
        self.put(0_i16);
        self.put(within_format(pair.value.element_count())?);
        self.put(pair.value.type_code());
        self.out.extend_from_slice(name);
        self.out.resize(start + value_at, 0);
        self.value(&pair.value);
        self.out.resize(start + size, 0);
        for nested in nested(&pair.value) {
            deeper(depth, pair)?;
            self.pairs(nested, depth + 1)?;
        }
        Ok(())
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Boolean => {}
            Value::BooleanValue(v) => self.put(u32::from(*v)),
            Value::Byte(v) | Value::UInt8(v) => self.put(*v),
            Value::Int8(v) => self.put(*v),
            Value::Int16(v) => self.put(*v),
            Value::UInt16(v) => self.put(*v),
            Value::Int32(v) => self.put(*v),
            Value::UInt32(v) => self.put(*v),
            Value::Int64(v) | Value::HrTime(v) => self.put(*v),
            Value::UInt64(v) => self.put(*v),
            Value::Double(v) => self.put(*v),
            Value::String(v) => self.put_string(v),
            Value::BooleanArray(v) => {
                for &boolean in v {
                    self.put(u32::from(boolean));
                }
            }
            Value::ByteArray(v) | Value::UInt8Array(v) => self.out.extend_from_slice(v),
            Value::Int8Array(v) => self.put_all(v),
            Value::Int16Array(v) => self.put_all(v),
            Value::UInt16Array(v) => self.put_all(v),
            Value::Int32Array(v) => self.put_all(v),
            Value::UInt32Array(v) => self.put_all(v),
            Value::Int64Array(v) => self.put_all(v),
            Value::UInt64Array(v) => self.put_all(v),
            Value::StringArray(v) => {
                self.put_zeros(v.len() * POINTER_SIZE);
                for string in v {
                    self.put_string(string);
                }
            }
            Value::List(v) => self.put_list_head(v),
            Value::ListArray(v) => {
                self.put_zeros(v.len() * POINTER_SIZE);
                for list in v {
                    self.put_list_head(list);
                }
            }
        }
    }

    fn put_list_head(&mut self, list: &NvList) {
        let end = self.out.len() + LIST_SIZE;
        list_head(list).for_each(|word| self.put(word));
        self.out.resize(end, 0);
    }

    fn put_string(&mut self, string: &NvString) {
        self.out.extend_from_slice(string.as_bytes());
        self.out.push(0);
    }

    fn put_zeros(&mut self, count: usize) {
        self.out.resize(self.out.len() + count, 0);
    }

    fn put_all<T: Scalar>(&mut self, values: &[T]) {
        for &value in values {
            self.put(value);
        }
    }

    fn put<T: Scalar>(&mut self, value: T) {
        value.write(self.order, self.out);
    }
}

fn xdr_list(list: &NvList, depth: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    list_head(list).for_each(|word| word.write_xdr(out));
    for pair in &list.pairs {
        xdr_pair(pair, depth, out)?;
    }
    out.resize(out.len() + 8, 0);
    within_format(out.len())?;
    Ok(())
}

fn xdr_pair(pair: &Pair, depth: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    check(pair)?;
    let name = pair.name.as_bytes();
    name_size(name)?;
    let native_size = value_offset(name.len()) + align(pair.value.native_size(), 8);
    let start = out.len();
    0_u32.write_xdr(out);
    within_format(native_size)?.write_xdr(out);
    xdr_string(&pair.name, out)?;
    pair.value.type_code().write_xdr(out);
    within_format(pair.value.element_count())?.write_xdr(out);
    xdr_value(pair, depth, out)?;
    let size = within_format(out.len() - start)?;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
    Ok(())
}

fn xdr_value(pair: &Pair, depth: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    match &pair.value {
        Value::Boolean => {}
        Value::BooleanValue(v) => u32::from(*v).write_xdr(out),
        Value::Byte(v) | Value::UInt8(v) => v.write_xdr(out),
        Value::Int8(v) => v.write_xdr(out),
        Value::Int16(v) => v.write_xdr(out),
        Value::UInt16(v) => v.write_xdr(out),
        Value::Int32(v) => v.write_xdr(out),
        Value::UInt32(v) => v.write_xdr(out),
        Value::Int64(v) | Value::HrTime(v) => v.write_xdr(out),
        Value::UInt64(v) => v.write_xdr(out),
        Value::Double(v) => v.write_xdr(out),
        Value::String(v) => xdr_string(v, out)?,
        Value::ByteArray(v) => {
            out.extend_from_slice(v);
            xdr_pad(v.len(), out);
        }
        Value::BooleanArray(v) => {
            let words: Vec<u32> = v.iter().map(|&b| u32::from(b)).collect();
            xdr_array(&words, out)?;
        }
        Value::Int8Array(v) => xdr_array(v, out)?,
        Value::UInt8Array(v) => xdr_array(v, out)?,
        Value::Int16Array(v) => xdr_array(v, out)?,
        Value::UInt16Array(v) => xdr_array(v, out)?,
        Value::Int32Array(v) => xdr_array(v, out)?,
        Value::UInt32Array(v) => xdr_array(v, out)?,
        Value::Int64Array(v) => xdr_array(v, out)?,
        Value::UInt64Array(v) => xdr_array(v, out)?,
        Value::StringArray(v) => {
            for string in v {
                xdr_string(string, out)?;
            }
        }
        Value::List(_) | Value::ListArray(_) => {
            for nested in nested(&pair.value) {
                deeper(depth, pair)?;
                xdr_list(nested, depth + 1, out)?;
            }
        }
    }
    Ok(())
}

/// Writes the count and the elements; libnvpair leaves out even the count of an empty array.
fn xdr_array<T: Scalar>(values: &[T], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if !values.is_empty() {
        within_format(values.len())?.write_xdr(out);
        for value in values {
            value.write_xdr(out);
        }
    }
    Ok(())
}

fn xdr_string(string: &NvString, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let bytes = string.as_bytes();
    within_format(bytes.len())?.write_xdr(out);
    out.extend_from_slice(bytes);
    xdr_pad(bytes.len(), out);
    Ok(())
}

fn xdr_pad(len: usize, out: &mut Vec<u8>) {
    out.resize(out.len() + align(len, 4) - len, 0);
}

/// Version and flag.
fn list_head(list: &NvList) -> impl Iterator<Item = u32> + use<> {
    [0, list.unique as u32].into_iter()
}

fn nested(value: &Value) -> &[NvList] {
    match value {
        Value::List(list) => std::slice::from_ref(list),
        Value::ListArray(lists) => lists,
        _ => &[],
    }
}

fn check(pair: &Pair) -> Result<(), EncodeError> {
    let has_nul = |s: &NvString| s.as_bytes().contains(&0);
    let name = &pair.name;
    if has_nul(name) {
        return Err(EncodeError::NulInName { name: name.clone() });
    }
    let strings = match &pair.value {
        Value::String(string) => std::slice::from_ref(string),
        Value::StringArray(strings) => strings,
        _ => &[],
    };
    if strings.iter().any(has_nul) {
        return Err(EncodeError::NulInString { name: name.clone() });
    }
    Ok(())
}

fn deeper(depth: usize, pair: &Pair) -> Result<(), EncodeError> {
    if depth >= decode::Limits::DEPTH {
        return Err(EncodeError::TooDeep {
            name: pair.name.clone(),
        });
    }
    Ok(())
}

/// The size of a name is 16 bits, signed, with NUL; libnvpair does not use the largest value.
const NAME_MAX: usize = 0x7ffe;

fn name_size(name: &[u8]) -> Result<i16, EncodeError> {
    i16::try_from(name.len() + 1)
        .ok()
        .filter(|_| name.len() <= NAME_MAX)
        .ok_or(EncodeError::NameTooLong { len: name.len() })
}

/// Sizes and counts are 32 bits, signed.
fn within_format(size: usize) -> Result<i32, EncodeError> {
    i32::try_from(size).map_err(|_| EncodeError::TooLarge)
}
