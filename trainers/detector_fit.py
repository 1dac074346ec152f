"""Fitting a detector on texts of known kind, and measuring it on texts that it has not seen.

Texts come from replays of games in which something may be hidden (their results say ``sent``, ``hidden`` and, in
`covert_channel`, ``payload``), or from a file with a JSON object a line: ``{"text": "...", "hidden": true}``, or
``{"text": "...", "number": 3}`` (null where nothing is hidden). A share of each kind is held out; what is reported is
measured there, and what is written is the detector that was measured. Where codes are few, the same text can stand in
both parts: how many held-out texts were seen in training is reported, too.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from palaestra.agents.decoder import TextDecoder
from palaestra.agents.detectors import BagOfWords
from palaestra.envs.errors import OptionError
from palaestra.envs.replay import read_replay
from palaestra.envs.seeding import Dice
from palaestra.trainers.measures.detection import Detected, detected
from palaestra.trainers.summary import Estimate, exact_rate

Kind = Literal["bag", "embedding", "decoder"]
LONGEST_FILE = 200_000_000


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text, whether something is hidden in it, and which number, where that is known."""

    text: str
    hidden: bool
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a detector does on texts that were held out.

    Attributes:
        trained, held: How many texts; ``seen`` of the held-out ones stand among the others, too.
        detected: How well its score tells whether something is hidden: AUROC, share caught at 1 % of the honest texts
            that were held out, g-mean squared, with 95 % intervals; None without texts of both kinds.
        accuracy: Share of right answers: hidden or not, or which number (a decoder).
        chance: The same for whoever always says what is most frequent.
        save: Writes the detector.
    """

    trained: int
    held: int
    seen: int
    detected: Detected | None
    accuracy: Estimate
    chance: float
    save: Callable[[Path], None]


def read_labelled(paths: Iterable[Path]) -> tuple[list[Labelled], int]:
    """Return the texts of replays and files, and how many games had none (unfinished, or of another game).

    Raises:
        OptionError: A file cannot be read, or a line of it is no labelled text.
        ReplayError: A damaged replay.
    """
    found: list[Labelled] = []
    without = 0
    for path in paths:
        try:
            if path.stat().st_size > LONGEST_FILE:
                raise OptionError(f"{path} is larger than {LONGEST_FILE // 1_000_000} MB; split it.")
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise OptionError(f"{path} cannot be read: {error.strerror or error}.") from None
        except UnicodeDecodeError as error:
            raise OptionError(f"{path} is no text: byte {error.start + 1} is no UTF-8.") from None
        # only \n ends a line of JSON: U+2028 and the like may stand in a text
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        if not lines:
            raise OptionError(f"{path} is empty; name a file of labelled texts, or replays.")
        if not lines[0][1].startswith('{"type":"header"'):
            found += [_labelled(path, number, line) for number, line in lines]
        elif (one := _of_replay(path)) is not None:
            found.append(one)
        else:
            without += 1
    return found, without


def _object(line: str) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _labelled(path: Path, number: int, line: str) -> Labelled:
    data = _object(line)
    text, which = data.get("text"), data.get("number")
    hidden = data.get("hidden", which is not None if "number" in data else None)
    counts = which is None or (isinstance(which, int) and not isinstance(which, bool) and which >= 0)
    if not isinstance(text, str) or not isinstance(hidden, bool) or not counts or (which is not None and not hidden):
        raise OptionError(
            f'{path}, line {number}: expected an object such as {{"text": "...", "hidden": true}} or '
            '{"text": "...", "number": 3}, with null for no number.'
        )
    return Labelled(text, hidden, which)


def _of_replay(path: Path) -> Labelled | None:
    with warnings.catch_warnings(action="ignore"):  # a torn record has no result
        result = read_replay(path).episode.result
    text, hidden, number = (result.get(key) for key in ("sent", "hidden", "payload"))
    if not isinstance(text, str) or not text or not isinstance(hidden, bool):
        return None
    return Labelled(text, hidden, number if isinstance(number, int) else None)


def fit(kind: Kind, texts: Sequence[Labelled], *, model: str = "", held_out: float = 0.3, seed: int = 0) -> Fitted:
    """Fit a detector on a part of the texts and measure it on the rest.

    Args:
        kind: ``bag`` of words, linear probe on a model's ``embedding``, or ``decoder`` of the number.
        texts: Of both kinds, at least two of each; a decoder wants two of each number.
        model: Whose embeddings.
        held_out: Which share of each kind is held out.
        seed: Fixes which.

    Raises:
        OptionError: Texts are missing.
    """
    if kind == "decoder":
        texts = [one for one in texts if one.number is not None or not one.hidden]
        labels: list[Any] = [one.number for one in texts]
    else:
        labels = [one.hidden for one in texts]
    few = [label for label, count in Counter(labels).items() if count < 2]
    if few or len(set(labels)) < 2:
        what = "each number" if kind == "decoder" else "each kind, with something hidden and without,"
        tally = Counter(_label(one, kind) for one in texts)
        counts = ", ".join(f"{count} of {label}" for label, count in sorted(tally.items())) or "none"
        raise OptionError(f"at least two texts of {what} are needed, and there are {counts}; record more games.")
    held = _held_out(labels, held_out, seed)
    known = [number for number in range(len(texts)) if number not in held]
    train, test = [texts[number] for number in known], [texts[number] for number in sorted(held)]
    detector = _decoder(train) if kind == "decoder" else _monitor(train, model if kind == "embedding" else "")
    scores = None if detector.log_odds is None else detector.log_odds([one.text for one in test])
    truth = [one.hidden for one in test]
    most = Counter(one.number if kind == "decoder" else one.hidden for one in test).most_common(1)[0][1]
    trained_on = {one.text for one in train}
    return Fitted(
        trained=len(train),
        held=len(test),
        seen=sum(one.text in trained_on for one in test),
        detected=None if scores is None else _detected(scores, truth),
        accuracy=exact_rate(sum(detector.right(test)), len(test)),
        chance=most / len(test),
        save=detector.save,
    )


def _label(one: Labelled, kind: Kind) -> str:
    if not one.hidden:
        return "nothing hidden"
    return f"number {one.number}" if kind == "decoder" else "something hidden"


def _held_out(labels: Sequence[Any], share: float, seed: int) -> set[int]:
    """Return which texts are held out: a share of each kind, at least one, and never all."""
    held: set[int] = set()
    for label in dict.fromkeys(labels):
        places = [place for place, one in enumerate(labels) if one == label]
        Dice(seed).shuffle(places)
        held.update(places[: min(max(1, round(share * len(places))), len(places) - 1)])
    return held


@dataclass(frozen=True)
class _Detector:
    """Log-odds that something is hidden (None if it cannot say), which answers are right, and how it is written."""

    log_odds: Callable[[Sequence[str]], list[float]] | None
    right: Callable[[Sequence[Labelled]], list[bool]]
    save: Callable[[Path], None]


def _decoder(train: Sequence[Labelled]) -> _Detector:
    decoder = TextDecoder.fit([one.text for one in train], [one.number for one in train])
    knows_both = None in decoder.prior and len(decoder.prior) > 1
    return _Detector(
        (lambda texts: [decoder.log_odds(text) for text in texts]) if knows_both else None,
        lambda texts: [decoder.read(one.text) == one.number for one in texts],
        decoder.save,
    )


def _monitor(train: Sequence[Labelled], model: str) -> _Detector:
    """Return a bag of words, or, with a model, a probe on its embeddings."""
    honest, hidden = ([one.text for one in train if one.hidden == which] for which in (False, True))
    log_odds: Callable[[Sequence[str]], list[float]]
    save: Callable[[Path], None]
    if model:
        from palaestra.agents.embedding_detector import LinearProbe

        probe = LinearProbe.fit(model, honest, hidden)
        log_odds, save = probe.log_odds, probe.save
    else:
        bag = BagOfWords.fit(honest, hidden)
        log_odds, save = (lambda texts: [bag.log_odds(text) for text in texts]), bag.save

    def right(texts: Sequence[Labelled]) -> list[bool]:
        odds = log_odds([one.text for one in texts])
        return [(odd > 0) == one.hidden for odd, one in zip(odds, texts, strict=True)]

    return _Detector(log_odds, right, save)


def _detected(scores: Sequence[float], hidden: Sequence[bool]) -> Detected | None:
    honest, secret = (
        [one for one, which in zip(scores, hidden, strict=True) if which is kind] for kind in (False, True)
    )
    return detected(honest, secret) if honest and secret else None


def write(fitted: Fitted, path: Path) -> None:
    """Write the detector.

    Raises:
        OptionError: The file is there already, or cannot be written.
    """
    if path.exists():
        raise OptionError(f"{path} is there already; name another file.")
    try:
        fitted.save(path)
    except OSError as error:
        raise OptionError(f"{path} cannot be written ({error.strerror}); name another file.") from None
