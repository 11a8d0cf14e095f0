//! What a script answers, and how it is taken apart.

use bytes::Bytes;

use super::StoreError;

/// A script's answer. Scripts never answer with floats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Lua's `false` or `nil`.
    Nil,
    /// An integer.
    Int(i64),
    /// A string.
    Bytes(Bytes),
    /// A table, up to its first `nil`.
    Array(Vec<Reply>),
}

impl Reply {
    /// The items of an array.
    pub fn into_array(self) -> Result<Vec<Reply>, StoreError> {
        match self {
            Self::Array(items) => Ok(items),
            other => Err(other.unexpected("an array")),
        }
    }

    /// The bytes of a string.
    pub fn into_bytes(self) -> Result<Bytes, StoreError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => Err(other.unexpected("a string")),
        }
    }

    /// A string that must be UTF-8.
    pub fn into_text(self) -> Result<String, StoreError> {
        let bytes = self.into_bytes()?;
        String::from_utf8(bytes.into())
            .map_err(|error| StoreError::Broken(format!("a reply is not UTF-8: {error}")))
    }

    /// A non-negative integer, sent as such or in decimal digits.
    pub fn into_u64(self) -> Result<u64, StoreError> {
        let number = match &self {
            Self::Int(number) => u64::try_from(*number).ok(),
            Self::Bytes(digits) => std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()),
            Self::Nil | Self::Array(_) => None,
        };
        number.ok_or_else(|| self.unexpected("a number"))
    }

    fn unexpected(&self, wanted: &str) -> StoreError {
        StoreError::Broken(format!("a reply should be {wanted} and is {self:?}"))
    }
}
