"""Model sources, the cache, adapters by version, and what the user is told when a model cannot be had."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from palaestra.agents.models import adapters, cache, packaged, sources
from palaestra.agents.models.cache import ModelError, build_once, model_dir
from palaestra.agents.models.fingerprint import fingerprint
from palaestra.agents.models.packaged import SMOLLM2
from palaestra.agents.models.sources import ModelSource
from palaestra.envs.errors import PalaestraError, UnknownName


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PALAESTRA_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tiny:blank for the module; tests that need it in their own cache link it there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PALAESTRA_CACHE", str(tmp_path_factory.mktemp("shared")))
        return sources.fetch("tiny:blank", lambda line: None)


def link_blank(blank: Path) -> None:
    target = model_dir(blank.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(blank)


def make_adapter(folder: Path, *, width: int = 128, layer: str = "model.layers.0.self_attn.q_proj") -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    name = f"base_model.model.{layer}"
    matrices = {f"{name}.lora_A.weight": torch.zeros(4, width), f"{name}.lora_B.weight": torch.zeros(128, 4)}
    save_file(matrices, folder / "adapter_model.safetensors")
    return folder


# ---------------------------------------------------------------- sources


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("smollm2", ModelSource("packaged", "smollm2")),
        ("tiny:kuhn", ModelSource("tiny", "kuhn")),
        ("tiny:kuhn@kuhn@17", ModelSource("tiny", "kuhn", "kuhn@17")),
        ("smollm2@runs/x", ModelSource("packaged", "smollm2", "runs/x")),
        ("org/name@runs/x", ModelSource("hub", "org/name", "runs/x")),
    ],
)
def test_a_source_reads_and_writes_the_same(text: str, parsed: ModelSource) -> None:
    assert ModelSource.parse(text) == parsed
    assert str(parsed) == text


def test_a_folder_is_a_source_even_with_an_at_sign_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "me@home"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    assert ModelSource.parse(str(folder)) == ModelSource("folder", str(folder))
    assert ModelSource.parse("./me@home").kind == "folder"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("smolm2", "Did you mean 'smollm2'"),
        ("tiny:khun", "Did you mean 'kuhn'"),
        ("smollm2@", "an adapter folder or version must follow"),
        ("runs/x", "palaestra models list"),
        ("", "palaestra models list"),
    ],
)
def test_an_unknown_source_names_the_nearest_or_the_cure(text: str, told: str) -> None:
    with pytest.raises(PalaestraError, match=told):
        ModelSource.parse(text)


def test_parsing_and_listing_touch_no_network_and_import_no_torch() -> None:
    code = (
        "import sys, socket\n"
        "def refuse(*args): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "from palaestra.agents.models import sources\n"
        "names = [one.name for one in sources.list_models()]\n"
        "sources.ModelSource.parse('org/name@runs/x')\n"
        "assert 'smollm2' in names and 'tiny:kuhn' in names, names\n"
        "assert not {'torch', 'transformers', 'ray'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_hub_is_asked_only_for_hub_ids_and_its_absence_is_one_sentence() -> None:
    with pytest.raises(ModelError, match=r"^hub model nobody/nothing cannot be had: .*smollm2") as caught:
        ModelSource.parse("nobody/nothing").fetch()  # the test session is offline
    assert "\n" not in str(caught.value)


def test_a_model_that_is_not_here_says_how_to_get_it() -> None:
    with pytest.raises(ModelError, match="palaestra models fetch smollm2"):
        sources.path("smollm2")


def test_loading_gives_model_codec_and_fingerprint(blank: Path) -> None:
    link_blank(blank)
    loaded = ModelSource.parse("tiny:blank").load("bfloat16")
    assert loaded.model.dtype is torch.bfloat16
    assert not loaded.model.training
    assert loaded.model.config.vocab_size == loaded.codec.vocab_size
    assert loaded.fingerprint == fingerprint(blank)
    assert loaded.adapter is None


def test_a_folder_that_is_no_model_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"not a model folder"):
        ModelSource.parse("./empty").load()


@pytest.mark.parametrize(
    ("weights", "told"),
    [(b"\x08\0\0\0\0\0\0\0{}      ", "weights are missing"), (b"\x08\0\0", "cannot be loaded from")],
)
def test_a_folder_with_damaged_weights_is_refused(blank: Path, tmp_path: Path, weights: bytes, told: str) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in blank.iterdir():
        copy.joinpath(file.name).write_bytes(file.read_bytes())
    copy.joinpath("model.safetensors").write_bytes(weights)
    with pytest.raises(ModelError, match=told):
        ModelSource.parse("./copy").load()


# ---------------------------------------------------------------- fingerprints


def test_the_fingerprint_names_weights_and_architecture_but_not_where_they_lie(blank: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("config.json", "model.safetensors"):
        copy.joinpath(name).write_bytes(blank.joinpath(name).read_bytes())
    first = fingerprint(copy)
    assert first == fingerprint(blank)

    config = json.loads(copy.joinpath("config.json").read_text())
    copy.joinpath("config.json").write_text(json.dumps(config | {"transformers_version": "9", "dtype": "bfloat16"}))
    assert fingerprint(copy) == first
    copy.joinpath("config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-3}))
    assert fingerprint(copy) != first

    copy.joinpath("config.json").write_text(json.dumps(config))
    data = bytearray(copy.joinpath("model.safetensors").read_bytes())
    data[-1] ^= 1
    copy.joinpath("model.safetensors").write_bytes(data)
    assert fingerprint(copy) != first


# ---------------------------------------------------------------- adapters


def test_every_way_to_write_an_adapter_finds_it(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "x"
    final = make_adapter(run / "adapter")
    third = make_adapter(run / "adapters" / "kuhn@3")
    tenth = make_adapter(run / "adapters" / "kuhn@10")
    assert adapters.versions(run) == ["kuhn@3", "kuhn@10"]
    for text, folder in {
        str(run): final,
        str(third): third,
        f"{run}/kuhn@10": tenth,
        f"{run}/adapters/kuhn@10": tenth,
        f"{run}@3": third,
        "kuhn@3": third,
    }.items():
        assert adapters.resolve(text).resolve() == folder, text
    assert adapters.resolve("kuhn@10", run=run) == tenth


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kuhn@4", "Did you mean 'kuhn@3'"),
        ("runs/x/kuhm@3", "Did you mean 'runs/x/kuhn@3'"),
        ("runs/x@7", "has kuhn@3"),
        ("runs/y", "Did you mean 'runs/x'"),
        ("runs/x", "name a version, such as runs/x/kuhn@3"),
        ("elsewhere", "Give a PEFT folder"),
    ],
)
def test_an_adapter_that_is_not_there_names_the_nearest(tmp_path: Path, text: str, told: str) -> None:
    make_adapter(tmp_path / "runs" / "x" / "adapters" / "kuhn@3")
    with pytest.raises(PalaestraError, match=told):
        adapters.resolve(text)


def test_a_version_that_several_runs_have_is_not_guessed(tmp_path: Path) -> None:
    for run in ("x", "y"):
        make_adapter(tmp_path / "runs" / run / "adapters" / "kuhn@3")
    make_adapter(tmp_path / "runs" / "z" / "adapters" / "kuhn@4")
    with pytest.raises(ModelError, match=r"is in 2 runs \(runs/x, runs/y\)"):
        adapters.resolve("kuhn@3")


def test_an_adapter_for_another_base_is_refused_by_its_stamp(blank: Path, tmp_path: Path) -> None:
    link_blank(blank)
    folder = make_adapter(tmp_path / "adapter")
    adapters.stamp(folder, fingerprint(blank), iteration=3)
    assert ModelSource.parse(f"tiny:blank@{folder}").load().adapter == folder
    adapters.stamp(folder, "0" * 16)
    with pytest.raises(adapters.WrongBase, match=r"trained on another base \(fingerprint 0000000000000000\)"):
        ModelSource.parse(f"tiny:blank@{folder}").load()


@pytest.mark.parametrize("wrong", [{"width": 576}, {"layer": "model.layers.29.self_attn.q_proj"}])
def test_an_adapter_without_a_stamp_is_refused_by_its_shapes(
    blank: Path, tmp_path: Path, wrong: dict[str, str]
) -> None:
    adapters.check(make_adapter(tmp_path / "fits"), blank, "f", "tiny:blank")
    with pytest.raises(adapters.WrongBase, match="does not fit tiny:blank"):
        adapters.check(make_adapter(tmp_path / "wrong", **wrong), blank, "f", "tiny:blank")  # type: ignore[arg-type]


# ---------------------------------------------------------------- the cache


def write_a_byte(folder: Path) -> None:
    (folder / "model").write_bytes(b"x")


def test_a_build_that_fails_leaves_nothing_and_the_next_one_works() -> None:
    def fail(folder: Path) -> None:
        write_a_byte(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_once("m", fail, 1, print)
    assert [path.name for path in model_dir("m").parent.iterdir()] == ["m.lock"]
    assert build_once("m", write_a_byte, 1, print) == model_dir("m")


def test_what_a_killed_build_left_is_removed() -> None:
    left = model_dir(".m.killed")
    left.mkdir(parents=True)
    build_once("m", write_a_byte, 1, print)
    assert not left.exists()


def test_several_callers_at_once_build_once() -> None:
    built: list[Path] = []
    inside = threading.Event()

    def build(folder: Path) -> None:
        built.append(folder)
        inside.wait(5)
        write_a_byte(folder)

    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        inside.set()  # the second caller is waiting: let the first one finish

    threads = [threading.Thread(target=build_once, args=("m", build, 1, say)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1
    assert said == ["m: another process is preparing it; waiting"]


def test_a_full_disk_is_said_before_and_while_building(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="MB are needed"):
        build_once("m", write_a_byte, 1 << 62, print)

    def fill(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ModelError, match="the disk became full; free some space or set PALAESTRA_CACHE"):
        build_once("m", fill, 1, print)
    assert not model_dir("m").exists()


def test_a_cache_that_cannot_be_written_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PALAESTRA_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="set PALAESTRA_CACHE"):
        build_once("m", write_a_byte, 1, print)


# ---------------------------------------------------------------- packaged models without their download


def wheel_with(path: Path, content: bytes, name: str = packaged.SMOLLM2.members[0][1]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, content)
    return path


def test_a_wheel_with_another_file_is_refused_and_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: type("Disk", (), {"free": 1 << 40}))
    with pytest.raises(ModelError, match="3 bytes instead of 98362432"):
        packaged.fetch(SMOLLM2, print, [wheel_with(tmp_path / "a.whl", b"abc")])
    with pytest.raises(ModelError, match="does not hold the expected model file"):
        packaged.fetch(SMOLLM2, print, [wheel_with(tmp_path / "b.whl", b"abc", "other")])
    small = dataclasses.replace(SMOLLM2, gguf_bytes=3)
    with pytest.raises(ModelError, match="SHA-256 ba7816bf8f01… instead of b179c9523d0e…"):
        packaged.fetch(small, print, [wheel_with(tmp_path / "c.whl", b"abc")])
    assert not SMOLLM2.folder.exists()


def test_a_file_in_parts_is_put_together_in_order_and_checked_as_a_whole(tmp_path: Path) -> None:
    parts = [b"first ", b"second ", b"third ", b"fourth"]
    members = [member for _, member in packaged.GEMMA3.members]
    wheels = [wheel_with(tmp_path / f"{n}.whl", parts[n], member) for n, member in enumerate(members)]
    whole = b"".join(parts)
    model = dataclasses.replace(packaged.GEMMA3, gguf_bytes=len(whole), gguf_sha256=hashlib.sha256(whole).hexdigest())
    assert packaged.extract(model, wheels, tmp_path).read_bytes() == whole
    with pytest.raises(ModelError, match=r"3\.whl does not hold the expected model file \(There is no item named"):
        packaged.extract(model, wheels[::-1], tmp_path)


def test_terms_must_be_accepted_by_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged, "_download", lambda *given: pytest.fail("nothing is fetched without consent"))
    with pytest.raises(ModelError, match=r"terms of use \(https://ai\.google\.dev/gemma/terms\); .*--accept-terms"):
        ModelSource.parse("gemma3").fetch(print)


def test_no_network_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(ModelError, match=r"^smollm2 could not be downloaded \(.*\); check the network") as caught:
        packaged.fetch(SMOLLM2, lambda line: None)
    assert "\n" not in str(caught.value)


def test_no_pip_names_ensurepip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="-m ensurepip"):
        packaged.fetch(SMOLLM2, lambda line: None)


def test_unknown_names_are_lookup_errors() -> None:
    with pytest.raises(LookupError):
        ModelSource.parse("smolm2")
    assert issubclass(UnknownName, PalaestraError)
