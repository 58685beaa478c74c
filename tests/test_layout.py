"""The plan of the house holds: who imports whom, and what an import does."""

import ast
import importlib
import json
import os
import re
import resource
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import minibert

ROOT = Path(__file__).parents[1]
PACKAGES = ("minibert", "data", "train", "eval")
COMMANDS = (
    "train.squad",
    "train.pretrain",
    "train.classify",
    "train.matrix",
    "eval.squad",
    "eval.predict",
    "eval.classify",
    "eval.answer",
    "eval.explain",
    "eval.fill",
    "eval.ablate",
    "eval.compare",
    "data.windows",
    "data.vocabulary",
    "data.download",
    "data.convert",
)

# package -> what its modules may import of ours, a package or a single module
MAY_IMPORT = {
    "minibert": ("minibert",),
    # hub, config: data.windows has --model, too, and its positions bound the windows; strict_json,
    # files, locks: one rule for reading JSON, for writing anything and for who may; none leads to
    # a model
    "data": (
        "data",
        "minibert.packing",
        "minibert.hub",
        "minibert.config",
        "minibert.strict_json",
        "minibert.files",
        "minibert.locks",
        "minibert.transfer",
    ),
    "eval": ("eval", "data", "minibert"),
    "train": PACKAGES,
}
THIRD_PARTY = {
    "minibert": {"torch", "safetensors", "huggingface_hub"},
    "data": {"torch", "tokenizers", "numpy", "tqdm", "nltk"},
    "eval": {"torch", "numpy", "tqdm", "nltk"},
    "train": {"torch", "safetensors", "numpy", "tqdm"},
}
# They take arrays and plain values: nothing they import, however late, may lead to a model.
WITHOUT_MODEL = (
    *("eval.spans", "eval.squad"),
    *("eval.classification", "eval.class_curves", "eval.paired", "eval.matrix", "eval.published"),
)
HEAVY = ("torch", "matplotlib", "tokenizers", "safetensors", "huggingface_hub", "nltk")

SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
TREES = {module: ast.parse(path.read_text()) for module, path in SOURCES.items()}


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported, anywhere in a file, but for type checkers only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import: {ast.unparse(node)}"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from imports(node)


def is_command(module: str) -> bool:
    """Whether a module runs with `python -m`."""
    return any(
        isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"
        for node in TREES[module].body
    )


def reached(module: str) -> set[str]:
    """Everything that a module imports, and that its imports of ours import."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        for name in imports(TREES[todo.pop()]):
            if name not in seen:
                seen.add(name)
                if name in TREES:
                    todo.append(name)
    return seen


def test_the_packages_are_the_four_that_pyproject_lists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = project["tool"]["setuptools"]["packages"]
    nested = {path.parent.relative_to(ROOT) for p in PACKAGES for path in (ROOT / p).rglob("*.py")}
    assert sorted(listed) == sorted(str(folder).replace("/", ".") for folder in nested)
    assert {name.split(".")[0] for name in listed} == set(PACKAGES)
    assert project["tool"]["setuptools"]["package-dir"] == {"": "."}
    data = project["tool"]["setuptools"]["package-data"]
    for package in PACKAGES:  # a wheel has every file that is no module, too
        others = {path for path in (ROOT / package).rglob("*.*") if path.is_file()}
        others -= {path for path in others if path.suffix in (".py", ".pyc")}
        packed = {path for way in data.get(package, ()) for path in (ROOT / package).glob(way)}
        assert others <= packed, sorted(others - packed)
    assert "Private :: Do Not Upload" in project["project"]["classifiers"]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_packages_resolve_inside_the_repository(package: str) -> None:
    found = importlib.import_module(package).__file__
    assert found is not None and Path(found) == ROOT / package / "__init__.py"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_the_plan_allows(package: str) -> None:
    for module, tree in TREES.items():
        if module.split(".")[0] != package:
            continue
        third_party = THIRD_PARTY[package] | ({"matplotlib"} if module == "eval.plots" else set())
        for name in imports(tree):
            top = name.split(".")[0]
            if top in PACKAGES:
                allowed = any(
                    name == other or name.startswith(f"{other}.") for other in MAY_IMPORT[package]
                )
            else:
                allowed = top in sys.stdlib_module_names or top in third_party
            assert allowed, f"{module} imports {name}"


@pytest.mark.parametrize("module", [module for module in WITHOUT_MODEL if module in TREES])
def test_scoring_and_decoding_never_lead_to_a_model(module: str) -> None:
    harmless = ("minibert.strict_json", "minibert.files")
    plain = {name for name in reached(module) if not name.startswith(harmless)}
    assert not {name.split(".")[0] for name in plain} & {"torch", "minibert", "train"}


def test_the_reading_of_imports_sees_late_ones_and_skips_those_for_type_checkers() -> None:
    source = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import seldom
def late():
    with nothing:
        import torch.nn as nn
        from eval import plots
"""
    assert set(imports(ast.parse(source))) - {"typing", "typing.TYPE_CHECKING"} == {
        "torch.nn",
        "eval",
        "eval.plots",
    }
    assert "minibert.heads" in reached("train.squad")
    assert is_command("eval.squad") and not is_command("eval.spans")


