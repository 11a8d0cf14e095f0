//! Which traces are told of: the samplers of `OTEL_TRACES_SAMPLER`.

use opentelemetry::trace::TraceId;
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample};
use sentinel_queue::TraceContext;

/// How it is decided.
#[derive(Clone, Debug)]
pub(crate) struct Sampling {
    root: Sampler,
    /// Whether a trace that others began is told of as they do.
    follows_parents: bool,
}

/// The names, for whoever gave another.
pub(crate) const NAMES: &str = "always_on, always_off, traceidratio, parentbased_always_on, \
                                parentbased_always_off or parentbased_traceidratio";

impl Default for Sampling {
    fn default() -> Self {
        Self { root: Sampler::AlwaysOn, follows_parents: true }
    }
}

impl Sampling {
    /// The one of this name; `share` is the part of all traces that one by ratio takes.
    pub(crate) fn named(name: &str, share: f64) -> Option<Self> {
        let (name, follows_parents) =
            name.strip_prefix("parentbased_").map_or((name, false), |root| (root, true));
        let root = match name {
            "always_on" => Sampler::AlwaysOn,
            "always_off" => Sampler::AlwaysOff,
            "traceidratio" => Sampler::TraceIdRatioBased(share),
            _ => return None,
        };
        Some(Self { root, follows_parents })
    }

    /// Whether a trace that begins here is told of.
    pub(crate) fn of_root(&self, trace: [u8; 16]) -> bool {
        let trace = TraceId::from_bytes(trace);
        let kind = opentelemetry::trace::SpanKind::Internal;
        let decision = self.root.should_sample(None, trace, "", &kind, &[], &[]).decision;
        decision == SamplingDecision::RecordAndSample
    }

    /// Whether a span of a trace that others began is.
    pub(crate) fn of(&self, parent: &TraceContext) -> bool {
        if self.follows_parents { parent.is_sampled() } else { self.of_root(parent.trace()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(is_sampled: bool) -> TraceContext {
        TraceContext::new([1; 16], [2; 8], is_sampled).unwrap()
    }

    #[test]
    fn who_follows_parents_decides_alone_only_at_the_root() {
        for (name, root, sampled, unsampled) in [
            ("always_on", true, true, true),
            ("always_off", false, false, false),
            ("parentbased_always_on", true, true, false),
            ("parentbased_always_off", false, true, false),
        ] {
            let sampling = Sampling::named(name, 1.0).unwrap();
            let decided =
                [sampling.of_root([1; 16]), sampling.of(&parent(true)), sampling.of(&parent(false))];
            assert_eq!(decided, [root, sampled, unsampled], "{name}");
        }
        assert!(Sampling::named("jaeger_remote", 1.0).is_none());
    }

    #[test]
    fn a_ratio_takes_about_so_many_and_the_same_each_time() {
        let sampling = Sampling::named("traceidratio", 0.25).unwrap();
        let traces = (0..=255).map(|byte| [byte; 16]);
        let taken = traces.clone().filter(|trace| sampling.of_root(*trace)).count();
        assert_eq!(taken, 64);
        assert!(traces.into_iter().all(|trace| sampling.of_root(trace) == sampling.of_root(trace)));
    }
}
