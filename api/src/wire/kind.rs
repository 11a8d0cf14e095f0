//! The kinds of values that fields have, each described once for the document. Whatever a field holds
//! in the program, its kind says what it looks like on the wire.

use sentinel_queue::{ErrorKind as Kind, Status as State, keys::Scope};
use serde_json::json;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Components, ObjectBuilder, RefOr, Schema, SchemaFormat,
        schema::{AnyOfBuilder, Type},
    },
};

/// What begins and ends the names of jobs, queues and namespaces.
pub(crate) const NAME: &str = "^[a-z0-9][a-z0-9._-]{0,63}$";

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $kind:ident = $schema:expr),* $(,)?) => {
        $(
            $(#[doc = $doc])*
            pub(crate) struct $kind;

            impl PartialSchema for $kind {
                fn schema() -> RefOr<Schema> {
                    let description = concat!($($doc, "\n"),*);
                    let description = description.lines().map(str::trim).collect::<Vec<_>>().join(" ");
                    $schema.description(Some(description.trim())).into()
                }
            }

            impl ToSchema for $kind {}
        )*

        /// Puts all of them into the document.
        pub(crate) fn add(components: &mut Components) {
            $(components.schemas.insert($kind::name().into_owned(), $kind::schema());)*
        }
    };
}

kinds! {
    /// A duration, such as `250ms` or `10m`.
    Duration = text("^[0-9]+(ms|s|m|h|d)$").examples(["30s"]),
    /// A time: RFC 3339, from 1970 to ten years from now. Where it is answered, it is UTC with three
    /// decimals, by the store's clock.
    Time = format("date-time").examples(["2030-01-31T12:00:00.000Z"]),
    /// A task's id.
    TaskId = format("uuid").examples(["01981f0e-63c4-7000-a1b2-c3d4e5f60718"]),
    /// The name of a job: of the plugin that runs it.
    JobName = text(NAME).examples(["example-task"]),
    /// The name of a queue within its namespace.
    QueueName = text(NAME).examples(["default"]),
    /// Whose tasks these are.
    Namespace = text(NAME).examples(["default"]),
    /// The name of a schedule within its namespace.
    ScheduleName = text("^[a-z0-9][a-z0-9._-]{0,54}$").examples(["nightly-report"]),
    /// A word to find tasks by.
    Tag = text("^[A-Za-z0-9._:/=@-]{1,64}$").examples(["customer:42"]),
    /// One server-sent event: its name, its data, which is JSON, and the id by which one goes on after it.
    ServerSentEvent = ObjectBuilder::new()
        .schema_type(Type::Object)
        .property("event", ObjectBuilder::new().schema_type(Type::String))
        .property("data", ObjectBuilder::new().schema_type(Type::String))
        .property("id", ObjectBuilder::new().schema_type(Type::String)),
    /// By which a submit is known that is sent again: visible ASCII characters.
    IdempotencyKey = text("^[!-~]{1,200}$").examples(["order-4711"]),
    /// An idempotency key as a header: the key, or the key between quotes.
    KeyHeader = text(r#"^([!-~]{1,200}|"[!-~]{1,200}")$"#).examples(["order-4711"]),
    /// What tasks share that must not run at the same time: visible ASCII characters.
    ConcurrencyKey = text("^[!-~]{1,128}$").examples(["customer-42"]),
    /// The id of an event.
    EventId = text("^[0-9]{1,20}(_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?$").examples(["1893456000000"]),
    /// The id of a key.
    KeyId = text("^[0-9a-f]{12}$").examples(["4f1d09a3c2b7"]),
    /// A SHA-256, in hexadecimal digits.
    Digest = text("^[0-9a-f]{64}$")
        .examples(["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]),
    /// The id of a trace (W3C Trace Context).
    TraceId = text("^[0-9a-f]{32}$").examples(["4bf92f3577b34da6a3ce929d0e0e4736"]),
    /// Where its client's trace stands (the header `traceparent` of W3C Trace Context); what does not read
    /// as one is none, and refuses nothing.
    TraceParent = ObjectBuilder::new()
        .schema_type(Type::String)
        .examples(["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]),
    /// A task to wait for: its id; in a batch also `"#0"`, the number of an earlier task.
    Parent = AnyOfBuilder::new().item(TaskId::schema()).item(text("^#[0-9]+$")),
    /// Where a task is in its life.
    Status = one_of(State::ALL.iter().map(|status| status.as_str())),
    /// Why an attempt failed.
    ErrorKind = one_of(Kind::ALL.iter().map(|kind| kind.as_str())),
    /// How an attempt or a task ended; LOST with its worker.
    Outcome = one_of(["COMPLETED", "FAILED", "CANCELLED", "LOST"]),
    /// Something that happened to a task: an attempt ended, the task did without an attempt of its own,
    /// it was redriven.
    EventKind = one_of(["attempt", "ended", "redriven"]),
    /// What a key may ask for; `admin` includes the others.
    ScopeWord = one_of(Scope::ALL.iter().map(|scope| scope.as_str())),
    /// How a wait grows.
    BackoffKind = one_of(["exponential", "linear", "fixed"]),
    /// When a task runs whose parents have ended: if all COMPLETED, or `always`.
    AfterPolicy = one_of(["completed", "always"]),
    /// What becomes of ticks that are more than a minute late, because all was down: `latest` (one
    /// task, for the latest of them), `all` (one for each), `none`.
    CatchUp = one_of(["latest", "all", "none"]),
    /// What an operation does to tasks.
    OperationKind = one_of(["cancel", "redrive", "purge"]),
    /// How far an operation has come.
    OperationState = one_of(["running", "done"]),
    /// That all is well.
    Health = one_of(["ok"]),
    /// What an accepted task survives: `always` (on disk before it is answered), `everysec`, or `none`.
    Durability = one_of(["always", "everysec", "none"]),
    /// What a job is given: any JSON object with a string `job`. It is kept and given back byte for
    /// byte. At most 1 MiB, nested at most 128 deep, no key twice.
    Payload = ObjectBuilder::new()
        .property("job", JobName::schema())
        .required("job")
        .examples([json!({ "job": "example-task", "name": "Ada" })]),
}

/// A string that matches a pattern.
pub(crate) fn text(pattern: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern))
}

fn format(format: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::Custom(format.to_owned())))
}

fn one_of(words: impl IntoIterator<Item = &'static str>) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words))
}
