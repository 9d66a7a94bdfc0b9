"""Silence for messages of other packages that are harmless and say nothing to whoever runs a study."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

HARMLESS = {
    "torchao": "Failed to load",  # one line for each compiled extension that was built for a GPU which is not there
    "torch.utils._pytree": "is an Enum subclass",  # torchao registers enums that torch meanwhile knows by itself
}
"""Logger → words of the messages that are dropped while a library loads."""

PARTS_LEFT_OUT = {"transformers.modeling_utils": "LOAD REPORT"}
"""Where a part of a folder is loaded by intent, and what is missing of that part is an error of its own."""


@contextmanager
def quiet_loading(more: Mapping[str, str] | None = None) -> Iterator[None]:
    """Drop the harmless messages, those of ``more``, and transformers' progress bars inside the block."""
    from transformers.utils import logging as transformers_logging

    filters = [(logging.getLogger(name), _without(words)) for name, words in {**HARMLESS, **(more or {})}.items()]
    had_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    for logger, drop in filters:
        logger.addFilter(drop)
    try:
        yield
    finally:
        for logger, drop in filters:
            logger.removeFilter(drop)
        if had_bars:
            transformers_logging.enable_progress_bar()


def _without(words: str) -> Callable[[logging.LogRecord], bool]:
    return lambda record: words not in record.getMessage()
