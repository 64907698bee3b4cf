"""Results of runs as files: what those of a search and of an evolution share."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from metaopt_fast.typing import JSON, Array, Float64Array, Records
from metaopt_fast.validation.frames import frame_of
from metaopt_fast.validation.values import check_path

if TYPE_CHECKING:
    from pandas import DataFrame

# Numbers of a theta that a result shows.
MOST_SHOWN = 6


class SavedRun:
    """A result that has a best theta, and that `save` writes to a file.

    A subclass is a frozen dataclass with at least these fields; its ``top`` has a field "loss".
    """

    __slots__ = ()

    # What the file says it is, and what a sentence calls it.
    _kind: ClassVar[str]
    _called: ClassVar[str]
    # What may have ended a run.
    _endings: ClassVar[tuple[str, ...]]
    # Fields that the file holds as arrays, the others, and which of these are numbers from 0 on.
    _arrays: ClassVar[tuple[str, ...]]
    _rest: ClassVar[tuple[str, ...]]
    _numbers: ClassVar[tuple[str, ...]]

    top: Records
    top_thetas: Float64Array
    stopped_by: str | None
    config: dict[str, JSON]

    @property
    def theta(self) -> Float64Array:
        """A copy of the best theta, shape (n_params,)."""
        best: Float64Array = self.top_thetas[0].copy()
        return best

    @property
    def _best_theta(self) -> Float64Array:
        return self.theta

    @property
    def loss(self) -> float:
        """The best loss."""
        return float(self.top["loss"][0])

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the run."""
        return self.stopped_by == "interrupt"

    def to_frame(self) -> DataFrame:
        """Return the best candidates as a pandas.DataFrame: what tells each, its loss, and its
        theta, by the names of columns if X was a frame.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        columns: dict[str, Any] = {name: self.top[name] for name in self.top.dtype.names or ()}
        thetas = self.top_thetas.T
        config: dict[str, Any] = self.config
        names = [*config.get("feature_names", []), "intercept"][: len(thetas)]
        if len(names) < len(thetas) or names == ["intercept"]:
            names = [str(j) for j in range(len(thetas))]
        columns |= {f"theta_{name}": of for name, of in zip(names, thetas, strict=True)}
        return frame_of(columns)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the result to an npz file, without pickle; `load` reads it.

        A file that exists is replaced once the new one is whole, which keeps its permissions, its
        group, and its owner where the system lets it. A symbolic link stays one: the file that it
        leads to is written.
        """
        from metaopt_fast.files.archive import write_arrays

        arrays = {name: getattr(self, name) for name in self._arrays}
        rest = {name: getattr(self, name) for name in self._rest}
        write_arrays(check_path("path", path), self._kind, arrays, rest)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a result that `save` wrote.

        Raises
        ------
        ValueError
            If the file holds something else.
        """
        from metaopt_fast.files.archive import check_number, read_arrays

        try:
            arrays, rest = read_arrays(check_path("path", path), cls._kind, cls._arrays)
            cls._check(arrays, rest)
            if not np.isfinite(arrays["top_thetas"]).all():
                raise ValueError("its top_thetas are not finite")
            for name in cls._numbers:
                check_number(rest, name)
            # A terminal shows it: not any text.
            if rest.get("stopped_by", 0) not in (None, *cls._endings):
                raise ValueError("its stopped_by is none of what ends a run")
        except ValueError as error:
            raise ValueError(
                f"{os.fspath(path)} does not hold a {cls._called} ({error}): pass a file that "
                f"{cls.__name__}.save wrote."
            ) from None
        return cls(**arrays, **{name: rest[name] for name in cls._rest})

    @staticmethod
    def _check(arrays: dict[str, Array], rest: dict[str, Any]) -> None:
        """Raise ValueError where a file that is whole does not hold what makes a result."""
        raise NotImplementedError

    def _name_of(self, entry: Any) -> str:
        """Return what tells a candidate, an entry of `top`, from the others."""
        raise NotImplementedError

    def _text(self, head: Sequence[str], tail: Sequence[str] = ()) -> str:
        """Return lines that fit a screen: the head, the best candidate, the tail, and the next."""
        lines = list(head)
        if self.stopped_by:
            lines.append(f"  stopped by  {self.stopped_by.replace('_', ' ')}")
        lines += [
            f"  best loss   {self.loss:.10g}",
            f"  candidate   {self._name_of(self.top[0])}",
            f"  theta       {_shown(self.theta)}",
            *tail,
        ]
        lines += [
            f"  {rank:>4}. {entry['loss']:.10g}  (candidate {self._name_of(entry)})"
            for rank, entry in enumerate(self.top[1:6], start=2)
        ]
        return "\n".join(lines)


def _shown(theta: Float64Array) -> str:
    """Return the first numbers of a theta; of one that has few other than 0, these by position."""
    used = np.flatnonzero(theta)
    if 0 < len(used) <= MOST_SHOWN < len(theta):
        return f"[{', '.join(f'{j}: {theta[j]:.6g}' for j in used)}], 0 elsewhere"
    entries = [f"{value:.6g}" for value in theta[:MOST_SHOWN]]
    entries += ["..."] * (len(theta) > MOST_SHOWN)
    return f"[{textwrap.shorten(', '.join(entries), 80, placeholder=' ...')}]"
