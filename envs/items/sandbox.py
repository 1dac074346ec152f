"""Running programs that nobody vouches for, when a set of items is built: bounded in time, memory, output and reach.

Python is first read and not run: what is not in a short list of constructs, functions and methods is *refused* by name,
which leaves no way to import, to open a file or a connection, to start a process, or to reach an object's insides.
What is left runs in a process of its own, isolated from this one's environment and packages, with limits on processor
time, memory, written files and output. A pipeline is run without a shell: its words are split here, its commands come
from a list of text filters, and its files lie in an empty folder that is thrown away.

However a program ends, that is an outcome (`Ran.status`) and never an exception.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from palaestra.envs.items.item_set import printable
from palaestra.envs.parts import well_formed

Status = Literal["ok", "refused", "failed", "slow", "large", "binary"]

SECONDS = 3.0
MEGABYTES = 256
MOST_OUTPUT = 10_000

FUNCTIONS = frozenset([
    "abs", "all", "any", "bin", "bool", "chr", "dict", "divmod", "enumerate", "filter", "float", "hex", "int",
    "isinstance", "len", "list", "map", "max", "min", "ord", "pow", "print", "range", "reversed", "round", "set",
    "sorted", "str", "sum", "tuple", "zip",
])  # fmt: skip
METHODS = frozenset([
    "add", "append", "capitalize", "copy", "count", "discard", "endswith", "extend", "find", "get", "index", "insert",
    "isalpha", "isdigit", "islower", "isspace", "isupper", "items", "join", "keys", "lower", "lstrip", "pop",
    "remove", "replace", "reverse", "rfind", "rstrip", "setdefault", "sort", "split", "splitlines", "startswith",
    "strip", "swapcase", "title", "update", "upper", "values", "zfill",
])  # fmt: skip
NODES = (
    ast.Module, ast.Expr, ast.Assign, ast.AugAssign, ast.For, ast.While, ast.If, ast.Break, ast.Continue, ast.Pass,
    ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.Call, ast.keyword, ast.Name, ast.Constant, ast.Attribute,
    ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Subscript, ast.Slice, ast.List, ast.Tuple, ast.Dict,
    ast.Set, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.comprehension, ast.Lambda, ast.JoinedStr,
    ast.FormattedValue, ast.Starred, ast.expr_context, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip
COMMANDS = frozenset([
    "cat", "cut", "grep", "head", "nl", "paste", "rev", "seq", "sort", "tac", "tail", "tr", "uniq", "wc",
])  # fmt: skip
_REFUSED = {
    "sort": re.compile(r"-[^-]*[oT]"),  # writes
    "tail": re.compile(r"-[^-]*[fF]"),  # never ends
    "grep": re.compile(r"-[^-]*[fdDrR]"),  # reads other files than it is given
}
_SEPARATOR = re.compile(r"-[a-z]/")
_NOTHING = re.compile("(?!)")

_RUNNER = """
import resource, sys
seconds, memory = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
source = sys.stdin.read()
allowed = __builtins__.__dict__ if hasattr(__builtins__, "__dict__") else __builtins__
names = {name: allowed[name] for name in sys.argv[3].split(",")}
try:
    exec(compile(source, "program", "exec"), {"__builtins__": names, "__name__": "program"})
except MemoryError:
    sys.exit(98)
except BaseException as error:
    sys.stderr.write(type(error).__name__)
    sys.exit(99)
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended.

    Attributes:
        status: ``ok``; ``refused`` (it was not run), ``failed`` (it ended with an error), ``slow``, ``large`` (memory
            or output), ``binary`` (it printed what is no text).
        output: What it printed, without the newline at the end; empty unless ``ok``.
        reason: Why it is not ``ok``.
    """

    status: Status
    output: str = ""
    reason: str = ""


def refusal(source: str) -> str | None:
    """Return why a Python program is not run; None if it may be."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"it is no Python ({type(error).__name__})"
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    own |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    own |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 1)
        if not isinstance(node, NODES):
            return f"line {line} uses {type(node).__name__.lower()}, which is not allowed"
        if isinstance(node, ast.FunctionDef) and (node.decorator_list or node.name.startswith("_")):
            return f"line {line} has a function that is decorated or whose name begins with '_'"
        if isinstance(node, ast.Name) and (node.id.startswith("_") or node.id not in own | FUNCTIONS):
            return f"line {line} uses the name {node.id}, which is not allowed"
        if isinstance(node, ast.Attribute) and node.attr not in METHODS:
            return f"line {line} uses the method {node.attr}, which is not allowed"
    return None


def run_python(source: str, *, seconds: float = SECONDS, megabytes: int = MEGABYTES) -> Ran:
    """Run a Python program, unless it is refused, and return what came of it."""
    if (why := refusal(source)) is not None:
        return Ran("refused", reason=why)
    limits = [str(max(1, round(seconds))), str(megabytes << 20), ",".join(sorted(FUNCTIONS))]
    with tempfile.TemporaryDirectory() as folder:
        return _run([sys.executable, "-I", "-S", "-c", _RUNNER, *limits], source, Path(folder), seconds)


