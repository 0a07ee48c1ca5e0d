//! Why a request is refused although no rule denies it: it can be read in more than one way.

use strum::IntoStaticStr;

/// What is ambiguous in a request. The answer is 400. The texts are for the caller: they name no rule and quote nothing of the request.
///
/// The reasons with a number are about a rule: it is the line of the rule that another reading of the path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Ambiguous {
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    #[error("the path is longer than 8,192 bytes or has more than 128 segments")]
    TooLong,
    #[error("the path has a backslash, or an encoded slash or backslash (%2F, %5C)")]
    EncodedSlash,
    #[error("the path has an encoded percent sign (%25)")]
    EncodedPercent,
    #[error("the path encodes a character that needs no encoding, such as A as %41")]
    NeedlessEscape,
    #[error("a percent sign in the path is not followed by two hexadecimal digits")]
    BadEscape,
    #[error("the path is not UTF-8 when it is decoded")]
    NotUtf8,
    #[error("the path has a character that must be percent-encoded (RFC 3986 section 3.3)")]
    NotEncoded,
    #[error("the path or the query has a control character")]
    Control,
    #[error("the path has a semicolon, which begins parameters of a segment for some APIs")]
    PathParameters,
    #[error("the path has an encoded ? or #, or the request has a fragment")]
    Delimiter,
    #[error("the path has an empty segment (//)")]
    EmptySegment,
    #[error("the path has a dot segment (. or ..)")]
    DotSegment,
    #[error("a segment of the path ends with a dot, or begins or ends with a space or a +, which some systems remove")]
    TrimmedSegment,
    #[error("a segment of the path has :$, which names a stream of a file on Windows")]
    FileStream,
    #[error("the path has a character that some systems turn into a slash or another delimiter")]
    Lookalike,
    #[error("the request has a header that overrides its method")]
    MethodHeader,
    #[error("the query has a parameter that overrides the method")]
    MethodParameter,
    #[error("the request has a header that overrides its path")]
    PathHeader,
    #[error("the segment that names the owner has a + or, at the end of the path, a dot, which some APIs change or cut off")]
    OwnerSegment,
    #[error("the path differs from one with a rule of its own only in the case of its letters, which some APIs ignore")]
    Case(usize),
    #[error("the path differs from one with a rule of its own only in an encoded character")]
    Escape(usize),
    #[error("the path differs from one with a rule of its own only in a trailing slash, which some APIs ignore")]
    TrailingSlash(usize),
    #[error("no rule is for exactly this path, and for some APIs a rule for the paths below it includes it")]
    NothingBelow(usize),
    #[error("the path without the suffix of its last segment has a rule of its own, and some APIs ignore the suffix")]
    Suffix(usize),
    #[error("the path is below that of a file with a rule of its own, and some APIs give the file everything below it")]
    BelowFile(usize),
}

impl Ambiguous {
    /// A stable name, for logs and metrics.
    pub(crate) fn code(self) -> &'static str {
        self.into()
    }

    /// The line of the rule that another reading of the path leads to.
    pub(super) const fn line(self) -> Option<usize> {
        match self {
            Self::Case(line)
            | Self::Escape(line)
            | Self::TrailingSlash(line)
            | Self::NothingBelow(line)
            | Self::Suffix(line)
            | Self::BelowFile(line) => Some(line),
            _ => None,
        }
    }
}
