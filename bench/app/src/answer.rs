//! What `bench-probe` and `bench-flood` have to know of the head of an answer.

use std::io;

pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) head_bytes: usize,
    /// None where the body ends with the connection.
    pub(crate) body_bytes: Option<usize>,
    /// Whether the connection ends with the answer.
    pub(crate) close: bool,
}

impl Head {
    /// Of the whole answer, where that is known.
    pub(crate) fn total_bytes(&self) -> Option<usize> {
        Some(self.head_bytes + self.body_bytes?)
    }
}

/// None as long as the head isn't whole. Chunks are an error: nothing that is measured here answers with them.
pub(crate) fn parse(buffer: &[u8]) -> io::Result<Option<Head>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(buffer).map_err(io::Error::other)?;
    let httparse::Status::Complete(head_bytes) = parsed else {
        return Ok(None);
    };
    let field = |name: &str| {
        let mut fields = response.headers.iter();
        let field = fields.find(|field| field.name.eq_ignore_ascii_case(name));
        field.and_then(|field| std::str::from_utf8(field.value).ok())
    };
    if field("transfer-encoding").is_some() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let length = field("content-length").map(str::parse).transpose();
    let body_bytes = length.map_err(io::Error::other)?;
    let close = field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok(Some(Head {
        status: response.code.unwrap_or_default(),
        head_bytes,
        body_bytes,
        close: close || body_bytes.is_none() || response.version == Some(0),
    }))
}
