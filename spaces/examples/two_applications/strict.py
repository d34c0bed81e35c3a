"""Logs everything; a warning is an error."""

import logging
import warnings

logging.basicConfig(level=logging.DEBUG, format="%(levelname)s [%(name)s] %(message)s")
warnings.simplefilter("error")
log = logging.getLogger("strict")


def handle(item):
    log.debug("handling %r", item)
    try:
        if not item:
            warnings.warn("empty item")
    except UserWarning as error:
        log.error("refused: %s", error)
