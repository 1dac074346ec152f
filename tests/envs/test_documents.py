"""Documents, each against an oracle that reads the text alone and shares no code with what wrote it."""

import itertools
import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaestra.envs import documents, make, plugins
from palaestra.envs.documents import (
    CorpusError,
    Document,
    Piece,
    Task,
    document_of,
    read_corpus,
    register_task,
    tasks,
)
from palaestra.envs.documents.groups import group
from palaestra.envs.documents.vocabulary import BYTES, encode, vocabulary
from palaestra.envs.errors import OptionError, UnknownName
from palaestra.envs.seeding import Dice

seeds = st.integers(0, 10**6)
NAMES = ["z2", "z7", "s3"]


def drawn(task: str, seed: int, **options: object) -> Document:
    return document_of(task, Dice(seed), **options)


# ---------------------------------------------------------------------- groups


@pytest.mark.parametrize("name", [*NAMES, "s5"])
def test_a_group_is_one(name):
    table = np.array(group(name).table)
    size = len(table)
    assert size == {"z2": 2, "z7": 7, "s3": 6, "s5": 120}[name]
    assert (table[0] == np.arange(size)).all()
    assert (table[:, 0] == np.arange(size)).all()
    assert (np.sort(table, axis=1) == np.arange(size)).all()  # every equation has one solution
    left, right = table[table], table[:, table]  # (ab)c and a(bc), for all a, b, c
    assert (left == right).all()
    assert (table == table.T).all() == (name[0] == "z")


def derived(name: str) -> int:
    """Return how many elements of the group the commutators generate."""
    table = group(name).table
    inverse = [row.index(0) for row in table]
    elements = range(len(table))
    found = {table[table[inverse[a]][inverse[b]]][table[a][b]] for a, b in itertools.product(elements, repeat=2)}
    while (more := {table[a][b] for a in found for b in found}) != found:
        found = more
    return len(found)


def test_s3_is_solvable_and_s5_is_not():
    assert derived("s3") == 3  # Z3, which is abelian
    assert derived("s5") == 60  # A5, which is its own derived group


# ---------------------------------------------------------------------- made documents


def permutation(word: str, name: str) -> tuple[int, ...]:
    elements = list(itertools.permutations(range(int(name[1]))))
    return elements[(ord(word[0]) - 97) * 12 + ord(word[1]) - 97] if name == "s5" else elements[ord(word) - 97]


@given(seeds, st.sampled_from([*NAMES, "s5"]), st.integers(1, 8))
def test_a_chains_answer_is_the_product_of_its_word(seed, name, length):
    text = drawn("chain", seed, group=name, length=length).text
    word, answer = text.split("=")
    if name[0] == "z":
        assert ord(answer) - 97 == sum(ord(sign) - 97 for sign in word) % int(name[1:])
        return
    wide = 2 if name == "s5" else 1
    assert len(word) == wide * length
    state = tuple(range(int(name[1])))
    for start in range(0, len(word), wide):
        step = permutation(word[start : start + wide], name)
        state = tuple(step[image] for image in state)
    assert permutation(answer, name) == state


@given(seeds, st.integers(1, 10))
def test_with_prefixes_every_answer_follows_from_the_one_before(seed, length):
    text = drawn("chain", seed, group="z7", length=length, show="prefix").text
    state = 0
    for start in range(0, 3 * length, 3):
        element, equals, answer = text[start : start + 3]
        state = (state + ord(element) - 97) % 7
        assert (equals, ord(answer) - 97) == ("=", state)


@given(seeds, st.integers(2, 40), st.sampled_from([0.0, 0.5, 1.0]))
def test_parity_is_that_of_the_bits_and_the_long_form_runs_up_to_it(seed, bits, long):
    text = drawn("parity", seed, bits=bits, long=long).text
    shown, answer = text.split("=")
    given_, colon, running = shown.partition(":")
    assert len(given_) == bits
    assert int(answer) == given_.count("1") % 2
    assert bool(colon) == (long == 1) or long == 0.5
    for place, sign in enumerate(running):
        assert int(sign) == given_[: place + 1].count("1") % 2


