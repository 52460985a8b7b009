//! Any bytes read as a list of choices: how a target makes of them what no mutation of raw bytes would hit.

/// What is left of an input.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// Some bytes behind their length; fewer, if the input ends.
    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.byte()?);
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        Some(bytes)
    }

    /// Small numbers mostly, at times the largest ones or any.
    pub(crate) fn number(&mut self) -> Option<u64> {
        match self.byte()? {
            small @ ..0xf0 => Some(small.into()),
            large @ 0xf0..0xfe => Some(u64::MAX - u64::from(large - 0xf0)),
            _ => {
                let (any, rest) = self.0.split_first_chunk()?;
                self.0 = rest;
                Some(u64::from_le_bytes(*any))
            }
        }
    }
}
