"""Benchmarks of speed, memory and size: `make bench` runs them all, in one run on one machine.

Each figure stands beside its limit, which is counted from bytes and operations and from the rates of this machine that
`machine` measures in the same run, and beside its target where there is one.
"""
