"""Values that hold credentials: their reprs show only what is named in `shown`."""

from typing import Any, ClassVar

import msgspec


class Hidden(msgspec.Struct, frozen=True):
    """Base of such values."""

    shown: ClassVar[tuple[str, ...]] = ()

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Names and values of what may be seen."""
        return [(name, getattr(self, name)) for name in self.shown]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({fields})"
