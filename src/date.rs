//! The time as HTTP writes it (RFC 9110 §5.6.7), written anew when the second changes.

use std::time::{Duration, SystemTime};

const BYTES: usize = 29;

/// `Sun, 06 Nov 1994 08:49:37 GMT`
#[derive(Debug, Clone, Copy)]
pub(crate) struct Date {
    /// Since 1970.
    second: u64,
    text: [u8; BYTES],
}

impl Date {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    pub(crate) fn now() -> Self {
        Self::at(second())
    }

    /// This one, or the one of now if a second has passed.
    pub(crate) fn or_later(self) -> Self {
        match second() {
            same if same == self.second => self,
            other => Self::at(other),
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

fn second() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    // A clock before 1970 is wrong anyway.
    since.unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_as_the_rfc_does_and_kept_for_a_second() {
        let date = Date::at(784_111_777);
        assert_eq!(date.as_bytes(), b"Sun, 06 Nov 1994 08:49:37 GMT");
        let now = date.or_later();
        assert_ne!(now.as_bytes(), date.as_bytes());
        assert!(now.or_later().second - now.second < 60);
    }
}
