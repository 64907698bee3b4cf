"""What is asked of a data file: the roles of its columns, and what these may hold."""

from __future__ import annotations

from typing import NamedTuple

from metaopt_fast.validation.frames import check_has_all
from metaopt_fast.validation.text import listed, quoted, shown, similar


class Wanted(NamedTuple):
    """What is asked of a data file.

    Attributes
    ----------
    target : str or None
        Column that is predicted.
    group : str or None
        Column of each row's group.
    weight : str or None
        Column of each row's weight, a number >= 0.
    features : tuple of str or None
        Columns that are features; None: all that are nothing else.
    drop : tuple of str
        Columns that are left out.
    positive : str or None
        Target's value that is the positive class; None: the greater one.
    missing : {"error", "mean", "drop"}
        What becomes of rows that miss a feature's value: with "mean" it is NaN in the table, with
        "drop" the row is left out.
    categories : {"error", "onehot"}
        Whether features may be text.
    texts : frozenset of str or None
        Features that are text whatever their values look like; None: their first values decide.
    classes : tuple of two str or more, or None
        Values that the target may have, the least first, where they are known before.
    most_classes : int
        How many values the target may have, where they are not known.
    is_labelled : bool
        Whether there is a target.
    has_header : bool
        Whether the first line of a text file has the names of columns, which are x0, x1, ... else.
    """

    target: str | None = None
    group: str | None = None
    weight: str | None = None
    features: tuple[str, ...] | None = None
    drop: tuple[str, ...] = ()
    positive: str | None = None
    missing: str = "error"
    categories: str = "error"
    texts: frozenset[str] | None = None
    classes: tuple[str, ...] | None = None
    most_classes: int = 2
    is_labelled: bool = True
    has_header: bool = True

    @property
    def may_miss(self) -> bool:
        """Whether features may miss values."""
        return self.missing != "error"

    def is_text(self, name: str) -> bool | None:
        """Whether a feature is text; None where its first value is to say it."""
        if self.texts is not None:
            return name in self.texts
        return None if self.categories == "onehot" else False

    @property
    def missing_cure(self) -> str:
        """What helps where a feature misses a value."""
        if self.texts is None:
            return "fill it, or pass --missing mean, --missing drop or --drop COLUMN"
        # Of rows for a model, whose options were those of its training.
        return "fill it, or train with --missing mean or --drop COLUMN"

    @property
    def drop_cure(self) -> str:
        """What helps where a feature has what is no number."""
        return f"fix it, or {'pass' if self.texts is None else 'train with'} --drop COLUMN"

    @property
    def names(self) -> tuple[str, ...]:
        """All columns that are named."""
        named = (self.target, self.group, self.weight, *self.drop, *(self.features or ()))
        return tuple(name for name in named if name is not None)


class Roles(NamedTuple):
    """Positions of a file's columns by their roles; the weight's column is a feature at first."""

    target: int | None
    group: int | None
    features: list[int]

    def behind(self, n_columns: int) -> Roles:
        """Return the positions behind some columns that were left out."""
        target, group, features = self
        return Roles(
            None if target is None else n_columns + target,
            None if group is None else n_columns + group,
            [n_columns + position for position in features],
        )


def roles_of(path: str, names: list[str], wanted: Wanted) -> Roles:
    """Return the position of each column that is asked for; each must have a name of its own."""
    position_of: dict[str, int] = {}
    for position, name in enumerate(names):
        if name in position_of:
            raise ValueError(f"{shown(path)} has two columns named {quoted(name)}: rename one.")
        position_of[name] = position
    target = None
    if wanted.is_labelled:
        target = _position_of_target(path, position_of, wanted.target)
    if wanted.group is not None:
        _check_is_feature(path, position_of, wanted.group, wanted.target)
    if wanted.weight is not None:
        _check_is_feature(path, position_of, wanted.weight, wanted.target)
    left_out = {wanted.target} if wanted.is_labelled else set()
    if wanted.texts is not None:  # of a model
        check_has_all(shown(path), wanted.features or (), position_of, "file")
    for name in (*wanted.drop, *(wanted.features or ())):
        _check_is_feature(path, position_of, name, wanted.target if wanted.is_labelled else None)
    left_out |= {wanted.group, *wanted.drop}
    kept = None if wanted.features is None else {wanted.weight, *wanted.features}
    features = [
        position
        for name, position in position_of.items()
        if name not in left_out and (kept is None or name in kept)
    ]
    if len(features) == (wanted.weight is not None):
        last = wanted.group if wanted.group is not None else wanted.weight
        if last is not None and not wanted.drop:
            raise ValueError(
                f"{shown(path)}, column {quoted(last)} is the only feature: add others."
            )
        raise ValueError(f"{shown(path)} has no feature left: drop fewer columns.")
    group = None if wanted.group is None else position_of[wanted.group]
    return Roles(target, group, features)


def _position_of_target(path: str, position_of: dict[str, int], target: str | None) -> int:
    names = list(position_of)
    if target is None:
        raise ValueError(f"{shown(path)} needs a target: name one of its columns, {listed(names)}.")
    if target not in position_of:
        raise ValueError(
            f"{shown(path)} has no column {quoted(target)}{similar(target, names)}: name one of "
            f"{listed(names)}."
        )
    if len(names) == 1:
        raise ValueError(
            f"{shown(path)} has no column but the target: add features, separated by commas."
        )
    return position_of[target]


def _check_is_feature(
    path: str, position_of: dict[str, int], name: str, target: str | None
) -> None:
    if name not in position_of or name == target:
        names = [known for known in position_of if known != target]
        raise ValueError(
            f"{shown(path)} has no feature {quoted(name)}{similar(name, names)}: name one of "
            f"{listed(names)}."
        )
