"""Tables of figures behind names, which flow into whatever width there is."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from critic_probe.report.terminal.glossary import PAGE, explained
from critic_probe.text import listed

ROOMY = 120  # columns from which there are two blanks between cells
_NAME = 30  # columns from which a name of several lines folds beside its figures; with less it stands above them
_SHORT = 12  # of names, what figures leave them if they can
_FOLDED = 16  # of a cell that folds, the same
_INDENT = 4  # of figures where no name stands beside them


def bare_table(width: int, *, header: bool = True) -> Table:
    """A table without columns yet, as wide apart as there is room for."""
    gap = 1 if width >= ROOMY else 0
    return Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        show_header=header,
        pad_edge=False,
        padding=(0, gap, 0, 0),
        header_style="",
    )


@dataclass
class FigureTable:
    """Rows of figures behind their names; a row without figures is a heading, and takes the whole width.

    Where all columns fit they are one table; a name that is too long for the room beside them has a line of its own.
    Where they do not fit, they go on in a further table under the same names. No figure is ever cut or left out.

    Attributes:
        label: What stands above the names.
        columns: Header, justification, and whether their cells fold.
        rows: Names and cells, a cell a column.
    """

    label: str
    columns: list[Column]
    rows: list[tuple[RenderableType, tuple[RenderableType, ...]]] = field(default_factory=list)

    def add_row(self, name: RenderableType, *cells: RenderableType) -> None:
        """A row of figures, of which the last may be left out; or a heading."""
        self.rows.append((name, cells and (*cells, *[""] * (len(self.columns) - len(cells)))))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Itself as tables of fixed widths."""
        width = options.max_width
        names = _widest(console, options, [self.label, *(name for name, cells in self.rows if cells)])
        widths = [
            _widest(console, options, [column.header, *(cells[i] for _, cells in self.rows if cells)])
            for i, column in enumerate(self.columns)
        ]
        least = [
            min(wanted, max(_FOLDED, _widest(console, options, [column.header])))
            if column.overflow == "fold"
            else wanted
            for column, wanted in zip(self.columns, widths, strict=True)
        ]
        start, parts = _flow(names, least, width)
        for part in parts:
            if part[0]:
                yield ""
            room = width - start - sum(least[i] + _between(width) for i in part)
            first = start + min(max(room, 0), names - start)
            if all(_alone(console, options, name, first) for name, cells in self.rows if cells):
                first = _INDENT
            sizes, room = {}, width - first - sum(least[i] + _between(width) for i in part)
            for i in part:
                sizes[i] = least[i] + min(max(room, 0), widths[i] - least[i])
                room -= sizes[i] - least[i]
            yield from self._part(console, options, first, sizes)
        if words := explained(str(column.header) for column in self.columns):
            yield Text(f"{listed(words)}: see {PAGE}", style="dim", overflow="fold")

    def _part(
        self, console: Console, options: ConsoleOptions, first: int, sizes: Mapping[int, int]
    ) -> Iterator[RenderableType]:
        """One table of some of the columns.

        Args:
            console: That of `__rich_console__`.
            options: The same.
            first: Columns for names.
            sizes: Columns for the cells of each column that stands in it, by its index.
        """

        def table(header: bool) -> Table:
            made = bare_table(options.max_width, header=header)
            made.add_column(self.label if first > _INDENT else "", width=first, overflow="fold")
            for i, size in sizes.items():
                column = self.columns[i]
                folds = column.overflow == "fold"
                made.add_column(column.header, width=size, justify=column.justify, overflow="fold", no_wrap=not folds)
            return made

        body = table(header=True)
        shown: list[RenderableType] = [body]
        for name, cells in self._rows(sizes):
            alone = _alone(console, options, name, first)
            if alone or not cells:
                shown.append(name)
            if cells:
                if shown[-1] is not body:
                    shown.append(body := table(header=False))
                body.add_row("" if alone else name, *(cells[i] for i in sizes))
        yield from shown

    def _rows(self, part: Collection[int]) -> Iterator[tuple[RenderableType, tuple[RenderableType, ...]]]:
        """The rows of some of the columns: of those after the first, the rows that have something there."""
        headings = []
        for name, cells in self.rows:
            if not cells and 0 not in part:
                headings = [name]
            elif 0 in part or any(cells[i] for i in part):
                yield from ((heading, ()) for heading in headings)
                headings = []
                yield name, cells


def _flow(names: int, widths: Sequence[int], width: int) -> tuple[int, list[list[int]]]:
    """What the names take at least, and which columns stand together in a table.

    Args:
        names: The longest name.
        widths: What each column takes.
        width: What there is.
    """
    everything = list(range(len(widths)))
    gap = _between(width)
    taken = sum(widths) + gap * len(widths)
    for start in (min(names, _SHORT), min(names, _INDENT)):
        if start + taken <= width:
            return start, [everything]
    start = min(names, width // 3)
    parts: list[list[int]] = []
    used = width
    for i in everything:
        if not parts or used + gap + widths[i] > width:
            parts.append([])
            used = start
        parts[-1].append(i)
        used += gap + widths[i]
    return start, parts


def _alone(console: Console, options: ConsoleOptions, name: RenderableType, room: int) -> bool:
    """Whether a name stands above its figures, because there is no room for it beside them."""
    return _widest(console, options, [name]) > room and not (isinstance(name, Group) and room >= _NAME)


def _between(width: int) -> int:
    return 2 if width >= ROOMY else 1


def _widest(console: Console, options: ConsoleOptions, cells: Sequence[RenderableType]) -> int:
    return max((Measurement.get(console, options, cell).maximum for cell in cells), default=0)
