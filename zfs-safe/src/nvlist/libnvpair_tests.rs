//! Comparison with libnvpair, the reference.
#![expect(unsafe_code, reason = "calls libnvpair")]

use std::ptr;

use proptest::prelude::*;
use zfs_sys::nvpair_sys as sys;

use super::arbitrary::lists;
use super::*;

const FORMS: [(Encoding, i32); 2] = [
    (Encoding::Native, sys::NV_ENCODE_NATIVE),
    (Encoding::Xdr, sys::NV_ENCODE_XDR),
];

/// A list of libnvpair.
struct Reference(*mut sys::nvlist_t);

impl Reference {
    /// What libnvpair makes of packed bytes, which have to be aligned for it.
    fn unpack(packed: &[u8]) -> Option<Self> {
        let mut aligned: Vec<u64> = packed
            .chunks(8)
            .map(|chunk| {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                u64::from_ne_bytes(word)
            })
            .collect();
        let size = packed.len().try_into().expect("a size fits");
        let mut list = ptr::null_mut();
        // SAFETY: the buffer is alive and has at least this many bytes, and `list` is null as the function wants it.
        // The function does not keep a pointer to the buffer.
        let error =
            unsafe { sys::nvlist_unpack(aligned.as_mut_ptr().cast(), size, &raw mut list, 0) };
        (error == 0).then_some(Self(list))
    }

    fn pack(&self, encoding: i32) -> Vec<u8> {
        let mut buffer = ptr::null_mut();
        let mut size = 0;
        // SAFETY: the list is one of libnvpair's and alive. With a null buffer the function allocates one of `size`.
        let error =
            unsafe { sys::nvlist_pack(self.0, &raw mut buffer, &raw mut size, encoding, 0) };
        assert_eq!(error, 0, "libnvpair cannot pack its own list");
        let size = size.try_into().expect("a size fits");
        // SAFETY: the function succeeded, so the buffer is its own and has `size` initialized bytes.
        let packed = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), size) }.to_vec();
        // SAFETY: libnvpair allocates with malloc and leaves freeing to its caller; nothing refers to the buffer any more.
        unsafe { libc::free(buffer.cast()) };
        packed
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // SAFETY: the list came from `nvlist_unpack` and is freed once.
        unsafe { sys::nvlist_free(self.0) };
    }
}

/// Empties arrays for which libnvpair reserves four bytes in the XDR encoding that it then does not write.
fn empty_arrays(list: &NvList) -> usize {
    list.iter()
        .map(|(_, value)| match value {
            Value::List(list) => empty_arrays(list),
            Value::ListArray(lists) => lists.iter().map(empty_arrays).sum(),
            Value::ByteArray(_) | Value::StringArray(_) | Value::Boolean => 0,
            value => usize::from(value.element_count() == 0),
        })
        .sum()
}

#[test]
fn libnvpair_refuses_the_other_byte_order() {
    let list: NvList = [("a", 1_u64)].into_iter().collect();
    let foreign = match crate::byte_order::ByteOrder::HOST {
        crate::byte_order::ByteOrder::Little => Encoding::NativeBig,
        crate::byte_order::ByteOrder::Big => Encoding::NativeLittle,
    };
    assert!(Reference::unpack(&list.encode(foreign).unwrap()).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn libnvpair_unpacks_what_we_pack(list in lists()) {
        for (encoding, _) in FORMS {
            let reference = Reference::unpack(&list.encode(encoding).unwrap());
            prop_assert!(reference.is_some(), "{encoding:?}");
            for (_, form) in FORMS {
                let repacked = reference.as_ref().unwrap().pack(form);
                prop_assert_eq!(&NvList::decode(&repacked).unwrap(), &list);
            }
        }
    }

    #[test]
    fn native_bytes_equal_those_of_libnvpair(list in lists()) {
        let packed = list.encode(Encoding::Native).unwrap();
        let reference = Reference::unpack(&packed).unwrap();
        prop_assert_eq!(reference.pack(sys::NV_ENCODE_NATIVE), packed);
    }

    #[test]
    fn xdr_lengths_equal_those_of_libnvpair(list in lists()) {
        let packed = list.encode(Encoding::Xdr).unwrap();
        let reference = Reference::unpack(&packed).unwrap().pack(sys::NV_ENCODE_XDR);
        prop_assert_eq!(reference.len(), packed.len() + 4 * empty_arrays(&list));
    }

    /// Damaged input: what we accept, libnvpair accepts, and understands in the same way.
    #[test]
    fn accepts_no_more_than_libnvpair(list in lists(), seed in any::<u64>()) {
        for (encoding, _) in FORMS {
            let packed = list.encode(encoding).unwrap();
            let bits = packed.len() as u64 * 8;
            for step in 0..16_u64 {
                let bit = usize::try_from(seed.wrapping_mul(step * 2 + 1) % bits).unwrap();
                // The XDR encoding has only one byte order, whatever its second byte says.
                let mut damaged = packed.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                let Ok(ours) = NvList::decode(&damaged) else {
                    continue;
                };
                if damaged[0] == 0 && damaged[1] != packed[1] {
                    continue;
                }
                let reference = Reference::unpack(&damaged);
                prop_assert!(reference.is_some(), "libnvpair refuses {ours:?}");
                let theirs = NvList::decode(&reference.unwrap().pack(sys::NV_ENCODE_NATIVE)).unwrap();
                prop_assert_eq!(format!("{theirs:?}"), format!("{ours:?}"));
            }
        }
    }
}
