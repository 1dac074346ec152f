"""The report in a real browser: it draws, runs nothing and fetches nothing, whatever players wrote."""

import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import matplotlib.image
import pytest

from palaestra.trainers.report import write_report
from tests.trainers.test_report import HOSTILE, run_folder

pytestmark = pytest.mark.browser
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking")


def browse(page, folder, *flags: str) -> str:
    """Open a page and return what the browser printed."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    command = [program, *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags, page.as_uri()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@pytest.fixture
def listener():
    """A server on this machine and the paths it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1], asked
    server.shutdown()
    server.server_close()


def test_hostile_text_neither_runs_nor_fetches(tmp_path, listener, monkeypatch):
    port, asked = listener
    attack = f'</pre><img src="http://127.0.0.1:{port}/x"><script>document.title = "taken"</script>'
    monkeypatch.setattr("tests.trainers.test_report.HOSTILE", HOSTILE + attack)
    page = write_report(run_folder(tmp_path / "r", hostile=True))
    shown = browse(page, tmp_path, "--dump-dom")
    assert re.search(r"<title>[^<]*small", shown)
    assert 'document.title = "taken"' in shown  # as text
    assert asked == []

    naive = tmp_path / "naive.html"
    naive.write_text(f"<title>small</title><pre>{attack}</pre>")
    assert "<title>taken</title>" in browse(naive, tmp_path, "--dump-dom")
    assert asked == ["/x"]


def test_curves_and_games_are_drawn(tmp_path):
    page = write_report(run_folder(tmp_path / "r", iterations=5))
    picture = tmp_path / "page.png"
    browse(page, tmp_path, f"--screenshot={picture}", "--window-size=1100,2400")
    pixels = matplotlib.image.imread(picture)[..., :3]
    assert pixels.shape[:2] == (2400, 1100)
    background = pixels[0, 0]
    inked = (abs(pixels - background).max(axis=-1) > 0.2).any(axis=1)
    assert inked.sum() > 600  # rows of pixels with something on them
    colours = {tuple(colour) for colour in (pixels[::3, ::3].reshape(-1, 3) * 255).astype(int).tolist()}
    blue = [colour for colour in colours if colour[2] > colour[0] + 80]
    assert blue, "no curve is drawn in colour"
    dom = browse(page, tmp_path, "--dump-dom")
    assert len(re.findall(r"<svg", dom)) >= 4
