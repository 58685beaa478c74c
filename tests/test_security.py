"""Nobody is let in: no code comes out of a file, no byte goes beyond loopback, no secret leaks."""

import ast
import os
import pickle
import re
import socket
import subprocess
import sys
import tomllib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

from tests import guard
from tests.forked import forked
from tests.test_layout import PACKAGES, ROOT, TREES, imports

# --- what the sources never call

FORBIDDEN_MODULES = set(
    "pickle _pickle cPickle dill cloudpickle joblib jsonpickle marshal shelve copyreg tarfile "
    "runpy code codeop".split()
)
FORBIDDEN_NAMES = set(
    "torch.load torch.jit.load torch.hub.load torch.package numpy.load yaml.load yaml.unsafe_load "
    "yaml.full_load os.system os.popen subprocess.getoutput subprocess.getstatusoutput "
    "shutil.unpack_archive builtins.eval builtins.exec".split()
)
RUNS_TEXT = ("eval", "exec", "compile", "__import__")


def forbidden(tree: ast.AST) -> Iterator[str]:
    """What could run code that came in a file or a flag."""
    for name in imports(tree):
        if name.split(".")[0] in FORBIDDEN_MODULES or name in FORBIDDEN_NAMES:
            yield name
    true_names = {
        alias.asname: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.asname
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            text = f"{true_names.get(first, first)}.{rest}"
            if node.attr == "extractall" or text in FORBIDDEN_NAMES:
                yield text
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in RUNS_TEXT:
                yield ast.unparse(node)
            for keyword in node.keywords:
                if keyword.arg in ("allow_pickle", "trust_remote_code") or (
                    keyword.arg == "shell" and ast.unparse(keyword.value) != "False"
                ):
                    yield ast.unparse(node)


@pytest.mark.parametrize(
    "source",
    [
        *(f"import {module}" for module in sorted(FORBIDDEN_MODULES)),
        *(f"{name}(x)" for name in sorted(FORBIDDEN_NAMES)),
        *(f"{name}(text)" for name in RUNS_TEXT),
        "def late():\n    from pickle import loads",
        "x = torch.load(path, weights_only=True)",
        "import torch as t\nt.load(path)",
        "from torch import load",
        "import numpy as np\nnp.load(path)",
        "from yaml import load",
        "f(path, allow_pickle=True)",
        "subprocess.run(text, shell=True)",
        "archive.extractall(folder)",
    ],
)
def test_the_search_for_dangerous_calls_finds_each(source: str) -> None:
    assert list(forbidden(ast.parse(source)))


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_opens_pickles_or_archives_or_runs_text(package: str) -> None:
    found = {
        module: list(forbidden(tree))
        for module, tree in TREES.items()
        if module.split(".")[0] == package
    }
    assert {module: what for module, what in found.items() if what} == {}


def test_no_input_is_checked_by_an_assert_which_python_o_leaves_out() -> None:
    asserts = {
        module: sum(isinstance(node, ast.Assert) for node in ast.walk(tree))
        for module, tree in TREES.items()
    }
    assert {module: count for module, count in asserts.items() if count} == {
        "data.blocks": 1,  # one length and epoch in an update: BlockPlan made it so
        "data.token_file": 2,  # what was just written is there; a worker has its tokenizer
        "eval.class_curves": 2,  # the micro curve exists: a text is of one class only
        "minibert.weights": 1,  # every parameter was loaded or is new: from the lists just checked
        "train.optim": 2,  # the two groups of parameters are a partition
    }


def test_every_file_is_opened_with_its_encoding_named() -> None:
    """The locale's own would be another one on another machine."""
    unnamed = [
        f"{module}: {ast.unparse(node)}"
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and re.search(r"\b(open|fdopen|read_text|write_text)$", ast.unparse(node.func))
        and not re.search(r"encoding|['\"][rwxa]\+?b|urlopen|os\.open|devnull", ast.unparse(node))
    ]
    assert unnamed == []


# --- the guard of the whole suite sees what it is there for


def packaged(source: str) -> Callable[[], None]:
    """Code that seems to stand in a file of ours."""
    code = compile(source, str(ROOT / "data" / "imagined.py"), "exec")
    return lambda: exec(code, {"pickle": pickle, "content": pickle.dumps(OrderedDict(a=1))})


def in_a_child(act: Callable[[], None]) -> None:
    child = os.fork()
    if child == 0:
        try:
            act()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


@pytest.mark.parametrize("where", ["here", "in a forked child"])
def test_a_pickle_opened_below_our_code_is_seen(where: str) -> None:
    opened = packaged("pickle.loads(content)")
    with guard.caught() as found:
        opened() if where == "here" else in_a_child(opened)
    assert len(found) == 1
    assert "data/imagined.py: ('collections', 'OrderedDict')" in found[0]


def test_a_pickle_that_a_library_or_a_test_opens_is_not_ours() -> None:
    with guard.caught() as found:
        pickle.loads(pickle.dumps(OrderedDict(a=1)))
    assert found == []


def connect_outside() -> None:
    with socket.socket() as outside:
        outside.settimeout(0.1)
        outside.connect(("192.0.2.1", 80))  # TEST-NET-1: nobody's


def ask_for_a_name() -> None:
    socket.getaddrinfo("huggingface.co", 443)


def send_outside() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
        outside.sendto(b"x", ("192.0.2.1", 53))


@pytest.mark.parametrize(
    ("act", "host"),
    [
        (connect_outside, "192.0.2.1"),
        (ask_for_a_name, "huggingface.co"),
        (send_outside, "192.0.2.1"),
    ],
)
def test_a_connection_beyond_loopback_is_refused_and_seen(
    act: Callable[[], None], host: str
) -> None:
    with guard.caught() as found:
        with pytest.raises(PermissionError, match=f"tests reach loopback only, not {host}"):
            act()
        in_a_child(act)
    assert len(found) == 2 and all(line.endswith(f" to {host}") for line in found)


def test_a_command_that_leaves_loopback_is_seen_though_it_explains_the_refusal() -> None:
    with guard.caught() as found:
        settings = {"MINIBERT_SQUAD_URL": "http://192.0.2.1/", "MINIBERT_CACHE": "/proc/none"}
        forked("data.download", "dev-v2.0.json", environment=settings)
        settings["MINIBERT_CACHE"] = "/tmp"
        done = forked("data.download", "train-v1.1.json", environment=settings)
    assert done[0] == 2 and "tests reach loopback only" in done[2]
    assert found == ["socket.getaddrinfo to 192.0.2.1"]


def test_a_python_process_that_could_reach_the_network_is_seen() -> None:
    with guard.caught() as found:
        for environment in ({}, {"HF_HUB_OFFLINE": "1"}, {**guard.OFFLINE, "HF_HUB_OFFLINE": "0"}):
            subprocess.run([sys.executable, "-c", ""], env=environment, check=True)
        for good in (None, guard.OFFLINE):
            subprocess.run([sys.executable, "-c", ""], env=good, check=True)
    assert len(found) == 3 and all("could reach the network" in line for line in found)


SESSION = """
import socket
from tests.conftest import pytest_configure, pytest_sessionfinish, pytest_testnodedown

def test_a_refusal_that_is_caught():
    try:
        socket.getaddrinfo("example.org", 80)
    except OSError:
        pass
"""


@pytest.mark.parametrize("processes", [[], ["-n", "1"]], ids=["one process", "a worker"])
def test_the_session_fails_for_what_the_guard_saw_though_every_test_passed(
    processes: list[str], tmp_path: Path
) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import *\n")
    (tmp_path / "test_it.py").write_text(SESSION)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *processes, str(tmp_path)],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert "1 passed" in done.stdout and done.returncode == 1
    assert "ERROR: socket.getaddrinfo to example.org" in done.stdout


