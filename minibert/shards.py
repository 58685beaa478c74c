"""Which files hold a checkpoint's weights: one, or the shards that an index lists."""

import re
from pathlib import Path

from minibert.strict_json import read_object, shown

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
_SHARD = re.compile(r"\w[\w.-]{0,180}\.safetensors")


def read_index(path: Path) -> dict[str, str]:
    """{tensor: shard} of a model.safetensors.index.json.

    Raises:
        ValueError: no index, an empty one, or one that lists anything but plain file names beside
            it: "../x" would leave the folder.
    """
    index = read_object(path, "a safetensors index").get("weight_map")
    if not isinstance(index, dict) or not index:
        raise ValueError(f"{path} has no weight_map; expected a safetensors index")
    for shard in index.values():
        if not isinstance(shard, str) or not _SHARD.fullmatch(shard):
            raise ValueError(
                f"{path} names the shard {shown(shard)}, not a plain *.safetensors file"
            )
    return index
