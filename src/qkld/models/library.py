"""transformers, loaded without what no study uses."""

from __future__ import annotations

import sys
from functools import cache
from types import ModuleType


@cache
def transformers_library() -> ModuleType:
    """transformers, its caches imported without HQQ's quantizer for them; later imports find HQQ as it is.

    Every model imports the caches, and HQQ compiles on import: more than a second of processor time a job, of which a
    study starts two for each quant.
    """
    import transformers
    from transformers.utils.import_utils import is_hqq_available

    if "hqq" in sys.modules or "transformers.cache_utils" in sys.modules:
        return transformers
    sys.modules["hqq"] = None  # makes the search for a package of that name find none
    try:
        import transformers.cache_utils
    finally:
        del sys.modules["hqq"]
        is_hqq_available.cache_clear()
    return transformers