@pytest.mark.parametrize("long", [0.0, 0.2, 0.5])
def test_the_entropy_of_a_mixture_is_what_its_only_choice_costs(long):
    """What follows the bits is ``:`` or ``=``; all else follows from what stands before it."""
    texts = [drawn("parity", seed, bits=4, long=long).text for seed in range(4000)]
    share = np.mean([":" in text for text in texts])
    assert share == pytest.approx(long, abs=0.03)
    exact = -sum(p * math.log(p) for p in (long, 1 - long) if p)
    assert drawn("parity", 0, bits=4, long=long).entropy == pytest.approx(exact)
    follows: dict[str, set[str]] = {}
    for text in texts:
        for place in range(4, len(text)):
            follows.setdefault(text[:place], set()).add(text[place])
    assert {prefix for prefix, signs in follows.items() if len(signs) > 1} <= {f"{n:04b}" for n in range(16)}


@given(seeds, st.integers(1, 6), st.integers(0, 10))
def test_of_two_ends_the_start_reaches_the_answer_alone(seed, distance, more):
    text = drawn("reach", seed, nodes=min(26, 2 * distance + 2 + more), distance=distance).text
    edges, question = text.split(";")
    start, ends, answer = question[0], question[2:4], question[-1]
    reached, steps = {start}, 0
    while answer not in reached:
        reached |= {edge[1] for edge in edges.split(",") if edge[0] in reached}
        steps += 1
        assert steps <= distance
    assert steps == distance
    for _ in range(26):
        reached |= {edge[1] for edge in edges.split(",") if edge[0] in reached}
    assert set(ends) & reached == {answer}


@given(seeds, st.integers(1, 3), st.integers(2, 4))
def test_hops_end_where_a_reader_with_a_finger_ends(seed, hops, letters):
    text, answer = drawn("hops", seed, length=24, letters=letters, hops=hops).text.split("=")
    finger = len(text) - 1
    for _ in range(hops):
        back = finger - 1
        while text[back] != text[finger]:
            back -= 1
        assert back >= 0
        finger = back + 1
    assert text[finger] == answer


@given(seeds, st.integers(1, 20), st.integers(2, 10))
def test_squaring_is_arithmetic_on_the_text(seed, steps, modulus):
    text, answer = drawn("squaring", seed, steps=steps, modulus=modulus).text.split("=")
    state, rest = int(text[0]), text[1:]
    while rest:
        sign, rest = rest[0], rest[1:]
        if sign == "^":
            state = state**2
        else:
            number, rest = int(rest[0]), rest[1:]
            state = state + number if sign == "+" else state * number
        state %= modulus
    assert state == int(answer)


@pytest.mark.parametrize("task", ["chain", "parity", "reach", "hops", "squaring"])
def test_made_documents_are_single_ascii_signs_open_where_they_are_asked_to_be(task):
    for seed, where in itertools.product(range(20), ["hard", "every", "never"]):
        document = drawn(task, seed, where=where)
        assert all(len(piece.text) == 1 and piece.text.isascii() for piece in document.pieces)
        answer = document.pieces[-1]
        assert (answer.hard, answer.scored, answer.state is not None) == (True, True, True)
        assert answer.worked[-1] == answer.state
        opened = [piece.text for piece in document.pieces if piece.open != "never"]
        assert opened == {"hard": [answer.text], "every": ["=", answer.text], "never": []}[where]
        assert document == drawn(task, seed, where=where)
        assert len(encode(document, BYTES)) == len(document.text)


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_uniform_so_that_guessing_costs_the_whole_logarithm(name):
    size = group(name).size
    counts = Counter(drawn("chain", seed, group=name, length=3).text[-1] for seed in range(300 * size))
    chi = sum((count - 300) ** 2 / 300 for count in counts.values())
    assert len(counts) == size
    assert chi < 4 * size + 10


# ---------------------------------------------------------------------- found documents


