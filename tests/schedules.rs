//! The state machines that threads share, compiled once more over locks that a model checker (shuttle) drives. Small cases
//! run under every schedule, larger ones under many random ones. A failure prints the schedule, which
//! `shuttle::replay` runs again.

#[expect(dead_code, reason = "what is not explored is compiled all the same")]
#[path = "../src/import/life.rs"]
mod life;
#[expect(dead_code, reason = "what is not explored is compiled all the same")]
#[path = "../src/import/sealable.rs"]
mod sealable;
#[path = "schedules/sync.rs"]
mod sync;
#[expect(dead_code, reason = "what is not explored is compiled all the same")]
#[path = "../src/import/waits.rs"]
mod waits;

/// Module locks.
mod locks {
    use shuttle::{
        rand::{Rng, thread_rng},
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        thread,
    };

    use super::waits::{Acquired, LockKey, Locks};

    fn acquire<'locks>(locks: &'locks Locks, key: &LockKey) -> Acquired<'locks> {
        loop {
            match locks.try_acquire(key) {
                Some(acquired) => return acquired,
                None => locks.wait(key),
            }
        }
    }

    fn key(name: &str) -> LockKey {
        LockKey::new(0, name)
    }

    /// Takes the locks one after the other; returns whether a circle was found.
    fn take_all(locks: &Locks, names: &[&str]) -> bool {
        let acquired: Vec<_> = names.iter().map(|name| acquire(locks, &key(name))).collect();
        acquired.iter().any(|acquired| matches!(acquired, Acquired::Deadlock))
    }

    #[test]
    fn a_lock_lets_in_one_thread_at_a_time() {
        shuttle::check_dfs(
            || {
                let (locks, inside) = (Arc::new(Locks::default()), Arc::new(AtomicUsize::new(0)));
                let threads: Vec<_> = (0..2)
                    .map(|_| {
                        let (locks, inside) = (Arc::clone(&locks), Arc::clone(&inside));
                        thread::spawn(move || {
                            let acquired = acquire(&locks, &key("a"));
                            assert!(matches!(acquired, Acquired::Lock(_)));
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            inside.fetch_sub(1, Ordering::SeqCst);
                        })
                    })
                    .collect();
                threads.into_iter().for_each(|thread| thread.join().unwrap());
            },
            None,
        );
    }

    #[test]
    fn of_two_threads_that_take_two_locks_crosswise_at_most_one_does_not_wait() {
        shuttle::check_dfs(
            || {
                let locks = Arc::new(Locks::default());
                let threads = [["a", "b"], ["b", "a"]].map(|names| {
                    let locks = Arc::clone(&locks);
                    thread::spawn(move || take_all(&locks, &names))
                });
                let circles = threads.map(|thread| thread.join().unwrap());
                assert!(circles != [true, true], "one of the two has to wait");
            },
            None,
        );
    }

    #[test]
    fn a_lock_is_reentrant_and_freed_by_its_last_guard() {
        shuttle::check_dfs(
            || {
                let locks = Arc::new(Locks::default());
                let (first, second) = (locks.try_acquire(&key("a")), locks.try_acquire(&key("a")));
                let is_free = || {
                    let locks = Arc::clone(&locks);
                    thread::spawn(move || locks.try_acquire(&key("a")).is_some()).join().unwrap()
                };
                assert!(!is_free());
                drop(first);
                assert!(!is_free());
                drop(second);
                assert!(is_free());
            },
            None,
        );
    }

    #[test]
    fn no_order_in_which_four_threads_take_five_locks_makes_them_hang() {
        shuttle::check_random(
            || {
                let locks = Arc::new(Locks::default());
                let threads: Vec<_> = (0..4)
                    .map(|_| {
                        let locks = Arc::clone(&locks);
                        thread::spawn(move || {
                            let names: Vec<_> =
                                (0..4).map(|_| ["a", "b", "c", "d", "e"][thread_rng().gen_range(0..5)]).collect();
                            take_all(&locks, &names)
                        })
                    })
                    .collect();
                threads.into_iter().for_each(|thread| assert!(thread.join().is_ok()));
                assert!(["a", "b", "c", "d", "e"].iter().all(|name| locks.try_acquire(&key(name)).is_some()));
            },
            3_000,
        );
    }
}

