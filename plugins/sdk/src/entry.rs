//! Between the WIT and a typed function. Public only for the expansion of `#[job]`.

use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Failure, Task, payload};

/// A crate's job, as `#[job]` implements it.
pub trait Job {
    /// Runs one attempt. The payload and the ok value are JSON text.
    fn run(task: Task, payload: &str) -> Result<String, Failure>;

    /// What it says of itself.
    fn describe() -> Description;
}

/// What a job says of itself; schemas are JSON text.
pub struct Description {
    /// What it does.
    pub summary: String,
    /// What its payload must be.
    pub payload_schema: Option<String>,
    /// What its result is.
    pub result_schema: Option<String>,
}

/// The schema of a type, if it has one: of a `Result` that of its ok value.
///
/// `#[job]` calls `schema` on `&&SchemaOf::<T>::new()` without knowing whether `T` has one. Rust
/// takes the first of these traits that holds: the more references it is implemented behind, the
/// earlier it is looked at.
pub struct SchemaOf<T>(PhantomData<T>);

impl<T> Clone for SchemaOf<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SchemaOf<T> {}

impl<T> SchemaOf<T> {
    /// Of this type.
    #[expect(clippy::new_without_default, reason = "for the macro alone")]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

/// Of what a fallible function returns.
pub trait OkSchema {
    /// The schema of the ok value.
    fn schema(&self) -> Option<String>;
}

impl<O: JsonSchema, E> OkSchema for &SchemaOf<Result<O, E>> {
    fn schema(&self) -> Option<String> {
        text_of::<O>()
    }
}

/// Of a type that has one.
pub trait TypeSchema {
    /// The schema.
    fn schema(&self) -> Option<String>;
}

impl<T: JsonSchema> TypeSchema for SchemaOf<T> {
    fn schema(&self) -> Option<String> {
        text_of::<T>()
    }
}

/// Of every other type.
pub trait NoSchema: Sized {
    /// None.
    fn schema(self) -> Option<String> {
        None
    }
}

impl<T> NoSchema for SchemaOf<T> {}

fn text_of<T: JsonSchema>() -> Option<String> {
    serde_json::to_string(&schemars::schema_for!(T)).ok()
}

/// The type of [`Job::run`].
pub type Run = fn(Task, &str) -> Result<String, Failure>;

/// The payload as a job's typed input.
pub fn input<I: DeserializeOwned>(payload: &str) -> Result<I, Failure> {
    payload::parse(payload)
}

/// What a job's function returned.
///
/// `#[job]` calls `outcome` on it without knowing the type. Rust prefers an inherent method to a
/// trait's, so a `Result` ends the job either way and everything else is its result.
pub struct Returned<T>(pub T);

impl<O, E> Returned<Result<O, E>> {
    /// The ok value as JSON, or the failure.
    pub fn outcome(self) -> Result<String, Failure>
    where
        O: Serialize,
        E: Into<Failure>,
    {
        to_json(&self.0.map_err(Into::into)?)
    }
}

/// The outcome of a function that cannot fail.
pub trait Plain {
    /// The value as JSON.
    fn outcome(self) -> Result<String, Failure>;
}

impl<O: Serialize> Plain for Returned<O> {
    fn outcome(self) -> Result<String, Failure> {
        to_json(&self.0)
    }
}

fn to_json(output: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(output)
        .map_err(|error| Failure::permanent(format_args!("the result is not JSON: {error}")))
}

#[cfg(target_family = "wasm")]
pub use wasm::Exported;

#[cfg(target_family = "wasm")]
mod wasm {
    use std::{marker::PhantomData, time::Duration};

    use super::Job;
    use crate::{
        Failure, Task,
        bindings::{
            exports::sentinel::job::{describe, handler::Guest},
            sentinel::job::types,
        },
    };

    /// A [`Job`] in the shape that the export macro wants.
    pub struct Exported<J>(PhantomData<J>);

    impl<J: Job> Guest for Exported<J> {
        fn run(task: types::Task) -> Result<String, types::Failure> {
            let types::Task { id, job, queue, priority, attempt, max_attempts, .. } = task;
            let timeout = Duration::from_millis(task.timeout_ms);
            let known = Task { id, job, queue, priority, attempt, max_attempts, timeout };
            J::run(known, &task.payload).map_err(Into::into)
        }
    }

    impl<J: Job> describe::Guest for Exported<J> {
        fn describe() -> describe::Description {
            let super::Description { summary, payload_schema, result_schema } = J::describe();
            describe::Description { summary, payload_schema, result_schema }
        }
    }

    impl From<Failure> for types::Failure {
        fn from(failure: Failure) -> Self {
            match failure {
                Failure::Retryable(message) => Self::Retryable(message),
                Failure::RetryAfter(delay, message) => {
                    // Rounded up: the job asked for no earlier.
                    let delay = delay.as_nanos().div_ceil(1_000_000);
                    Self::RetryAfter((delay.try_into().unwrap_or(u64::MAX), message))
                }
                Failure::Permanent(message) => Self::Permanent(message),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Serializer;

    use super::*;

    #[test]
    fn a_plain_value_is_the_result() {
        assert_eq!(Returned(vec![1, 2]).outcome(), Ok("[1,2]".into()));
        assert_eq!(Returned(()).outcome(), Ok("null".into()));
    }

    #[test]
    fn a_result_is_opened() {
        let fine: Result<u8, Failure> = Ok(1);
        assert_eq!(Returned(fine).outcome(), Ok("1".into()));
        let failed: Result<u8, _> = "x".parse::<u8>();
        let expected = Failure::Retryable("invalid digit found in string".into());
        assert_eq!(Returned(failed).outcome(), Err(expected));
    }

    #[test]
    #[allow(clippy::needless_borrow, reason = "the references decide which trait is looked at first")]
    fn a_schema_is_found_where_there_is_one() {
        struct Plain;
        assert!((&&SchemaOf::<u8>::new()).schema().is_some_and(|schema| schema.contains("integer")));
        assert!(
            (&&SchemaOf::<Result<u8, Plain>>::new())
                .schema()
                .is_some_and(|schema| schema.contains("integer"))
        );
        assert_eq!((&&SchemaOf::<Plain>::new()).schema(), None);
        assert_eq!((&&SchemaOf::<Result<Plain, u8>>::new()).schema(), None);
    }

    #[test]
    fn a_result_that_cannot_be_json_fails_for_good() {
        struct Never;
        impl Serialize for Never {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("no"))
            }
        }
        let expected = Failure::Permanent("the result is not JSON: no".into());
        assert_eq!(Returned(Never).outcome(), Err(expected));
    }
}
