//! Memory of an amount that a file decides: an error with that amount where it cannot be had, never an abort.

use crate::error::ErrorKind;

fn out_of_memory<T>(count: usize) -> ErrorKind {
    ErrorKind::OutOfMemory { bytes: (count as u64).saturating_mul(size_of::<T>() as u64) }
}

/// Room for so many more.
#[inline]
pub(crate) fn reserve<T>(list: &mut Vec<T>, more: usize) -> Result<(), ErrorKind> {
    list.try_reserve(more).map_err(|_| out_of_memory::<T>(list.len().saturating_add(more)))
}

/// Room for so many more and no others.
#[inline]
pub(crate) fn reserve_exact<T>(list: &mut Vec<T>, more: usize) -> Result<(), ErrorKind> {
    list.try_reserve_exact(more).map_err(|_| out_of_memory::<T>(list.len().saturating_add(more)))
}

/// One more.
#[inline]
pub(crate) fn push<T>(list: &mut Vec<T>, item: T) -> Result<(), ErrorKind> {
    if list.len() == list.capacity() {
        reserve(list, 1)?;
    }
    list.push(item);
    Ok(())
}

/// More text.
#[inline]
pub(crate) fn push_str(text: &mut String, more: &str) -> Result<(), ErrorKind> {
    text.try_reserve(more.len()).map_err(|_| out_of_memory::<u8>(text.len().saturating_add(more.len())))?;
    text.push_str(more);
    Ok(())
}

/// More bytes.
#[inline]
pub(crate) fn extend(list: &mut Vec<u8>, more: &[u8]) -> Result<(), ErrorKind> {
    reserve(list, more.len())?;
    list.extend_from_slice(more);
    Ok(())
}

/// So many of one value.
pub(crate) fn filled<T: Clone>(value: T, count: usize) -> Result<Vec<T>, ErrorKind> {
    let mut list = Vec::new();
    reserve_exact(&mut list, count)?;
    list.resize(count, value);
    Ok(list)
}

/// A copy.
pub(crate) fn copy(bytes: &[u8]) -> Result<Vec<u8>, ErrorKind> {
    let mut copy = Vec::new();
    reserve_exact(&mut copy, bytes.len())?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_had_is_an_error_with_the_amount() {
        let bytes = |result: Result<(), ErrorKind>| match result {
            Err(ErrorKind::OutOfMemory { bytes }) => bytes,
            other => panic!("{other:?}"),
        };
        const MOST: usize = isize::MAX as usize;
        assert_eq!(bytes(reserve(&mut vec![1u8], MOST)), MOST as u64 + 1);
        assert_eq!(bytes(reserve_exact(&mut vec![1u64], MOST)), u64::MAX);
        assert_eq!(bytes(filled(0u8, 1 << 62).map(drop)), 1 << 62);
        assert_eq!(copy(b"abc").unwrap(), b"abc");
    }
}
