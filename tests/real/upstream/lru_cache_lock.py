"""functools.lru_cache holds a lock while it compares keys, which may run Python code. A thread that waits for that lock
does not let a collection go on, and the thread that holds it is stopped by the collection: the process hangs.

typing caches its generics so, and is one module for all spaces: threads that import large packages at the same time
can meet it."""

import functools
import threading


class Key:
    def __init__(self, number):
        self.number = number

    def __hash__(self):
        return 1

    def __eq__(self, other):
        ring = []
        ring.append(ring)
        return self.number == other.number


@functools.lru_cache(maxsize=50)
def cached(key):
    return key.number


def work():
    for number in range(3000):
        cached(Key(number % 40))


threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
