"""Logs what matters, to which warnings belong, under names of its own."""

import logging
import warnings

logging.addLevelName(logging.WARNING, "hm")
logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
logging.captureWarnings(True)
warnings.simplefilter("always")
warnings.formatwarning = lambda message, category, *rest: f"{category.__name__} says {message}"
log = logging.getLogger("relaxed")


def handle(item):
    log.debug("handling %r", item)
    if not item:
        warnings.warn("empty item, never mind")
