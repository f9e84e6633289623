//! The time as HTTP writes it (RFC 9110 §5.6.7), written anew when the second changes.

use std::time::{Duration, SystemTime};

const BYTES: usize = 29;

/// `Sun, 06 Nov 1994 08:49:37 GMT`
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Date {
    /// Since 1970.
    second: u64,
    text: [u8; BYTES],
}

impl Date {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// This one, or the next if a second has passed.
    pub(crate) fn now(self) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        // A clock before 1970 is wrong anyway.
        let second = since.unwrap_or_default().as_secs();
        if second == self.second && second > 0 {
            self
        } else {
            Self::at(second)
        }
    }

    fn at(second: u64) -> Self {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let mut text = [b' '; BYTES];
        let written = httpdate::fmt_http_date(time);
        for (to, from) in text.iter_mut().zip(written.as_bytes()) {
            *to = *from;
        }
        Self { second, text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_the_rfc_does_and_kept_for_a_second() {
        let date = Date::at(784_111_777);
        assert_eq!(date.as_bytes(), b"Sun, 06 Nov 1994 08:49:37 GMT");
        let now = date.now();
        assert_ne!(now.as_bytes(), date.as_bytes());
        assert!(now.now().second - now.second < 60);
    }
}
