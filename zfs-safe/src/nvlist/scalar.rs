//! Numbers of fixed size, as both encodings write them.

use crate::byte_order::ByteOrder;

/// A number with a fixed size on the wire.
pub(super) trait Scalar: Copy {
    /// Bytes in the native encoding.
    const SIZE: usize;

    /// Bytes in the XDR encoding, whose smallest unit is four bytes.
    const XDR_SIZE: usize = if Self::SIZE < 4 { 4 } else { Self::SIZE };

    /// Reads exactly [`SIZE`](Self::SIZE) bytes.
    fn read(bytes: &[u8], order: ByteOrder) -> Self;

    /// Appends [`SIZE`](Self::SIZE) bytes.
    fn write(self, order: ByteOrder, out: &mut Vec<u8>);

    /// Reads exactly [`XDR_SIZE`](Self::XDR_SIZE) bytes.
    ///
    /// Only the low bytes count: libtirpc widens a small number by its sign, the Linux kernel with zeros.
    fn read_xdr(bytes: &[u8]) -> Self {
        Self::read(&bytes[Self::XDR_SIZE - Self::SIZE..], ByteOrder::Big)
    }

    /// Appends [`XDR_SIZE`](Self::XDR_SIZE) bytes, widened with zeros, which libtirpc and the kernel both read.
    fn write_xdr(self, out: &mut Vec<u8>) {
        out.resize(out.len() + (Self::XDR_SIZE - Self::SIZE), 0);
        self.write(ByteOrder::Big, out);
    }
}

macro_rules! scalar {
    ($($type:ty),*) => {$(
        impl Scalar for $type {
            const SIZE: usize = size_of::<$type>();

            fn read(bytes: &[u8], order: ByteOrder) -> Self {
                let mut array = [0; size_of::<$type>()];
                array.copy_from_slice(bytes);
                match order {
                    ByteOrder::Little => Self::from_le_bytes(array),
                    ByteOrder::Big => Self::from_be_bytes(array),
                }
            }

            fn write(self, order: ByteOrder, out: &mut Vec<u8>) {
                match order {
                    ByteOrder::Little => out.extend_from_slice(&self.to_le_bytes()),
                    ByteOrder::Big => out.extend_from_slice(&self.to_be_bytes()),
                }
            }
        }
    )*};
}

scalar!(u8, i8, u16, i16, u32, i32, u64, i64, f64);
