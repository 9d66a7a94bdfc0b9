"""Next-token distributions behind one reading interface: hidden states, llama.cpp's base files, top-k lists."""

from qkld.compare.stores.any_store import open_store
from qkld.compare.stores.base_file import BaseFile, seal_base_file, write_base_file
from qkld.compare.stores.bounds import KLBounds, kl_bounds
from qkld.compare.stores.comparing import BoundsSummary, compare_stores, summarise_bounds
from qkld.compare.stores.converters import to_base_file, to_top_k
from qkld.compare.stores.enclosure import Enclosure
from qkld.compare.stores.interface import HiddenStates, LogitRows, Rows, Store
from qkld.compare.stores.topk import FloorForm, TopK, floor_form, top_k_of
from qkld.compare.stores.topk_store import TopKHeader, TopKStore, write_top_k_store

__all__ = [
    "BaseFile",
    "BoundsSummary",
    "Enclosure",
    "FloorForm",
    "HiddenStates",
    "KLBounds",
    "LogitRows",
    "Rows",
    "Store",
    "TopK",
    "TopKHeader",
    "TopKStore",
    "compare_stores",
    "floor_form",
    "kl_bounds",
    "open_store",
    "seal_base_file",
    "summarise_bounds",
    "to_base_file",
    "to_top_k",
    "top_k_of",
    "write_base_file",
    "write_top_k_store",
]
