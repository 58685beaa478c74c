"""A safetensors file, checked from its first byte to its last before a tensor is taken from it.

The format (huggingface/safetensors): 8 bytes, little-endian, the size of the header; the header, a
JSON object that gives each tensor's dtype, shape and place; the tensors, without gap or overlap.
The safetensors library checks most of that too, but lets duplicate names, spaces before the header,
unknown fields and absurd counts pass, and calls a pickle and a web page alike "header too large".
"""

from math import prod
from pathlib import Path
from typing import Any

from torch import Tensor

from minibert.strict_json import parse_object, shown

MAX_HEADER_BYTES = 1_000_000  # BERT-large has 391 tensors in 43 kB
MAX_TENSORS = 5_000
MAX_NAME = 200  # characters
MAX_AXES = 8
_ITEM_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}
# What people find under the name of a weights file. The first bytes of a good file can look like a
# pickle's, being the header's size, so these count only where no header follows.
_DISGUISES = {
    b"\x80": "a pickle",
    b"PK\x03\x04": "a pickle in a zip archive",
    b"<": "an HTML page",
    b"version https://git-lfs": "a git-lfs pointer",
}


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, by name, on the CPU.

    Raises:
        ValueError: missing, damaged, or not safetensors at all; one sentence that says which.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        check_safetensors(path)
        return load_file(path)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; expected a safetensors file") from None
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}); download it again") from None


def check_safetensors(path: Path) -> None:
    """Compare what the header says with the file's size, without reading a tensor.

    Raises:
        ValueError: with the first fault found.
        OSError: the file cannot be opened.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected a safetensors file")
    size = path.stat().st_size
    if size < 8:
        raise ValueError(f"{path} is empty or cut ({size} bytes); download it again")
    with path.open("rb") as file:
        start = file.read(32)
        header_bytes = int.from_bytes(start[:8], "little")
        if start[8:9] != b"{":
            for magic, what in _DISGUISES.items():
                if start.startswith(magic):
                    raise ValueError(f"{path} is {what}, not safetensors weights")
        if header_bytes > MAX_HEADER_BYTES:
            raise _broken(path, f"{header_bytes} bytes long, at most {MAX_HEADER_BYTES} expected")
        if 8 + header_bytes > size:
            raise ValueError(f"{path} is cut inside its header; download it again")
        file.seek(8)
        header = file.read(header_bytes)
    try:
        data_bytes = _check_header(header)
    except ValueError as error:
        raise _broken(path, str(error)) from None
    wanted = 8 + header_bytes + data_bytes
    if size != wanted:
        raise ValueError(f"{path} should be {wanted} bytes long, is {size}; download it again")


def _broken(path: Path, fault: str) -> ValueError:
    return ValueError(f"{path} has a broken header: {fault}; download it again")


def _check_header(header: bytes) -> int:
    """The bytes of tensors that should follow a header."""
    if not header.startswith(b"{"):
        raise ValueError("it does not begin with {")
    try:
        entries = parse_object(header)
    except ValueError as error:
        raise ValueError(f"it {error}") from None
    metadata = entries.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("__metadata__ is not an object of strings")
    if len(entries) > MAX_TENSORS:
        raise ValueError(f"it names {len(entries)} tensors, at most {MAX_TENSORS} expected")
    places = sorted((*_check_entry(name, entry), name) for name, entry in entries.items())
    end = 0
    for begin, next_end, name in places:
        if begin != end:
            what = "overlaps the tensor before it" if begin < end else "leaves a hole before it"
            raise ValueError(f"tensor {name!r} {what}")
        end = next_end
    return end


def _check_entry(name: str, entry: Any) -> tuple[int, int]:
    """The (begin, end) bytes of one tensor, counted from the end of the header."""
    if not name.isprintable() or len(name) > MAX_NAME:
        raise ValueError(f"a tensor has the name {shown(name)}")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name!r} should have exactly dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _ITEM_BYTES:
        raise ValueError(f"tensor {name!r} has the unknown dtype {shown(dtype)}")
    for numbers in (shape, offsets):
        # a product of thousands of long numbers would take minutes
        if (
            not isinstance(numbers, list)
            or len(numbers) > MAX_AXES
            or not all(type(n) is int and 0 <= n < 1 << 63 for n in numbers)
        ):
            raise ValueError(
                f"tensor {name!r} has {shown(numbers)} where whole numbers are expected, at most "
                f"{MAX_AXES} of them"
            )
    wanted = prod(shape) * _ITEM_BYTES[dtype]
    if len(offsets) != 2 or offsets[1] - offsets[0] != wanted:
        raise ValueError(
            f"tensor {name!r} of shape {shape} and dtype {dtype} needs {wanted} bytes, "
            f"has data_offsets {offsets}"
        )
    return offsets[0], offsets[1]
