"""From an exception to one sentence on stderr and an exit status.

    0    done
    1    done, and the answer is no: a replay differs, something is missing
    2    cannot be done as asked: unknown name, wrong value, unreadable file, full disk, missing package
    130  stopped by the user

A sentence is for whoever runs the command and says what to do. Anything that has no sentence is a bug and keeps its
traceback. Classes of heavy libraries are recognised without importing them: an exception of theirs can only be raised
once they have been imported.
"""

from __future__ import annotations

import errno
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from palaestra.scripts.console import plain

UsageError = typer.BadParameter.__mro__[1]  # typer has no public name for the parent of its own errors

RESUME = "`palaestra resume RUN` goes on with a run that has begun"
KEPT = {
    "palaestra train": f"finished games and checkpoints are kept: {RESUME}",
    "palaestra resume": f"finished games and checkpoints are kept: {RESUME}",
    "palaestra experiment": "finished cells are kept: the same command goes on",
    "palaestra play": "a replay being written keeps all finished turns: `palaestra replay resume FILE` goes on",
}
"""What each command has not lost when it is cut short."""
NOTHING = "nothing that was there before is lost"

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
UNUSABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG}
EXTRAS = {
    "train": {
        *("torch", "transformers", "peft", "safetensors", "gguf", "ray", "tensorboardX", "jinja2", "matplotlib"),
        *("tokenizers", "huggingface_hub", "filelock", "scipy", "tree"),
    },
    "interp": {"sklearn"},
    "vllm": {"vllm"},
}


def examples(*lines: str) -> str:
    """Return an epilog that shows commands, one a line."""
    return "\n".join(["[bold]Examples[/bold]", *(f"  [cyan]{line}[/cyan]" for line in lines)])


def sentence(error: BaseException, command: str) -> tuple[str, int] | None:
    """Return what to tell the user about an error and the exit status; None for a bug."""
    kept = KEPT.get(command, NOTHING)
    if isinstance(error, KeyboardInterrupt):
        return f"stopped; {kept}.", 130
    if isinstance(error, UsageError):
        text = (error.format_message() or "a command is missing").rstrip(".").replace("?.", "?")  # type: ignore[attr-defined]
        stop = "" if text.endswith("?") else "."
        return f"{text[:1].lower()}{text[1:]}{stop} `{_asked(error, command)} --help` shows how it is used.", 2
    error = _cause(error)
    if _is(error, "palaestra.trainers.run", "Interrupted") or _is(error, "palaestra.agents.human", "PlayerLeft"):
        return str(error), 130
    if _is(error, "palaestra.envs.errors", "PalaestraError"):
        return str(error), 2
    chain = list(_chain(error))
    if any((isinstance(one, OSError) and one.errno in FULL) or "os error 28" in str(one) for one in chain):
        where = next((f" at {one.filename}" for one in chain if isinstance(one, OSError) and one.filename), "")
        return f"the disk is full, or a file may not grow further{where}; {kept}. Make room first.", 2
    if any(_out_of_memory(one) for one in chain):
        return f"memory ran out; {kept}. Use a smaller model, fewer concurrent games or a smaller token budget.", 2
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = error.name.partition(".")[0]
        for extra, packages in EXTRAS.items():
            if package in packages:
                from palaestra.envs.errors import install_command

                return f"this needs the package {package}; run `{install_command(extra)}`.", 2
    if isinstance(error, OSError) and error.errno in UNUSABLE and error.filename:
        return f"{error.filename}: {(error.strerror or 'cannot be used').lower()}; choose another place.", 2
    return None


@contextmanager
def in_one_sentence(context: Any) -> Iterator[None]:
    """Turn errors inside the block into a sentence and an exit status.

    Args:
        context: The command's context, or its name while there is none.
    """
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except BaseException as error:
        command = context if isinstance(context, str) else _path(context)
        if isinstance(error, UsageError) and error.ctx is not None:  # type: ignore[attr-defined]
            command = error.ctx.command_path  # type: ignore[attr-defined]
        told = sentence(error, command)
        if told is None:
            raise
        print(f"{command}: {plain(told[0], newlines=False)}", file=sys.stderr)
        raise typer.Exit(told[1]) from None


def show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """Print a warning meant for the user in one line; takes the place of `warnings.showwarning`."""
    if issubclass(category, UserWarning):
        print(f"palaestra: note: {plain(str(message), newlines=False)}", file=sys.stderr)
    else:
        print(warnings.formatwarning(message, category, *where[:3]), end="", file=sys.stderr)


class CommandGroup(TyperGroup):
    """A group of commands whose errors are sentences."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Read the group's own options."""
        with in_one_sentence(info_name or "palaestra"):
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand."""
        with in_one_sentence(ctx):
            return super().invoke(ctx)


def _path(context: Any) -> str:
    """Return the words that named the command, such as ``palaestra replay show``."""
    called = context.invoked_subcommand
    return f"{context.command_path} {called}" if called else str(context.command_path)


def _asked(error: Any, command: str) -> str:
    return error.ctx.command_path if error.ctx is not None else command


def _is(error: BaseException, module: str, name: str) -> bool:
    """Return whether an error is of a class that may not have been imported."""
    return module in sys.modules and isinstance(error, getattr(sys.modules[module], name))


def _cause(error: BaseException) -> BaseException:
    """Return what failed inside a Ray task or actor, or the error itself."""
    while type(error).__module__.startswith("ray.") and isinstance(cause := getattr(error, "cause", None), Exception):
        error = cause
    return error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _out_of_memory(error: BaseException) -> bool:
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's, and Ray's
        or "can't allocate memory" in str(error)  # torch's allocator on a CPU
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    )
