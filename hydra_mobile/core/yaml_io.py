"""YAML as people write it: plain values, no key twice."""

from __future__ import annotations

from typing import Any

import yaml

#: Values with aliases counted out: a few lines of them can stand for billions.
_MOST_VALUES = 100_000


class _Loader(yaml.SafeLoader):
    """The safe loader, which refuses a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key that is no text", key_node.start_mark
                )
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key `{str(key)[:60]}` twice", key_node.start_mark
                )
            seen.add(key)
        made: dict[Any, Any] = super().construct_mapping(node, deep)
        return made


def load_yaml(text: str) -> Any:
    """Return the values of a YAML text.

    Raises:
        yaml.YAMLError: no YAML, a tag that is no plain value, or a key twice.
        ValueError: a number or date that Python cannot hold, or aliases that unfold to too much.
        RecursionError: nested too deep.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many values a node stands for, aliases followed."""
    if id(node) in known:
        # 0 while it is being counted: an alias to what it lies in.
        if not known[id(node)]:
            raise ValueError("an alias to a value that it lies in")
        return known[id(node)]
    known[id(node)] = 0
    total = 1
    if isinstance(node, yaml.SequenceNode):
        total += sum(_count(item, known) for item in node.value)
    elif isinstance(node, yaml.MappingNode):
        total += sum(_count(item, known) for pair in node.value for item in pair)
    if total > _MOST_VALUES:
        raise ValueError(f"more than {_MOST_VALUES} values, aliases followed")
    known[id(node)] = total
    return total
