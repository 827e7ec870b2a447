"""KIE.ai on this machine: the same API over HTTP, with pictures that are drawn here and cost
nothing. A process of its own; it knows KIE's facts and nothing of the program that calls it.
"""

from generation.kie.sandbox.account import Options
from generation.kie.sandbox.server import Sandbox

__all__ = ["Options", "Sandbox"]
