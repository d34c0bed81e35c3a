//! What spaces cost, from Rust. `benches/compare.py` puts the figures beside the peers'.

use std::{hint::black_box, time::Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use modspace::{Pattern, Runtime, Space};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn child(runtime: &Runtime) -> Space {
    runtime.root().child().name("bench").create().expect("a space is made")
}

/// How long does it take to make a space and to discard it?
fn bare(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    criterion.bench_function("bare space, created and discarded", |bencher| {
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

/// How long does a second space take to import four large packages? Only the imports are timed.
fn imports(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let four = |fresh: bool| {
        let patterns = fresh.then(|| Pattern::new("*").expect("a pattern"));
        let space = runtime.root().child().fresh(patterns).create().expect("a space is made");
        let start = Instant::now();
        space.exec("import logging, unittest, asyncio, json").expect("they import");
        let time = start.elapsed();
        space.discard().expect("a space goes");
        runtime.root().exec("import gc; gc.collect()").expect("it collects");
        time
    };
    let mut group = criterion.benchmark_group("import logging, unittest, asyncio, json");
    group.sample_size(10);
    for (name, fresh) in [("default policy", false), ("fresh", true)] {
        four(fresh);
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| (0..count).map(|_| four(fresh)).sum());
        });
    }
}

/// How long does it take to discard a space that imported four large packages, alone and beside ten like it? Only the
/// discards are timed.
fn discards(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let used = || {
        let space = child(&runtime);
        space.exec("import logging, unittest, asyncio, json").expect("they import");
        space
    };
    let discard = || {
        let space = used();
        let start = Instant::now();
        let report = space.discard().expect("a space goes");
        let time = start.elapsed();
        assert!(report.is_clean(), "{report}");
        time
    };
    let mut group = criterion.benchmark_group("discard after import logging, unittest, asyncio, json");
    group.sample_size(10);
    for (name, others) in [("alone", 0), ("beside ten", 10)] {
        let others: Vec<_> = (0..others).map(|_| used()).collect();
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| (0..count).map(|_| discard()).sum());
        });
        for space in others {
            space.discard().expect("a space goes");
        }
    }
}

criterion_group!(benches, bare, enter, imports, discards);
criterion_main!(benches);
