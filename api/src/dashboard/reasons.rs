//! What the kinds of errors mean, and what follows from them, in a sentence or two.

use sentinel_queue::ErrorKind;

/// What an error of this kind says, for whoever sees it for the first time.
pub(crate) fn meaning(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Retryable => "The job answered that it failed and may be tried again.",
        ErrorKind::Trap => {
            "The job's code broke off: a panic, an abort, or an instruction that cannot be done. The message and \
             the backtrace say where."
        }
        ErrorKind::Timeout => {
            "The attempt took longer than it may. The detail says which time ran out: `wall` (from start to end) or \
             `cpu`. A task may ask for more with `timeout`, up to the operator's ceiling."
        }
        ErrorKind::MemoryLimit => {
            "The job asked for more memory than it may have. Its manifest can ask for more, up to the operator's \
             ceiling."
        }
        ErrorKind::StackOverflow => "The job called itself too deep.",
        ErrorKind::HostLimit => {
            "The job asked too much of the host: handles, transfers or calls beyond its limits."
        }
        ErrorKind::LoadError => {
            "The plugin could not be loaded. The page of the job says which workers have it."
        }
        ErrorKind::Conflict => {
            "Another task changed what this attempt had read, so nothing of it was kept. It is tried again by itself."
        }
        ErrorKind::UnknownJob => {
            "No live worker has this job. Start one that does, or see why its plugin was refused."
        }
        ErrorKind::WorkerLost => {
            "The worker died or lost its lease while the task ran. After two such losses a task runs in a process of \
             its own, so that only what kills its worker by itself gets a third."
        }
        ErrorKind::Permanent => "The job answered that trying again is useless.",
        ErrorKind::BadOutput => "What the job returned is not JSON, or not what its schema says.",
        ErrorKind::OutputLimit => "What the job returned is larger than it may be.",
        ErrorKind::EffectLimit => {
            "The job asked for more state, child tasks or checkpoints than it may have."
        }
        ErrorKind::Expired => {
            "It was not started before `expires_at`: no worker was free for it, or its queue was paused."
        }
        ErrorKind::Cancelled => {
            "It was ended by request, or because a task that it waited for did not complete."
        }
    }
}
