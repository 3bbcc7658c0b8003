//! The names in a folder as one number, by which two listings are compared without keeping the names of
//! either.

/// What the names in a folder are, in 64 bits. In which order they are added does not matter.
///
/// Whoever may write to the folder can find names that cancel each other out, and so hide their own
/// file until the stamps come round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NamesHash(pub u64);

/// What a name in a folder is that of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A file that is wanted.
    File = 1,
    /// A marker.
    Marker,
    /// A folder that is entered.
    Folder,
}

impl NamesHash {
    /// Adds a name. The same name of another kind of thing is another name.
    pub fn add(&mut self, kind: Named, name: &[u8]) {
        self.0 = self.0.wrapping_add(hash(name, kind as u64));
    }
}

/// Every bit of `bytes` has a say in every bit of the number (the finaliser of SplitMix64, over
/// words of eight bytes).
pub(super) fn hash(bytes: &[u8], seed: u64) -> u64 {
    let mix = |mut word: u64| {
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    };
    let mut state = mix(seed ^ (bytes.len() as u64) << 8);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        state = mix(state ^ u64::from_le_bytes(word)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    }
    state
}
