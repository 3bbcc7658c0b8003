//! How many bytes of the files that are being sent are out, for a progress bar that moves within a file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::io::http::Body;

/// Bytes that the attempts under way have taken from their files. Clones count the same.
#[derive(Clone, Debug, Default)]
pub struct BytesOut(Arc<AtomicU64>);

impl BytesOut {
    /// How many they are now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A body whose bytes are counted for as long as its attempt lasts.
pub(super) struct Counted<'a, B> {
    body: &'a mut B,
    all: &'a BytesOut,
    own: u64,
}

impl<'a, B> Counted<'a, B> {
    pub fn new(body: &'a mut B, all: &'a BytesOut) -> Counted<'a, B> {
        Counted { body, all, own: 0 }
    }

    fn forget(&mut self) {
        self.all.0.fetch_sub(self.own, Ordering::Relaxed);
        self.own = 0;
    }
}

impl<B: Body> Body for Counted<'_, B> {
    type Broken = B::Broken;

    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Broken> {
        let amount = self.body.read(buf)?;
        self.own += amount as u64;
        self.all.0.fetch_add(amount as u64, Ordering::Relaxed);
        Ok(amount)
    }

    fn rewind(&mut self) -> Result<(), Self::Broken> {
        self.forget();
        self.body.rewind()
    }
}

impl<B> Drop for Counted<'_, B> {
    fn drop(&mut self) {
        self.forget();
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    struct Tens(u32);

    impl Body for Tens {
        type Broken = io::Error;

        fn read(&mut self, _: &mut [u8]) -> Result<usize, io::Error> {
            self.0 -= 1;
            Ok(10)
        }

        fn rewind(&mut self) -> Result<(), io::Error> {
            self.0 = 5;
            Ok(())
        }
    }

    #[test]
    fn bytes_count_while_their_attempt_lasts_and_once_after_a_rewind() {
        let all = BytesOut::default();
        let (mut first, mut second) = (Tens(5), Tens(5));
        let mut one = Counted::new(&mut first, &all);
        let mut two = Counted::new(&mut second, &all);
        for _ in 0..3 {
            one.read(&mut []).unwrap();
        }
        two.read(&mut []).unwrap();
        assert_eq!(all.get(), 40);
        one.rewind().unwrap();
        one.read(&mut []).unwrap();
        assert_eq!(all.get(), 20);
        drop(one);
        assert_eq!(all.get(), 10);
        drop(two);
        assert_eq!(all.get(), 0);
    }
}
