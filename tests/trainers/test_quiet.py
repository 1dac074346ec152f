"""What is silenced is silenced by name; everything else comes through."""

import os
import subprocess
import sys

from palaestra.trainers import quiet


def test_one_known_line_of_compiled_code_is_dropped_and_all_others_pass(capfd):
    with quiet.without_line():
        os.write(2, b"before\nActor MatchRunner " + quiet.RESTART + b". If they are lost\nafter\n")
        subprocess.run([sys.executable, "-c", "import os; os.write(2, b'a child\\n')"], check=True)
        print("python", file=sys.stderr)
    os.write(2, b"later\n")
    assert sorted(capfd.readouterr().err.split("\n")) == sorted(["before", "after", "a child", "python", "later", ""])


def test_an_error_inside_gives_the_stream_back(capfd):
    try:
        with quiet.without_line():
            raise ValueError
    except ValueError:
        os.write(2, quiet.RESTART + b"\n")
    assert capfd.readouterr().err == quiet.RESTART.decode() + "\n"