/// Generations: who is let in, who ends them, who replaces them.
mod generations {
    use shuttle::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        thread,
    };

    use super::{life::Life, sync::Mutex};

    #[derive(Default)]
    struct Generation {
        life: Life,
        freed: AtomicBool,
    }

    impl Generation {
        /// As `context::enter`: go in, then ask.
        fn call(&self, thread: u64) -> bool {
            self.life.enter(thread);
            let is_open = self.life.is_open();
            if is_open {
                assert!(!self.freed.load(Ordering::SeqCst), "what is used was freed");
                thread::yield_now();
                assert!(!self.freed.load(Ordering::SeqCst), "what is used was freed");
            }
            self.life.leave(thread);
            is_open
        }

        /// As `discard::end` with a timeout of zero, and what follows it.
        fn end(&self) {
            self.life.begin_ending();
            if self.life.is_empty() {
                self.life.finish_ending();
                self.freed.store(true, Ordering::SeqCst);
            } else {
                self.life.finish_ending();
            }
        }
    }

    fn call_while_it_ends(callers: u64) {
        let generation = Arc::new(Generation::default());
        let callers: Vec<_> = (0..callers)
            .map(|number| {
                let generation = Arc::clone(&generation);
                thread::spawn(move || generation.call(number))
            })
            .collect();
        generation.end();
        for caller in callers {
            caller.join().unwrap();
        }
        assert!(!generation.call(9), "nobody is let in any more");
    }

    #[test]
    fn whoever_is_let_in_uses_nothing_freed() {
        shuttle::check_dfs(|| call_while_it_ends(1), None);
        shuttle::check_random(|| call_while_it_ends(3), 5_000);
    }

    /// As a node: the current generation, until it is closed.
    type Slot = Mutex<Option<Arc<Generation>>>;

    /// As `Space::reload`: a generation that nobody has a handle of is freed.
    fn reload(slot: &Slot) {
        let Some(old) = slot.lock().clone() else { return };
        let new = Arc::new(Generation::default());
        {
            let mut current = slot.lock();
            if !current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &old)) {
                return;
            }
            *current = Some(new);
            old.life.supersede();
        }
        if Arc::strong_count(&old) == 1 && old.life.is_empty() {
            old.freed.store(true, Ordering::SeqCst);
        }
    }

    fn call(slot: &Slot, thread: u64) -> bool {
        let Some(generation) = slot.lock().clone() else { return false };
        generation.call(thread)
    }

    #[test]
    fn a_call_during_a_reload_is_let_in() {
        shuttle::check_dfs(
            || {
                let slot = Arc::new(Mutex::new(Some(Arc::new(Generation::default()))));
                let caller = {
                    let slot = Arc::clone(&slot);
                    thread::spawn(move || call(&slot, 1))
                };
                reload(&slot);
                assert!(caller.join().unwrap(), "either generation is open");
            },
            None,
        );
    }

    #[test]
    fn calls_reloads_and_a_discard_at_once_use_nothing_freed() {
        shuttle::check_random(
            || {
                let slot = Arc::new(Mutex::new(Some(Arc::new(Generation::default()))));
                let spawn = |work: fn(&Slot, u64), number: u64| {
                    let slot = Arc::clone(&slot);
                    thread::spawn(move || (0..2).for_each(|_| work(&slot, number)))
                };
                let threads = [
                    spawn(|slot, number| assert!(call(slot, number) || slot.lock().is_none()), 1),
                    spawn(|slot, number| assert!(call(slot, number) || slot.lock().is_none()), 2),
                    spawn(|slot, _| reload(slot), 3),
                    spawn(|slot, _| reload(slot), 4),
                ];
                let closed = slot.lock().take();
                if let Some(generation) = closed {
                    generation.end();
                }
                threads.into_iter().for_each(|thread| thread.join().unwrap());
                assert!(slot.lock().is_none(), "a reload brought back what was discarded");
            },
            5_000,
        );
    }
}

/// Import states.
mod states {
    use shuttle::{sync::Arc, thread};

    use super::sealable::Sealable;

    #[test]
    fn who_reads_while_it_is_sealed_gets_what_was_there() {
        shuttle::check_dfs(
            || {
                let state = Arc::new(Sealable::new(1));
                let read = {
                    let state = Arc::clone(&state);
                    thread::spawn(move || [state.get(), state.get()])
                };
                let sealed = {
                    let state = Arc::clone(&state);
                    thread::spawn(move || state.seal())
                };
                let was_set = state.set(2) == Ok(1);
                let read = read.join().unwrap();
                sealed.join().unwrap();
                let last = if was_set { 2 } else { 1 };
                assert_eq!((state.get(), state.set(3)), (last, Err(3)));
                assert!(read == [1, 1] || read == [1, last] || read == [last, last], "{read:?}");
            },
            None,
        );
    }
}