# Imports the modules named in argv and reports what they did: files, processes and sockets opened
# by our own code (not by Python's import of it), argument parsers run, heavy libraries loaded.
IMPORTER = """
import argparse, importlib, json, os, sys

ROOT, modules, report = sys.argv[1], sys.argv[2].split(","), sys.argv[3]
sys.argv = ["importer", "--no-such-flag"]
done = []

def hook(event, args):
    if event in ("open", "socket.connect", "subprocess.Popen", "os.mkdir", "os.listdir"):
        frame = sys._getframe(1)
        while frame is not None:
            file = frame.f_code.co_filename
            if file.startswith("<frozen importlib"):
                return  # a module is being read, ours or somebody else's
            if file.startswith(ROOT) and os.path.relpath(file, ROOT).split(os.sep)[0] in %r:
                done.append(f"{file}: {event} {args[:1]}")
                return
            frame = frame.f_back

def parse(self, *args, **options):
    done.append(f"argparse ran in {sys._getframe(1).f_code.co_filename}")

argparse.ArgumentParser.parse_known_args = parse
argparse.ArgumentParser.parse_args = parse
sys.addaudithook(hook)
for module in modules:
    importlib.import_module(module)
loaded = sorted({name.split(".")[0] for name in sys.modules} & set(%r))
values = json.dumps({"done": done, "loaded": loaded})
with open(report, "w") as file:
    file.write(values)
""" % (PACKAGES, HEAVY)  # noqa: UP031  braces are part of the script


def report_of_importing(
    modules: list[str], tmp_path: Path, root: Path = ROOT
) -> dict[str, list[str]]:
    """What importing did, in a process of its own that must not print a byte."""
    report = tmp_path / "report.json"
    command = [sys.executable, "-W", "error::UserWarning", "-c", IMPORTER]
    done = subprocess.run(
        [*command, str(root), ",".join(modules), str(report)],
        cwd=root,
        capture_output=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), done.stderr.decode()
    values: dict[str, list[str]] = json.loads(report.read_bytes())
    return values


def test_importing_any_module_prints_parses_and_opens_nothing(tmp_path: Path) -> None:
    report = report_of_importing(sorted(SOURCES), tmp_path)
    assert report["done"] == []
    assert "torch" in report["loaded"]


def test_an_import_that_opens_or_parses_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "__init__.py").touch()
    (tmp_path / "data" / "bad.py").write_text(
        "import argparse, pathlib\n"
        "pathlib.Path(__file__).read_text()\n"
        "argparse.ArgumentParser().parse_args()\n"
    )
    done = report_of_importing(["data.bad"], tmp_path, root=tmp_path)["done"]
    assert len(done) == 2 and "open" in done[0] and "argparse ran" in done[1]


def test_minibert_and_every_command_import_without_torch(tmp_path: Path) -> None:
    commands = [module for module in SOURCES if is_command(module)]
    assert set(COMMANDS) <= {module.removesuffix(".__main__") for module in commands}
    report = report_of_importing(["minibert", *commands], tmp_path)
    assert report["loaded"] == []


@pytest.mark.parametrize(
    "command",
    sorted({*COMMANDS, *(m.removesuffix(".__main__") for m in SOURCES if is_command(m))}),
)
def test_help_answers_in_a_fifth_of_a_second(command: str) -> None:
    wall = processor = float("inf")
    for _ in range(10):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begin = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", command, "--help"], cwd=ROOT, capture_output=True, text=True
        )
        wall = min(wall, time.perf_counter() - begin)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        processor = min(processor, used)
        assert done.returncode == 0 and done.stderr == ""
        assert done.stdout.startswith(f"usage: python -m {command} ")
        if wall < 0.2:
            return
    # With more work than processors, the clock measures the others' work too.
    busy = os.getloadavg()[0] > (os.cpu_count() or 1)
    assert busy and processor < 0.2, f"{wall:.2f} s at best, {processor:.2f} s of processor time"


def test_the_public_names_are_those_documented_and_lead_home() -> None:
    documented = re.findall(r"^    (\w+) {2,}\w", minibert.__doc__ or "", re.MULTILINE)
    assert minibert.__all__ == documented == sorted(minibert._HOMES)
    for name in minibert.__all__:
        value = getattr(minibert, name)
        assert value.__module__ == minibert._HOMES[name] and value.__doc__
    for_type_checkers = {
        alias.name
        for node in ast.walk(TREES["minibert"])
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("minibert.")
        for alias in node.names
    }
    assert for_type_checkers == set(minibert.__all__)


def test_a_name_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'BertTokenizer'; it has"):
        minibert.BertTokenizer  # noqa: B018
