"""The README's code runs and its commands exist, flag by flag."""

import re
from pathlib import Path

import pytest
import torch

from minibert.config import BertConfig
from minibert.heads import BertForQuestionAnswering
from tests.forked import forked

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = sorted(set(re.findall(r"python -m ((?:train|eval|data)\.\w+)([^\n`]*)", README)))


def test_the_readme_is_short_and_names_every_module():
    assert len(README.splitlines()) <= 150
    tree = README[README.index("## The tree") : README.index("## Look inside")]
    listed = set(re.findall(r"\w+\.py", tree))
    for package in ("minibert", "data", "train", "eval"):
        for path in (ROOT / package).glob("*.py"):
            assert path.name in listed | {"__init__.py"}, path


@pytest.mark.parametrize(("module", "words"), COMMANDS)
def test_every_command_of_the_readme_exists_with_its_flags(module, words):
    status, text, errors = forked(module, "--help")
    assert status == 0, errors
    for flag in re.findall(r"--[\w-]+", words):
        assert flag in text


def test_the_look_inside_example_runs(tmp_path, capsys):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=12, max_position_embeddings=9,
    )  # fmt: skip
    BertForQuestionAnswering(config).save_pretrained(tmp_path)
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code is not None
    exec(compile(code[1].replace("runs/demo", str(tmp_path)), "README.md", "exec"), {})
    assert "torch.Size([2, 2, 8, 8])" in capsys.readouterr().out
