"""What steps leave behind that lasts, read from the product's own code: a step can die after each.

The table's rows are the places that stories came by. That none is missing, this list says: a new
writer in the product has to be met in some story, or a full run fails.
"""

from __future__ import annotations

import ast
import inspect
from types import ModuleType

from generation import callbacks, doorbell, lifecycle

WRITES = {"bulk_create", "create", "delete", "get_or_create", "save", "update"}
# Steps that no order takes: what is left at KIE, and how models have done so far.
NO_STEPS = {"balance", "measure"}
# What staff do, and the comparison with KIE's account: no job, request or callback dies in it. And
# the orders of the stories take no pictures along.
NOT_TOLD = {
    "lifecycle.close",
    "lifecycle.keep_address",
    "lifecycle.keep_used",
    "lifecycle.try_again",
}
OUTSIDE = {
    "a place in the window",
    "createTask, no answer yet",
    "createTask",
    "recordInfo",
    "fetch",
    "download-url",
    "decoding",
    "the picture is stored",
    "the thumbnail is stored",
}


def lasting() -> set[str]:
    """By the names that places have."""
    written = writers(lifecycle) | writers(callbacks)
    bells = {f"the bell for {step}" for step in doorbell.QUEUES if step not in NO_STEPS}
    return written - NOT_TOLD | bells | OUTSIDE


def writers(module: ModuleType) -> set[str]:
    """`module.function` of each public function that writes rows, itself or by a private one."""
    tree = ast.parse(inspect.getsource(module))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    name = module.__name__.rpartition(".")[2]
    public = (function for function in functions if not function.startswith("_"))
    return {f"{name}.{function}" for function in public if _writes(function, functions)}


def _writes(name: str, functions: dict[str, ast.FunctionDef]) -> bool:
    calls = (node.func for node in ast.walk(functions[name]) if isinstance(node, ast.Call))
    others = {other: found for other, found in functions.items() if other != name}
    return any(
        called.attr in WRITES
        if isinstance(called, ast.Attribute)
        else isinstance(called, ast.Name) and _is_private_writer(called.id, others)
        for called in calls
    )


def _is_private_writer(name: str, functions: dict[str, ast.FunctionDef]) -> bool:
    return name.startswith("_") and name in functions and _writes(name, functions)
