"""HTML elements that escape whatever they are given, so that no text of a study becomes markup."""

from __future__ import annotations

from html import escape


class Markup(str):
    """Text that is HTML already. Only `element` and `join` make it out of anything else."""

    __slots__ = ()


Child = str | int | None
"""Plain text is escaped, `Markup` is not, None is nothing."""

VOID = frozenset({"meta", "input", "img", "br", "hr", "link"})


def element(tag: str, *children: Child, **attributes: Child) -> Markup:
    """Write one element.

    Args:
        tag: Element name.
        children: Its content, in order.
        attributes: A trailing underscore is dropped and others become hyphens (`class_`,
            `aria_label`); "" gives a bare attribute, None leaves it out.
    """
    words = [tag]
    for name, value in attributes.items():
        key = name.removesuffix("_").replace("_", "-")
        if value == "":
            words.append(key)
        elif value is not None:
            words.append(f'{key}="{escape(str(value), quote=True)}"')
    start = f"<{' '.join(words)}>"
    if tag in VOID:
        return Markup(start)
    return Markup(f"{start}{join(*children)}</{tag}>")


def join(*children: Child) -> Markup:
    """Put children side by side, escaping plain text."""
    return Markup("".join(_text(child) for child in children))


def _text(child: Child) -> str:
    if child is None:
        return ""
    return str(child) if isinstance(child, Markup) else escape(str(child), quote=True)
