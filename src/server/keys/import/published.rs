//! Private keys that everyone has: the examples of specifications and of the page on which most people first see a JWT.

/// The thumbprints (RFC 7638) of the examples, and where they are published with their private halves.
const EXAMPLES: [(&str, &str); 9] = [
    ("IsUn6_e04MaShXFIISMp4kG62LWzMIPy_MvSA5pJgX8", "RFC 7515, A.2"),
    ("oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U", "RFC 7515, A.3"),
    ("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "RFC 7517, A.2"),
    ("cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s", "RFC 7517, A.2"),
    ("9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI", "RFC 7520, 3.4"),
    ("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", "RFC 8037, A.1"),
    ("oGDmHqCJ7yzMkWEkrlZVHkvrHIyQwtlDmeq5ForUHeY", "jwt.io"),
    ("zFHVsM9dc4OlHIwvEnVqfKzRj1ujqYGsZnXAcgn_CqI", "jwt.io"),
    ("19J8y7Zprt2-QKLjF2I5pVk0OELX6cY2AfaAv1LC_w8", "jwt.io"),
];

/// Where the private half of the key with this thumbprint is published.
pub(super) fn source(thumbprint: &str) -> Option<&'static str> {
    EXAMPLES.iter().find(|(example, _)| *example == thumbprint).map(|(_, source)| *source)
}
