//! Why a request is refused although a rule may be for it: it can be read in more than one way.

use std::fmt;

use strum::IntoStaticStr;

/// What is ambiguous in a request. The answer is 400. The texts are for the caller: they quote nothing of the request, and do not say which rules
/// there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Ambiguous {
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    #[error("the path is longer than 8,192 bytes or has more than 128 segments")]
    TooLong,
    #[error("the path has more than 2 segments that are called like scripts, such as index.php")]
    Scripts,
    #[error("the path has a backslash, or an encoded slash or backslash (%2F, %5C)")]
    EncodedSlash,
    #[error("the path has an encoded percent sign (%25)")]
    EncodedPercent,
    #[error("the path encodes a character that needs no encoding, such as A as %41")]
    NeedlessEscape,
    #[error("a percent sign in the path, or in the name of a parameter of the query, is not followed by two hexadecimal digits")]
    BadEscape,
    #[error("the path is not UTF-8 when it is decoded")]
    NotUtf8,
    #[error("the path has a character that must be percent-encoded (RFC 3986 section 3.3), as encodeURIComponent does")]
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
    #[error(
        "a segment of the path ends with a dot, begins or ends with a space or a +, or has one of these two before a dot: some systems remove them"
    )]
    TrimmedSegment,
    #[error("a segment of the path has :$, which names a stream of a file on Windows")]
    FileStream,
    #[error("a segment of the path can be the short name of a file on Windows, such as ADMINI~1")]
    ShortName,
    #[error("a segment of the path begins like (S(...)), which ASP.NET removes")]
    Cookieless,
    #[error("the path has a character that some systems turn into another one, such as a slash")]
    Lookalike,
    #[error("the request has a header that overrides its method")]
    MethodHeader,
    #[error("the query has a parameter that overrides the method")]
    MethodParameter,
    #[error("the request has a header that overrides its path")]
    PathHeader,
    /// The segment that names the owner.
    #[error("the path can be read in several ways, and the answer depends on which of them is meant")]
    OwnerSegment,
    /// Some API reads the path as one by which the request needs something else.
    #[error("the path can be read in several ways, and the answer depends on which of them is meant")]
    OtherReading {
        how: Leniency,
        /// The line of the rule for that path, if there is one.
        line: Option<usize>,
    },
}

impl Ambiguous {
    /// A stable name, for logs and metrics.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::OtherReading { how, .. } => how.code(),
            other => other.into(),
        }
    }

    /// What the operator needs to know, for the log and `--check`. It can depend on the rules, which are not the caller's business.
    pub(crate) fn cause(self) -> String {
        match self {
            Self::OtherReading { how, line: Some(line) } => format!("{how}, which leads to the rule at line {line}"),
            Self::OtherReading { how, line: None } => format!("{how}, which leads to a path without a rule"),
            Self::OwnerSegment => {
                "the segment that names the owner has a +, or characters that some systems change or drop, so that they read another owner"
                    .to_owned()
            }
            other => other.to_string(),
        }
    }
}

/// What a lenient API ignores, removes or adds to find the handler for a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Leniency {
    Case,
    Escape,
    TrailingSlash,
    MissingSegment,
    Suffix,
    IndexFile,
    BelowFile,
    Script,
}

impl Leniency {
    fn code(self) -> &'static str {
        self.into()
    }
}

impl fmt::Display for Leniency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Case => "some APIs ignore the case of letters",
            Self::Escape => "some APIs decode or normalise a path before they compare it",
            Self::TrailingSlash => "some APIs ignore a trailing slash",
            Self::MissingSegment => "for some APIs, the last segments of a path may be missing",
            Self::Suffix => "some APIs ignore a suffix such as .json, or add one such as .php",
            Self::IndexFile => "for some APIs, a folder and the file index or default in it are the same",
            Self::BelowFile => "some APIs run a file for all paths below it",
            Self::Script => "some APIs leave a script such as index.php out of the path, or all segments up to it",
        })
    }
}
