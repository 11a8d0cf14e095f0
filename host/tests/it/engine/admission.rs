//! Which files become plugins, and what the others are told.

use std::{fs, path::Path, time::Duration};

use proptest::prelude::*;
use sentinel_host::engine::{
    AdmissionError, Allocation, Call, Engine, EngineConfig, Excess, Needs, Outcome, Part, Parts, Refusal,
    WASM_STACK_BYTES, config,
};

use super::{
    lab::{built, lab, slots, task},
    wat::Job,
};

fn refused(bytes: &[u8]) -> AdmissionError {
    lab().engine.admit_bytes("x".parse().expect("a name"), bytes).expect_err("a refusal")
}

#[test]
fn bytes_that_are_no_component_are_refused() {
    for bytes in [&b""[..], b"\x7fELF", b"(component)", b"\0asm", &[7; 1000]] {
        let error = refused(bytes);
        assert!(matches!(error.refusal, Refusal::NotWasm | Refusal::Invalid(_)), "{error}");
    }
    assert!(refused(b"\x7fELF").to_string().contains("wasm32-wasip2"));
}

#[test]
fn half_a_component_is_refused() {
    let whole = fs::read(built("hostile")).expect("readable");
    for part in [9, 100, whole.len() / 2, whole.len() - 1] {
        let error = refused(&whole[..part]);
        assert!(matches!(error.refusal, Refusal::Invalid(_) | Refusal::NotAJob(_)), "{part}: {error}");
    }
}

#[test]
fn a_core_module_that_is_no_command_is_refused_with_the_target_to_build_for() {
    for module in ["(module)", r#"(module (import "env" "f" (func)) (func (export "_start")))"#] {
        let error = refused(&wat::parse_str(module).expect("valid"));
        assert!(matches!(error.refusal, Refusal::Invalid(_) | Refusal::NotAJob(_)), "{error}");
        assert!(error.to_string().contains("wasm32-wasip2"), "{error}");
    }
}

#[test]
fn machine_code_is_refused() {
    let engine = wasmtime::Engine::new(&config(Allocation::OnDemand, WASM_STACK_BYTES)).expect("an engine");
    let code = engine.precompile_component(&Job::default().bytes()).expect("compiles");
    assert!(matches!(refused(&code).refusal, Refusal::Precompiled));
}

#[test]
fn another_world_is_refused_naming_what_is_missing() {
    for text in [
        "(component)",
        r#"(component (component $c) (instance $i (instantiate $c)) (export "a:b/c" (instance $i)))"#,
    ] {
        let error = refused(&wat::parse_str(text).expect("valid"));
        assert!(matches!(error.refusal, Refusal::NotAJob(_)), "{error}");
        assert!(error.to_string().contains("sentinel:job/handler@0.1.0"), "{error}");
    }
}

#[test]
fn a_handler_of_another_type_or_line_is_refused() {
    let error = refused(&Job { parameter: "u32", ..Job::default() }.bytes());
    assert!(matches!(error.refusal, Refusal::WrongType(_)), "{error}");
    let error = refused(&Job { version: "0.2.0", ..Job::default() }.bytes());
    assert!(matches!(error.refusal, Refusal::NotAJob(_)), "{error}");
    assert!(error.to_string().contains("handler@0.2.0"), "what it does export is named: {error}");
}

#[test]
fn an_import_that_nobody_knows_is_refused_by_name() {
    let component = r#"(import "acme:rocket/engine@1.0.0" (instance (export "fire" (func))))"#;
    let error = refused(&Job { component, ..Job::default() }.bytes());
    assert!(matches!(error.refusal, Refusal::UnknownImports(_)), "{error}");
    assert!(error.to_string().contains("acme:rocket/engine@1.0.0"), "{error}");
}

#[test]
fn an_import_of_the_wrong_shape_is_refused() {
    let component =
        r#"(import "wasi:random/random@0.2.3" (instance (export "get-random-u64" (func (result string)))))"#;
    let error = refused(&Job { component, ..Job::default() }.bytes());
    assert!(matches!(error.refusal, Refusal::Unlinkable(_)), "{error}");
}

#[test]
fn shared_and_64_bit_memories_are_refused() {
    for module in ["(memory 1 2 shared)", "(memory i64 1)"] {
        let error = refused(&Job { module, ..Job::default() }.bytes());
        assert!(matches!(error.refusal, Refusal::Invalid(_)), "{module}: {error}");
    }
}

