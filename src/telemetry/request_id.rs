//! The name of one request, by which the app's log, the edge's log and an error page are brought together.

const HEX: &[u8; 16] = b"0123456789abcdef";

/// 128 random bits in hex, or what a trusted proxy has called the request before.
#[derive(Debug)]
pub(crate) enum RequestId {
    New([u8; 32]),
    Kept(Box<str>),
}

impl RequestId {
    pub(crate) fn new(random: u128) -> Self {
        let mut digits = [0; 32];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(random.to_be_bytes()) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 0xf)];
        }
        Self::New(digits)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::New(digits) => digits,
            Self::Kept(id) => id.as_bytes(),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        // Digits are always text.
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_bits_in_hex() {
        let id = RequestId::new(0x0123_4567_89ab_cdef_0000_0000_0000_00ff);
        assert_eq!(id.as_str(), "0123456789abcdef00000000000000ff");
    }
}
