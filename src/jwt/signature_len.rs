use super::Unverified;

impl Unverified<'_> {
    /// The length of its signature in bytes, if that is base64url.
    pub(crate) fn signature_len(&self) -> usize {
        self.parts.signature.len() * 3 / 4
    }
}
