"""The maps of Risk: data in a file, validated, so that anybody can bring one.

A map is a JSON object:

    {
      "name": "islands",
      "continents": [{"name": "North", "bonus": 2, "territories": ["Ash", "Birch", "Cedar"]}, ...],
      "borders": [["Ash", "Birch"], ...],
      "missions": [["North", "South"], ...],
      "layout": {"Ash": [0, 0], ...}
    }

Borders go both ways. ``missions`` (optional) are sets of continents that a secret mission may ask for; ``layout``
(optional) gives column and row of each territory, from which the map is drawn. A map must hang together: from each
territory every other can be reached.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from palaestra.envs.errors import OptionError

BUILT_IN = ("classic", "small")
MOST_TERRITORIES = 120
_NAME = re.compile(r"[A-Za-z][A-Za-z .'-]{0,29}")
_RESERVED = {"all", "done", "end", "pass", "player", "say", "tell", "with", "to", "from", "nobody"}


@dataclass(frozen=True)
class Continent:
    """A continent; ``territories`` are indices into `RiskMap.territories`."""

    name: str
    bonus: int
    territories: tuple[int, ...]


@dataclass(frozen=True)
class RiskMap:
    """A validated map.

    Attributes:
        territories: Names, in the order of their continents.
        borders: For each territory the indices of its neighbours, ascending.
        missions: Sets of continents, as indices into ``continents``.
        layout: (column, row) of each territory, or empty.
    """

    name: str
    territories: tuple[str, ...]
    continents: tuple[Continent, ...]
    borders: tuple[tuple[int, ...], ...]
    missions: tuple[tuple[int, ...], ...]
    layout: tuple[tuple[int, int], ...]

    def index(self, name: str) -> int:
        """Return a territory's index."""
        return self.territories.index(name)


