"""Writes the tables of docs/performance.md between their markers."""

import os
import re


def write(root: str, name: str, table: str) -> None:
    path = os.path.join(root, "docs/performance.md")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise RuntimeError(f"docs/performance.md has no markers for {name}")
    with open(path, "w", encoding="utf-8") as file:
        file.write(pattern.sub(lambda found: found.group(1) + table.rstrip() + "\n" + found.group(2), text))


def rows(head: list, body: list) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in body]
    return "\n".join(lines)


def verdict(met: bool) -> str:
    return "met" if met else "**missed**"
