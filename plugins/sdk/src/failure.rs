use std::{error::Error, fmt, time::Duration};

/// How a job fails on purpose, and what that means for the task.
///
/// Every [`std::error::Error`] converts into [`Failure::Retryable`], so `?` works on it. Where that
/// is too kind, or where the error is no such `Error`, like a `String` or an `anyhow::Error`, the
/// constructors take whatever can be displayed:
///
/// ```
/// # use sentinel_job::Failure;
/// fn parse(text: &str) -> Result<u32, Failure> {
///     text.parse().map_err(Failure::permanent) // trying again would not help
/// }
/// ```
///
/// `Failure` is for the end of a job, not for passing errors around in it, and is therefore no
/// `Error` itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Try again, after the task's back-off.
    Retryable(String),
    /// Try again after this long.
    RetryAfter(Duration, String),
    /// Never try again.
    Permanent(String),
}

// Messages are written with `{:#}`: it changes nothing for text, and makes the error types of
// anyhow and eyre tell their causes.
impl Failure {
    /// Fails this attempt; the task is tried again after its back-off, while it has attempts left.
    pub fn retryable(message: impl fmt::Display) -> Self {
        Self::Retryable(format!("{message:#}"))
    }

    /// Fails this attempt; the task is tried again after `delay`, while it has attempts left.
    ///
    /// For a job that was told when to come back, as by a `Retry-After` header.
    pub fn retry_after(delay: Duration, message: impl fmt::Display) -> Self {
        Self::RetryAfter(delay, format!("{message:#}"))
    }

    /// Fails the task for good, however many attempts it has left.
    pub fn permanent(message: impl fmt::Display) -> Self {
        Self::Permanent(format!("{message:#}"))
    }

    /// What went wrong.
    pub fn message(&self) -> &str {
        match self {
            Self::Retryable(message) | Self::RetryAfter(_, message) | Self::Permanent(message) => message,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl<E: Error> From<E> for Failure {
    /// Retryable, with the error's message followed by those of its causes.
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self::Retryable(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bad count")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn an_error_becomes_retryable_and_tells_its_causes() {
        fn count() -> Result<u32, Failure> {
            Ok("many".parse().map_err(Outer)?)
        }
        let expected = "bad count: invalid digit found in string";
        assert_eq!(count(), Err(Failure::Retryable(expected.into())));
    }

    #[test]
    fn the_constructors_take_what_can_be_displayed() {
        let error = "x".parse::<u8>().unwrap_err();
        assert_eq!(Failure::permanent(error).message(), "invalid digit found in string");
        assert_eq!(Failure::retryable(404).to_string(), "404");
        assert_eq!(
            Failure::retry_after(Duration::from_secs(2), "busy"),
            Failure::RetryAfter(Duration::from_secs(2), "busy".into())
        );
    }
}