#[test]
fn what_one_instance_needs_is_counted_over_all_that_it_is_made_of() {
    let component = "
        (core module $x (memory 2) (table 7 funcref) (table 1 funcref))
        (core instance (instantiate $x))
        (core instance (instantiate $x))
        (component $c (core module $y (memory 3)) (core instance (instantiate $y)))
        (instance (instantiate $c))
        (instance (instantiate $c))";
    let plugin = Job { component, ..Job::default() }.plugin();
    let expected = Needs {
        core_instances: 5,
        memories: 5,
        memory_bytes: (1 + 2 * 2 + 2 * 3) << 16,
        tables: 4,
        table_elements: 16,
    };
    assert_eq!(plugin.code().needs, expected);
    // What an attempt is charged from its beginning on is the same.
    let report = lab().run(&plugin, Call::new(&plugin, task("{}", Duration::from_secs(10))));
    assert_eq!(report.usage.peak_memory_bytes, expected.memory_bytes);
}

#[test]
fn what_no_job_may_have_is_refused_naming_the_key_to_raise() {
    let instances = format!("(core module $x) {}", "(core instance (instantiate $x))".repeat(256)).leak();
    let parts = |module| Job { module, ..Job::default() };
    for (job, part, needed, allowed, named) in [
        (
            Job { component: instances, ..Job::default() },
            Part::CoreInstances,
            257,
            256,
            "raise `core-instances` in [admission] of sentinel.toml to 257",
        ),
        (
            parts("(memory 1)".repeat(8).leak()),
            Part::Memories,
            9,
            8,
            "raise `memories` in [admission] of sentinel.toml to 9",
        ),
        (
            parts("(table 1 funcref)".repeat(33).leak()),
            Part::Tables,
            33,
            32,
            "raise `tables` in [admission] of sentinel.toml to 33",
        ),
        (
            parts("(memory 8192) (memory 8192)"),
            Part::Memory,
            (2 * 8192 + 1) << 16,
            1 << 30,
            "raise `memory` in [ceilings] of sentinel.toml and in [limits] of its manifest to 1048640KiB",
        ),
        (
            parts("(table 100001 funcref)"),
            Part::TableElements,
            100_001,
            100_000,
            "raise `tables` in [ceilings] of sentinel.toml and in [limits] of its manifest to 100001",
        ),
    ] {
        let error = refused(&job.bytes());
        let Refusal::Exceeds(excess) = error.refusal else { panic!("{error}") };
        assert_eq!(excess, Excess { part, needed, allowed });
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[test]
fn what_the_operator_raises_can_be_had() {
    let component =
        format!("(core module $x (table 1 funcref)) {}", "(core instance (instantiate $x))".repeat(299));
    let job = Job { component: component.leak(), module: "(memory 1)".repeat(8).leak(), ..Job::default() };
    let parts = Parts { core_instances: 300, memories: 9, tables: 299 };
    let engine = Engine::new(EngineConfig { parts, ..EngineConfig::new(slots(1)) }).expect("an engine");
    let plugin = engine.admit_bytes("x".parse().expect("a name"), &job.bytes()).expect("admitted");
    let report = lab().run(&plugin, Call::new(&plugin, task("{}", Duration::from_secs(10))));
    assert_eq!(report.outcome, Outcome::Completed("42".into()));
}

#[test]
fn what_is_refused_for_what_it_needs_is_not_compiled_again() {
    let cache = tempfile::tempdir().expect("a directory");
    let engine = |memories| {
        let config = EngineConfig {
            cache_dir: Some(cache.path().join("cache")),
            parts: Parts { memories, ..Parts::default() },
            ..EngineConfig::new(slots(1))
        };
        Engine::new(config).expect("an engine")
    };
    let bytes = Job { module: "(memory 1)", ..Job::default() }.bytes();
    let admit = |memories| engine(memories).admit_bytes("x".parse().expect("a name"), &bytes);
    assert!(matches!(admit(1).expect_err("a refusal").refusal, Refusal::Exceeds(_)));
    assert!(admit(2).expect("admitted").code().from_cache);
    assert!(matches!(admit(1).expect_err("a refusal").refusal, Refusal::Exceeds(_)), "from the cache, too");
}

#[test]
fn a_file_over_the_size_limit_is_refused() {
    let engine = Engine::new(EngineConfig { max_plugin_bytes: 1000, ..EngineConfig::new(slots(1)) })
        .expect("an engine");
    let error = engine.admit(&built("hostile")).expect_err("a refusal");
    assert!(matches!(error.refusal, Refusal::TooManyBytes { limit: 1000 }), "{error}");
}

#[test]
fn a_refusal_names_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let admit = |path: &Path| lab().engine.admit(path).expect_err("a refusal");
    for name in ["Bad Name.wasm", "missing.wasm", "a.cwasm"] {
        let error = admit(&dir.path().join(name));
        assert!(error.to_string().contains(name), "{error}");
    }
    assert!(matches!(admit(&dir.path().join("missing.wasm")).refusal, Refusal::Unreadable(_)));
    assert!(matches!(admit(&dir.path().join("Bad Name.wasm")).refusal, Refusal::Name(_)));
}

#[test]
fn a_plugin_is_named_by_its_file_and_known_by_its_digest() {
    let plugin = &lab().hostile;
    assert_eq!(plugin.name().as_str(), "hostile");
    let bytes = fs::read(built("hostile")).expect("readable");
    assert_eq!(*plugin.digest(), sentinel_host::engine::Digest::of(&bytes));
    assert_eq!(plugin.digest().to_string().len(), 64);
}

#[test]
fn a_second_engine_takes_the_code_from_the_cache() {
    let cache = tempfile::tempdir().expect("a directory");
    let config = EngineConfig { cache_dir: Some(cache.path().join("cache")), ..EngineConfig::new(slots(2)) };
    let admit =
        || Engine::new(config.clone()).expect("an engine").admit(&built("hostile")).expect("admitted");
    assert!(!admit().code().from_cache);
    let cached = admit();
    assert!(cached.code().from_cache);
    let call = Call::new(&cached, task(super::lab::act("\"ok\"").payload(), Duration::from_secs(10)));
    let outcome = lab().run(&cached, call).outcome;
    assert_eq!(outcome, Outcome::Completed("\"ok\"".into()));
}

/// What may befall a component on its way.
#[derive(Clone, Debug)]
enum Damage {
    Cut(prop::sample::Index),
    Flip(prop::sample::Index, u8),
    Overwrite(prop::sample::Index, Vec<u8>),
    Insert(prop::sample::Index, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    let bytes = || prop::collection::vec(any::<u8>(), 1..64);
    prop_oneof![
        any::<prop::sample::Index>().prop_map(Damage::Cut),
        (any::<prop::sample::Index>(), 1..=u8::MAX).prop_map(|(at, with)| Damage::Flip(at, with)),
        (any::<prop::sample::Index>(), bytes()).prop_map(|(at, with)| Damage::Overwrite(at, with)),
        (any::<prop::sample::Index>(), bytes()).prop_map(|(at, with)| Damage::Insert(at, with)),
    ]
}

fn damaged(mut component: Vec<u8>, damage: Damage) -> Vec<u8> {
    let length = component.len();
    match damage {
        Damage::Cut(at) => component.truncate(at.index(length)),
        Damage::Flip(at, with) => component[at.index(length)] ^= with,
        Damage::Overwrite(at, with) => {
            let at = at.index(length);
            let end = length.min(at + with.len());
            component[at..end].copy_from_slice(&with[..end - at]);
        }
        Damage::Insert(at, with) => drop(component.splice(at.index(length)..at.index(length), with)),
    }
    component
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// It may be harmless, as in a name; if not, it is refused, and nothing panics.
    #[test]
    fn a_damaged_component_is_a_plugin_or_refused(damage in damage()) {
        let bytes = damaged(Job::default().bytes(), damage);
        if let Err(error) = lab().engine.admit_bytes("x".parse().unwrap(), &bytes) {
            prop_assert!(error.to_string().len() > "x: ".len());
        }
    }

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..512), is_led in any::<bool>()) {
        let bytes = if is_led { [b"\0asm\x0d\0\x01\0", &bytes[..]].concat() } else { bytes };
        prop_assert!(lab().engine.admit_bytes("x".parse().unwrap(), &bytes).is_err());
    }
}