# --- the supply chain


def plain(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_package_is_pinned_with_all_it_brings() -> None:
    pins = {
        plain(name): version
        for name, _, version in (
            line.partition("==")
            for line in (ROOT / "constraints.txt").read_text().splitlines()
            if line and not line.startswith("#")
        )
    }
    assert all(re.fullmatch(r"\d+(\.\d+)+", version) for version in pins.values()), pins
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    todo = list(project["dependencies"])
    for extra in project["optional-dependencies"].values():
        todo += extra
    seen = {"setuptools"}  # comes with the virtual environment
    while todo:
        asked, _, marker = todo.pop().partition(";")
        name = plain(re.split(r"[<>=!~\[( ]", asked)[0])
        # A GPU's own packages and those of other systems are not here to be looked at.
        if name in seen or "extra ==" in marker or (seen_by(name) is None and name not in pins):
            continue
        seen.add(name)
        assert name in pins, f"{name} is not in constraints.txt"
        todo += seen_by(name) or []
    assert {"torch", "jinja2", "httpcore2", "datasets"} <= seen


def seen_by(name: str) -> list[str] | None:
    """What an installed package asks for; None for one that is not installed."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    # setuptools shows what it carries inside itself, once something has imported it
    return None if "_vendor" in str(found.locate_file("")) else found.requires or []


def test_torch_is_at_least_2_10_which_closes_a_known_hole() -> None:
    """CVE-2026-24747: a file that torch.load opens could run code in torch before 2.10."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [name for name in project["dependencies"] if name.startswith("torch")] == ["torch>=2.10"]
