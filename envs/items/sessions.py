"""Real shell sessions, recorded: commands that a person types, run by a real shell in a folder of their own.

Unlike the pipelines of `palaestra.envs.items.shell_pipelines` these use programs that look at files, dates and
archives, so they are recorded once, by whoever builds the shipped set, and are data from then on. Each script stands
here with what differs from run to run, of which *stale* outputs come. Nothing in here comes from outside.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

from palaestra.envs.items.build import Outcomes, wrong_outputs
from palaestra.envs.items.item_set import Item, printable
from palaestra.envs.seeding import Dice, derive


class Script(NamedTuple):
    """Commands whose last one is asked about; ``%1`` and ``%2`` stand for what differs from run to run. Where numbers
    are ``octal``, one with an 8 or a 9 was never printed."""

    level: int
    lines: tuple[str, ...]
    runs: tuple[tuple[str, str], ...]
    octal: bool = False


SCRIPTS = (
    Script(1, ("seq %1 %2 > n.txt", "wc -l < n.txt"), (("3", "17"), ("5", "17"), ("3", "21"))),
    Script(1, ("touch a%1.txt b%1.txt", "mkdir old%2", "ls"), (("1", "3"), ("2", "3"), ("1", "4"))),
    Script(1, ("printf 'one %1\\ntwo %2\\n' > f", "cat f"), (("10", "4"), ("11", "4"), ("10", "7"))),
    Script(1, ("expr %1 '*' %2",), (("17", "23"), ("17", "24"), ("19", "23"))),
    Script(1, ("date -u -d '2024-02-%1 + %2 days' +%%F",), (("27", "3"), ("28", "3"), ("27", "5"))),
    Script(1, ("echo $((%1 / %2)) $((%1 % %2))",), (("47", "6"), ("50", "6"), ("47", "9"))),
    Script(1, ("basename /srv/www/%1/page-%2.html .html",), (("docs", "12"), ("docs", "21"), ("blog", "13"))),
    Script(1, ("printf '%%x %%o\\n' %1 %2",), (("250", "64"), ("251", "64"), ("250", "72")), True),
    Script(2, ("head -c %1 /dev/zero > x.bin", "head -c %2 /dev/zero >> x.bin", "stat -c '%%n %%s' x.bin"),
           (("1200", "345"), ("1300", "345"), ("1200", "355"))),
    Script(2, ("seq 1 %1 | awk '{ s += $1 } END { print s, NR }'",), (("12", ""), ("13", ""), ("21", ""))),
    Script(2, ("mkdir -p p/q p/r", "touch p/a%1 p/q/b p/r/c%2", "find p -type f | sort"),
           (("1", "2"), ("3", "2"), ("1", "5"))),
    Script(2, ("printf 'a\\nb\\nc%1\\n' > l", "printf 'a\\nc%1\\nd%2\\n' > r", "comm -12 l r"),
           (("7", "1"), ("8", "1"), ("9", "2"))),
    Script(2, ("printf 'x=%1\\ny=%2\\n' > conf", "sed -n 's/^y=//p' conf"), (("4", "31"), ("4", "13"), ("4", "32"))),
    Script(2, ("date -u -d @%1%2 '+%%H:%%M:%%S'",), (("17000", "12345"), ("17000", "12405"), ("17001", "12345"))),
    Script(2, ("cal_year=%1", "for y in $cal_year $((cal_year + %2)); do date -d $y-12-31 +%%j; done"),
           (("2023", "1"), ("2024", "1"), ("2022", "2"))),
    Script(2, ("printf 'k1 %1\\nk2 %2\\n' > a", "printf 'k1 red\\nk2 blue\\n' > b", "join b a"),
           (("5", "9"), ("6", "9"), ("5", "8"))),
    Script(3, ("mkdir d", "for i in 1 2 3; do head -c $((i * %1)) /dev/zero > d/f$i; done",
               "find d -type f -size +%2c -printf '%%f %%s\\n' | sort"), (("40", "50"), ("41", "50"), ("45", "60"))),
    Script(3, ("seq 5 > a", "seq 4 %1 > b", "diff a b"), (("8", ""), ("9", ""), ("7", ""))),
    Script(3, ("printf '3,b,%1\\n1,a,%2\\n2,c,5\\n' > t.csv",
               "awk -F, '$3 > 4 { print $2 $1 }' t.csv | sort | tr '\\n' ' '"),
           (("9", "7"), ("9", "2"), ("3", "7"))),
    Script(3, ("mkdir s; touch s/one s/two%1 s/three%2", "tar cf s.tar s", "tar tf s.tar | sort | tail -2"),
           (("1", "2"), ("3", "2"), ("1", "4"))),
    Script(3, ("printf '%1 %2 8 3\\n' > n", "tr ' ' '\\n' < n | sort -n | paste -s -d' '"),
           (("12", "7"), ("11", "7"), ("12", "5"))),
    Script(3, ("i=%1; n=0", "while [ $i -gt 1 ]; do i=$((i / %2)); n=$((n + 1)); done", "echo $n $i"),
           (("1000", "3"), ("4000", "3"), ("1000", "2"))),
    Script(3, ("git init -q .; git config user.name a; git config user.email a@b",
               "for m in one two%1 three%2; do git commit -q --allow-empty -m $m; done", "git log --format=%%s"),
           (("1", "2"), ("3", "2"), ("1", "4"))),
    Script(3, ("umask 0%1", "touch f; mkdir g", "stat -c '%%a %%n' f g"), (("022", ""), ("027", ""), ("077", "")),
           True),
)  # fmt: skip


def build_session(count: int, seed: int, outcomes: Outcomes) -> Iterator[Item]:
    """Yield the recorded sessions, as many as there are, at most ``count``: one for each run of each script."""
    for number in range(min(count, 3 * len(SCRIPTS))):
        script = SCRIPTS[number % len(SCRIPTS)]
        dice, first = Dice(derive(seed, "session", number)), number // len(SCRIPTS)
        runs = [script.runs[(first + step) % len(script.runs)] for step in range(len(script.runs))]
        told = [_recorded(_filled(script.lines, *run)) for run in runs]
        outcomes["ok" if told[0] else "failed"] += 1
        if not told[0]:
            continue
        wrong = wrong_outputs(told[0], [], [one for one in told[1:] if one], dice)
        if script.octal:
            wrong = tuple(one for one in wrong if one.how == "stale" or not re.search("[89]", one.output))
        if wrong:
            program = "\n".join(f"$ {line}" for line in _filled(script.lines, *runs[0]))
            yield Item(f"session-{script.level}-{number}", "session", script.level, program, told[0], wrong)


def _filled(lines: tuple[str, ...], first: str, second: str) -> list[str]:
    return [line.replace("%%", "\0").replace("%1", first).replace("%2", second).replace("\0", "%") for line in lines]


def _recorded(lines: list[str]) -> str | None:
    """Return what the last of some commands prints; None if one fails or prints no text."""
    with tempfile.TemporaryDirectory() as folder:
        script = "\n".join(["set -e", *lines[:-1], f"{{ {lines[-1]}; }} > .out || [ $? -eq 1 ]", "cat .out"])
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": folder, "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(
            ["/bin/bash", "-c", script], cwd=folder, env=environment, capture_output=True, timeout=20, check=False
        )
        text = done.stdout.decode("utf-8", "replace").rstrip("\n").rstrip(" ").replace("\t", "    ")
        return text if done.returncode == 0 and text and printable(text) else None