def run_pipeline(command: str, files: Mapping[str, str], *, seconds: float = SECONDS) -> Ran:
    """Run a pipeline of text filters over files, such as ``sort -n ages.txt | head -2``."""
    stages = pipeline(command)
    if isinstance(stages, str):
        return Ran("refused", reason=stages)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in files.items():
            if not re.fullmatch(r"\w[\w.-]{0,40}", file, re.ASCII):
                return Ran("refused", reason=f"{file[:40]!r} is no name of a file")
            if not _is_text(content):
                return Ran("refused", reason=f"the file {file} is no text")
            (folder / file).write_text(content, encoding="utf-8")
        ran = Ran("ok")
        for stage in stages:
            ran = _run(stage, ran.output + "\n" if ran.output else "", folder, seconds, MEGABYTES << 20)
            if ran.status != "ok":
                return ran
        return ran


def pipeline(command: str) -> list[list[str]] | str:
    """Return the words of each stage of a pipeline, or why it is not run."""
    if not _is_text(command):
        return "it is no text"
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    stages: list[list[str]] = [[]]
    try:
        words = list(lexer)
    except ValueError as error:
        return f"it cannot be split into words ({error})"
    for word in words:
        if word == "|":
            stages.append([])
        elif set(word) <= set("();<>|&"):
            return f"it holds {word!r}, and only | stands between commands"
        else:
            stages[-1].append(word)
    for stage in stages:
        if not stage or stage[0] not in COMMANDS:
            return f"{stage[0] if stage else 'an empty command'!r} is not one of {', '.join(sorted(COMMANDS))}"
        refused = _REFUSED.get(stage[0], _NOTHING)
        for word in stage[1:]:
            path = word.startswith("-") and "/" in word and not _SEPARATOR.fullmatch(word)
            # long options may be abbreviated as one likes: `sort --co=sh` starts a shell
            if path or word.startswith(("/", "~", "--")) or ".." in word or refused.match(word):
                return f"the word {word!r} is not allowed"
        if stage[0] == "uniq" and sum(not word.startswith("-") for word in stage[1:]) > 1:
            return "uniq writes to a second file, and none may be written"
    return stages


def _is_text(text: str) -> bool:
    """Return whether a text can be handed to a program: it has no NUL and no half of a surrogate pair."""
    return "\0" not in text and well_formed(text) == text


def _run(command: Sequence[str], given: str, folder: Path, seconds: float, memory: int | None = None) -> Ran:
    """Run one program with nothing but its input; kill it and what it started when its time is over.

    Args:
        memory: Most bytes of its address space, where the system can set that from outside (Linux); None for a program
            that limits itself.
    """
    environment = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder,
            env=environment, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        return Ran("failed", reason=f"{command[0]} cannot be started ({error.strerror})")
    if memory is not None and sys.platform == "linux":
        with contextlib.suppress(ProcessLookupError):  # it may have ended already
            resource.prlimit(process.pid, resource.RLIMIT_AS, (memory, memory))
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, 0))
    late = threading.Event()

    def stop() -> None:
        late.set()
        _kill_group(process)

    timer = threading.Timer(seconds, stop)
    timer.start()
    try:
        printed, told = _talk(process, given)
        if len(printed) <= MOST_OUTPUT:
            process.wait()
    finally:
        timer.cancel()
        _kill_group(process)
        process.wait()
    if len(printed) > MOST_OUTPUT:
        return Ran("large", reason=f"it printed more than {MOST_OUTPUT} bytes")
    if late.is_set():
        return Ran("slow", reason=f"it was stopped after {seconds:g} seconds")
    if process.returncode == 98:
        return Ran("large", reason="it needed more memory than it may have")
    if process.returncode == -signal.SIGXCPU or process.returncode == -signal.SIGKILL:
        return Ran("slow", reason="it used up its processor time")
    if process.returncode and not (command[0] == "grep" and process.returncode == 1):
        return Ran("failed", reason=f"it ended with {told.decode('utf-8', 'replace').strip()[:200] or 'an error'}")
    try:
        text = printed.decode().removesuffix("\n").replace("\t", "    ")
    except UnicodeDecodeError:
        return Ran("binary", reason="it printed what is no text")
    return Ran("ok", text) if printable(text) else Ran("binary", reason="it printed control characters")


def _talk(process: subprocess.Popen[bytes], given: str) -> tuple[bytes, bytes]:
    """Give a program its input, and return the first bytes that it prints and says: no more than are looked at."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    said: list[bytes] = []
    listener = threading.Thread(target=lambda errors: said.append(errors.read(2000)), args=(process.stderr,))
    with process.stdin, process.stdout, process.stderr:
        listener.start()
        with contextlib.suppress(BrokenPipeError):  # it may end without having read
            process.stdin.write(given.encode())
            process.stdin.close()
        printed = process.stdout.read(MOST_OUTPUT + 1)
        if len(printed) > MOST_OUTPUT:
            _kill_group(process)
        listener.join()
    return printed, b"".join(said)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