@given(seeds, st.integers(1, 2000))
@settings(max_examples=30)
def test_a_window_of_text_is_a_piece_of_the_corpus(seed, length):
    whole = "\n".join(read_corpus("", "text"))
    document = drawn("text", seed, length=length)
    assert document.text in whole
    assert len(document.text) == length
    assert document.pieces[0].open == "every"


def test_tables_are_read_by_their_column_of_texts(tmp_path):
    path = tmp_path / "set.csv"
    path.write_text('id,text\n1,"One, and ""two"".\nThree."\n2,Four\u2028five.\n', encoding="utf-8")
    assert read_corpus(str(path), "text") == ('One, and "two". Three.', "Four five.")
    path = tmp_path / "set.tsv"
    path.write_text("text\tid\nOne, two.\t1\n")
    assert read_corpus(str(path), "text") == ("One, two.",)
    path = tmp_path / "set.jsonl"
    path.write_text('{"text": "One\u2028two."}\n', encoding="utf-8")
    assert read_corpus(str(path), "text") == ("One two.",)
    for name, content, told in (
        ("a.csv", "id,body\n1,x\n", "line 1: the table has no column 'text'"),
        ("b.csv", 'text\n"open\n', "mend the table"),
        ("c.csv", "id,text\n1\n", "line 2: no text in column 'text'"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(CorpusError, match=told):
            read_corpus(str(tmp_path / name), "text")


def test_the_shipped_corpora_are_plain_and_long_enough():
    paragraphs, games = read_corpus("", "text"), read_corpus("", "moves")
    assert len(paragraphs) > 20
    assert sum(map(len, paragraphs)) > 10_000
    assert all(part.isascii() for part in (*paragraphs, *games))


def test_the_shipped_games_are_legal_chess():
    chess = pytest.importorskip("chess")
    for game in read_corpus("", "moves"):
        board = chess.Board()
        for word in game.split()[:-1]:
            if not word.endswith("."):
                board.push_san(word)
        assert game.split()[-1] in ("1-0", "0-1")
        assert board.fullmove_number >= 2


def test_before_every_move_number_and_result_one_may_think_and_never_inside():
    document = drawn("moves", 1, length=10_000)
    assert {piece.open for piece in document.pieces} == {"first"}
    assert [piece.text.strip() for piece in document.pieces] == document.text.split()
    assert document.text in read_corpus("", "moves")


@pytest.mark.parametrize("length", [1, 12, 40, 128, 256])
def test_a_game_is_cut_behind_a_move(length):
    for seed in range(20):
        document = drawn("moves", seed, length=length)
        whole = next(game for game in read_corpus("", "moves") if game.startswith(document.text))
        plies = [piece.text.strip() for piece in document.pieces]
        assert plies == whole.split()[: len(plies)]
        assert not plies[-1].endswith(".")
        assert len(document.text) <= max(length, 9)


@pytest.mark.parametrize("where", ["hard", "first", "every", "never"])
@pytest.mark.parametrize("task", ["chain", "parity", "reach", "hops", "squaring", "text", "moves"])
def test_where_one_may_think_does_not_tell_what_comes(task, where):
    """Documents that agree so far are open alike at the next token, whatever it is."""
    options = {"parity": {"bits": 3, "long": 0.5}, "chain": {"length": 2, "show": "prefix"}, "text": {"length": 9}}
    seen: dict[bytes, bool] = {}
    for seed in range(400):
        try:
            document = drawn(task, seed, where=where, **options.get(task, {}))
        except OptionError:  # not every kind of document has every kind of place
            assert where in ("hard", "first")
            return
        encoded = encode(document, vocabulary("bytes"))
        for place in range(len(encoded)):
            prefix = encoded.ids[:place].tobytes()
            assert seen.setdefault(prefix, bool(encoded.open[place])) == bool(encoded.open[place]), document.text


def test_in_a_users_moves_neither_does_it_where_only_some_have_a_space_behind_their_number(tmp_path):
    path = tmp_path / "mixed.txt"
    path.write_text("1.e4 e5 2.Nf3\n1. e4 e5 2. Nf3 Nc6 1-0\n")
    texts = {drawn("moves", seed, file=str(path)).text for seed in range(20)}
    assert {text.split("2.")[0] for text in texts} == {"1. e4 e5 "}
    seen: dict[bytes, bool] = {}
    for seed in range(20):
        encoded = encode(drawn("moves", seed, file=str(path)), vocabulary("bytes"))
        for place in range(len(encoded)):
            prefix = encoded.ids[:place].tobytes()
            assert seen.setdefault(prefix, bool(encoded.open[place])) == bool(encoded.open[place])


PGN = """[Event "one"]
[Result "1-0"]

1. e4 e5 2. Qh5 {a comment}
Ke7 3. Qxe5# 1-0

[Event "two"]

1. d4 d5 *
"""


def test_a_pgn_file_is_read_as_games_and_results_are_no_moves(tmp_path):
    pytest.importorskip("chess")
    path = tmp_path / "games.pgn"
    path.write_text(PGN)
    assert read_corpus(str(path), "moves") == ("1. e4 e5 2. Qh5 Ke7 3. Qxe5# 1-0", "1. d4 d5 *")
    lines = tmp_path / "lines.txt"
    lines.write_text("# two games\n1. e4 e5 2. Nf3 1/2-1/2\n1. d4 d5 0-1\n")
    document = drawn("moves", 1, file=str(lines))
    hard = [piece.text.strip() for piece in document.pieces if piece.hard]
    assert hard in (["e4", "e5", "Nf3"], ["d4", "d5"])
    assert [piece.text for piece in document.pieces][-1] in ("1/2-1/2", "0-1")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("1. e4 e5\nThis is not chess at all\n", "line 2: 'This' is no move; give PGN"),
        (PGN.replace("Ke7", "Ke6"), "line 5: .*Ke6"),
        (PGN.replace('"two"]', '"two'), "has no end"),
    ],
)
def test_moves_that_are_none_are_named(tmp_path, content, told):
    pytest.importorskip("chess")
    path = tmp_path / "games.pgn"
    path.write_text(content)
    with pytest.raises(CorpusError, match=told):
        read_corpus(str(path), "moves")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "holds nothing to read"),
        (b"# remark\n\n", "holds nothing"),
        (b"\xff\xfe", "not UTF-8"),
        (b"a\0b", "not UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_is_no_corpus_is_one_sentence(tmp_path, content, told):
    path = tmp_path / "corpus.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CorpusError, match=told) as caught:
        read_corpus(str(path), "text")
    assert "\n" not in str(caught.value)
    with pytest.raises(CorpusError, match=r"is no file|cannot be read"):
        read_corpus(str(tmp_path), "text")


def test_a_users_own_text_is_read_and_may_be_too_short(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("One day.\n\nAnother day.\n")
    assert drawn("text", 3, length=8, file=str(path)).text in "One day.\nAnother day."
    with pytest.raises(CorpusError, match="has 21 characters, a document 100; lower length"):
        drawn("text", 0, length=100, file=str(path))


def test_a_data_set_with_a_text_a_line_is_read_and_what_is_none_is_refused(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text('{"text": "One day."}\n\n{"text": "Another\\nday.", "id": 3}\n', encoding="utf-8-sig")
    assert read_corpus(str(path), "text") == ("One day.", "Another day.")
    bad = ('{"words": "x"}', "[1]", "One day.", '{"text": "\\u0001"}', '{"text": "half \\ud800"}')
    for number, line in enumerate(bad):
        path = tmp_path / f"{number}.jsonl"
        path.write_text(line)
        with pytest.raises(CorpusError, match="line 1"):
            read_corpus(str(path), "text")


@pytest.mark.parametrize(
    ("kind", "whole", "told"),
    [
        ("text", "\x01\x02\x03", "is not UTF-8 text"),
        ("moves", '{"text": "1. e4 e5"}', "have no comments"),
        ("moves", "1. e4 {best by test} e5", "have no comments"),
        ("moves", '[Event "none"]\n\n*\n', "nothing to read"),
    ],
)
def test_what_is_no_corpus_is_refused(kind, whole, told, tmp_path):
    path = tmp_path / "own.txt"
    path.write_text(whole)
    with pytest.raises(CorpusError, match=told):
        read_corpus(str(path), kind)


def test_a_device_is_no_corpus():
    with pytest.raises(CorpusError, match="/dev/zero is no file"):
        read_corpus("/dev/zero", "text")


# ---------------------------------------------------------------------- options and tokens


@pytest.mark.parametrize(
    ("task", "options", "error", "told"),
    [
        ("chian", {}, UnknownName, "Did you mean 'chain'"),
        ("chain", {"group": "s4"}, OptionError, "expected one of z2, z7, s3, s5"),
        ("chain", {"length": 0}, OptionError, "length is 0, expected 1 to 64"),
        ("parity", {"long": 1.5}, OptionError, "long is 1.5"),
        ("reach", {"nodes": 6, "distance": 3}, OptionError, "use at least 8"),
        ("hops", {"length": 5}, OptionError, "short for 2 hops"),
        ("squaring", {"modulus": 11}, OptionError, "modulus is 11"),
        ("text", {"lenght": 4}, UnknownName, "Did you mean 'length'"),
    ],
)
def test_options_that_make_no_sense_are_named(task, options, error, told):
    with pytest.raises(error, match=told):
        drawn(task, 0, **options)


def test_every_task_has_a_test_here():
    assert {"chain", "parity", "reach", "hops", "squaring", "text", "moves"} == set(tasks())


def test_tokens_of_a_piece_share_what_is_known_of_it():
    pieces = (Piece("éa", open="first", hard=True, state=5), Piece("b", scored=False), Piece("cd", open="every"))
    encoded = encode(Document(pieces, "by hand"), BYTES)
    assert encoded.ids.tolist() == list("éabcd".encode())
    assert encoded.open.tolist() == [True, False, False, False, True, True]
    assert encoded.hard.tolist() == [True, True, True, False, False, False]
    assert encoded.scored.tolist() == [True, True, True, False, True, True]
    assert encoded.state.tolist() == [5, -1, -1, -1, -1, -1]
    with pytest.raises(ValueError, match="at least one character"):
        Piece("")
    with pytest.raises(UnknownName, match="unknown vocabulary"):
        vocabulary("nobody")


def test_the_parts_of_a_corpus_share_nothing_and_documents_may_begin_with_any_word():
    first, rest = (
        {drawn("text", seed, length=40, part=part, begin="word").text for seed in range(200)}
        for part in ("first", "rest")
    )
    assert not first & rest
    assert min(len(first), len(rest)) > 50
    whole = "\n".join(read_corpus("", "text"))
    starts = {whole.index(text) for text in first}
    assert all(at == 0 or whole[at - 1].isspace() for at in sorted(starts)[:-1])  # the last may be moved to be filled
    border = min(whole.index(text) for text in rest)
    assert all(whole.index(text) + 40 <= border for text in first)


@dataclass(frozen=True)
class RiddleOptions:
    """How many a's."""

    length: int = 3


RIDDLES = Task(RiddleOptions, lambda options, dice: Document((Piece("a" * options.length),), "riddle"))


def test_a_corpus_of_ones_own_is_read_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        name = "riddles"

        @staticmethod
        def load() -> Task:
            return RIDDLES

    def points(group: str, name: str = "riddles") -> list[type[Point]]:
        return [Point] if (group, name) == ("palaestra.documents", "riddles") else []

    monkeypatch.setattr(plugins, "entry_points", points)
    monkeypatch.setattr(documents._tasks, "_found", dict(documents._tasks._found))
    assert "riddles" in tasks()
    assert document_of("riddles", Dice(0), length=5).text == "aaaaa"
    game = make("next_token", task="riddles", settings="length=2")
    assert game.document.text == "aa"
    with pytest.raises(UnknownName, match="Did you mean 'length'"):
        document_of("riddles", Dice(0), lenght=5)
    with pytest.raises(ValueError, match="registered already"):
        register_task("riddles", Task(RiddleOptions, RIDDLES.draw))