def load_map(given: str | Mapping[str, Any]) -> RiskMap:
    """Return a built-in map by its name, or the map that an object in the format of a map file describes.

    A path is no name: games are made from replays of strangers, too, which must not open files (see `read_map`).

    Raises:
        OptionError: There is no such map, or the data is no valid map; the message says what is wrong with it.
    """
    if not isinstance(given, str):
        return _cached(json.dumps(given, sort_keys=True))
    if given not in BUILT_IN:
        near = difflib.get_close_matches(given, BUILT_IN, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        cure = "give the content of a map file (at the command line map=@FILE.json)"
        raise OptionError(f"there is no map {given!r}; maps are {', '.join(BUILT_IN)}; for another, {cure}.{hint}")
    text = files("palaestra.envs.games").joinpath("risk_maps", f"{given}.json").read_text(encoding="utf-8")
    return _cached(text)


def read_map(path: str | Path) -> dict[str, Any]:
    """Return the content of a map file, validated, as the option ``map`` of Risk takes it.

    Raises:
        OptionError: The file cannot be read or is no valid map.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise OptionError(f"map {path} cannot be read: {error.strerror or error}.") from None
    except ValueError as error:
        raise OptionError(f"map {path} is no JSON: {error}.") from None
    parse_map(data, str(path))
    return dict(data)


@lru_cache(maxsize=32)
def _cached(text: str) -> RiskMap:
    data = json.loads(text)
    return parse_map(data, repr(data.get("name", "without a name")) if isinstance(data, dict) else "given")


def parse_map(data: Any, source: str) -> RiskMap:
    """Return the map that JSON data describes.

    Raises:
        OptionError: The data is no valid map.
    """
    try:
        return _parse(data, source)
    except _Fault as fault:
        raise OptionError(f"map {source}: {fault}.") from None


class _Fault(ValueError):
    """What is wrong with a map, in words."""


def _parse(data: Any, source: str) -> RiskMap:
    if not isinstance(data, Mapping):
        raise _Fault("a map is an object with name, continents and borders")
    known = {"name", "continents", "borders", "missions", "layout"}
    if unknown := sorted(set(data) - known):
        near = difflib.get_close_matches(str(unknown[0]), sorted(known), n=1)
        raise _Fault(f"unknown key {unknown[0]!r}" + (f"; did you mean {near[0]!r}" if near else ""))
    territories, continents = _continents(data.get("continents"))
    borders = _borders(data.get("borders"), territories)
    _connected(borders, territories)
    names = [continent.name for continent in continents]
    missions = []
    for mission in _list(data.get("missions", []), "missions"):
        if mission == []:
            raise _Fault("a mission names no continent; whoever drew it would have won at once")
        missions.append(
            tuple(sorted(_position(name, names, "continent", "a mission") for name in _list(mission, "a mission")))
        )
    layout = _layout(data.get("layout", {}), territories)
    title = data.get("name", source)
    if not isinstance(title, str) or len(title) > 80 or not title.isprintable():
        raise _Fault(f"the name {title!r:.80} is no text of one line with at most 80 characters")
    return RiskMap(title, tuple(territories), tuple(continents), borders, tuple(missions), layout)


def _continents(data: Any) -> tuple[list[str], list[Continent]]:
    territories: list[str] = []
    continents: list[Continent] = []
    for entry in _list(data, "continents"):
        if not isinstance(entry, Mapping) or not {"name", "bonus", "territories"} <= set(entry):
            raise _Fault("each continent needs name, bonus and territories")
        if unknown := sorted(map(str, set(entry) - {"name", "bonus", "territories"})):
            raise _Fault(f"unknown key {unknown[0]!r} of a continent; there are name, bonus and territories")
        bonus = entry["bonus"]
        if isinstance(bonus, bool) or not isinstance(bonus, int) or not 0 <= bonus <= 99:
            raise _Fault(f"continent {entry['name']!r} has the bonus {bonus!r}, expected a whole number from 0 to 99")
        own = _list(entry["territories"], f"the territories of {entry['name']!r}")
        if not own:
            raise _Fault(f"continent {entry['name']!r} has no territory")
        first = len(territories)
        territories += [_name(name, "territory") for name in own]
        continents.append(Continent(_name(entry["name"], "continent"), bonus, tuple(range(first, len(territories)))))
    for kind, found in (("territory", territories), ("continent", [one.name for one in continents])):
        lower = [name.lower() for name in found]
        if twice := sorted({name for name in found if lower.count(name.lower()) > 1}):
            raise _Fault(f"the {kind} {twice[0]!r} is there twice; names must differ in more than case")
    if not 4 <= len(territories) <= MOST_TERRITORIES:
        raise _Fault(f"there are {len(territories)} territories, expected 4 to {MOST_TERRITORIES}")
    return territories, continents


def _name(name: Any, kind: str) -> str:
    if kind == "territory" and str(name).lower() in _RESERVED:
        raise _Fault(f"{name!r} cannot name a territory, because it is a word of an order; choose another")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _Fault(f"{name!r} cannot name a {kind}; use up to 30 letters, spaces, dots, dashes and apostrophes")
    if name != " ".join(name.split()):
        raise _Fault(f"{name!r} cannot name a {kind}; write it with single spaces and none around it")
    return name


def _list(data: Any, what: str) -> Sequence[Any]:
    if not isinstance(data, list):
        raise _Fault(f"{what} must be a list, found {data!r:.60}")
    return data


def _position(name: Any, names: Sequence[str], kind: str, where: str) -> int:
    if name not in names:
        near = difflib.get_close_matches(str(name), names, n=1)
        hint = f"; did you mean {near[0]!r}" if near else ""
        raise _Fault(f"{where} names {name!r}, which is no {kind}{hint}")
    return names.index(name)


def _borders(data: Any, territories: list[str]) -> tuple[tuple[int, ...], ...]:
    found: list[set[int]] = [set() for _ in territories]
    for border in _list(data, "borders"):
        pair = _list(border, "a border")
        if len(pair) != 2:
            raise _Fault(f"the border {pair!r:.80} must name two territories")
        one, other = (_position(name, territories, "territory", "a border") for name in pair)
        if one == other:
            raise _Fault(f"{territories[one]!r} cannot border itself")
        found[one].add(other)
        found[other].add(one)
    return tuple(tuple(sorted(neighbours)) for neighbours in found)


def _connected(borders: Sequence[Sequence[int]], territories: Sequence[str]) -> None:
    reached, frontier = {0}, [0]
    while frontier:
        for neighbour in borders[frontier.pop()]:
            if neighbour not in reached:
                reached.add(neighbour)
                frontier.append(neighbour)
    if island := [name for index, name in enumerate(territories) if index not in reached]:
        more = f" and {len(island) - 3} more" if len(island) > 3 else ""
        raise _Fault(f"{', '.join(island[:3])}{more} cannot be reached from {territories[0]}; add a border")


def _layout(data: Any, territories: list[str]) -> tuple[tuple[int, int], ...]:
    if not isinstance(data, Mapping):
        raise _Fault("layout must be an object with a column and a row for each territory")
    if not data:
        return ()
    places: dict[int, tuple[int, int]] = {}
    for name, place in data.items():
        index = _position(name, territories, "territory", "the layout")
        valid = isinstance(place, list) and len(place) == 2 and all(type(one) is int and 0 <= one < 40 for one in place)
        if not valid:
            raise _Fault(f"the layout of {name!r} is {place!r:.40}, expected a column and a row from 0 to 39")
        if tuple(place) in places.values():
            raise _Fault(f"the layout puts {name!r} where another territory is")
        places[index] = (place[0], place[1])
    if missing := [name for index, name in enumerate(territories) if index not in places]:
        raise _Fault(f"the layout leaves out {missing[0]!r}")
    return tuple(places[index] for index in range(len(territories)))
