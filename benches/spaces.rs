//! What spaces cost, from Rust. `benches/compare.py` puts the figures beside the peers'.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use modspace::{Pattern, Runtime, Space};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn child(runtime: &Runtime) -> Space {
    runtime.root().child().name("bench").create().expect("a space is made")
}

/// How long does it take to make a space and to discard it?
fn bare(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    criterion.bench_function("bare space, created and dropped", |bencher| {
        bencher.iter(|| child(&runtime).discard().expect("a space goes"));
    });
}

/// What does a call into a space cost?
fn enter(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let space = child(&runtime);
    criterion.bench_function("enter a space", |bencher| {
        bencher.iter(|| space.enter(|entered| Ok(black_box(entered.vm().recursion_limit.get()))).expect("it is open"));
    });
}

/// How long does a second space take to import four large packages?
fn imports(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let four = |space: Space| {
        space.exec("import logging, unittest, asyncio, json").expect("they import");
        space
    };
    let discard = |space: Space| space.discard().expect("a space goes");
    discard(four(child(&runtime)));
    let mut group = criterion.benchmark_group("import logging, unittest, asyncio, json");
    group.sample_size(10);
    group.bench_function("default policy", |bencher| {
        bencher.iter_batched(|| child(&runtime), four, BatchSize::PerIteration);
    });
    group.bench_function("fresh", |bencher| {
        let fresh = || {
            let everything = Pattern::new("*").expect("a pattern");
            runtime.root().child().fresh([everything]).create().expect("a space is made")
        };
        bencher.iter_batched(fresh, four, BatchSize::PerIteration);
    });
}

criterion_group!(benches, bare, enter, imports);
criterion_main!(benches);
