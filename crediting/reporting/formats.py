"""The credit table as CSV for machines, as Markdown and LaTeX for people."""

import csv
import io
import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from crediting.reporting.table import COLUMNS, CreditTable

UNKNOWN = "-"

_ROWS_ON_A_PAGE = 40

_ALIGNMENT = "l" + "r" * (len(COLUMNS) - 1)

_MARKDOWN = str.maketrans({character: f"\\{character}" for character in r"\`*_[]<>|~&$#"})
# A star or a bracket at the start of a row would be read as an argument of the row before.
_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {character: f"{{{character}}}" for character in "*["}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
    }
)


def csv_text(header: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """Return a table at full precision; what is unknown, None or NaN, is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow(None if isinstance(c, float) and math.isnan(c) else c for c in row)
    return text.getvalue()


def to_csv(table: CreditTable) -> str:
    """Return the table at full precision; an unknown number is an empty field."""
    return csv_text(COLUMNS, table.rows)


def rank_csv(names: Sequence[str], probabilities: NDArray[np.float64]) -> str:
    """Return the probability (n, n) of contributor i to have rank k + 1, a row per contributor."""
    rows = zip(names, probabilities.tolist(), strict=True)
    return csv_text(["contributor", *range(1, len(names) + 1)], ([n, *row] for n, row in rows))


def to_markdown(table: CreditTable) -> str:
    """Return a pipe table, rounded, followed by its caption as a list."""
    header = [escape_markdown(column) for column in COLUMNS]
    body = [[escape_markdown(name), *numbers] for name, *numbers in rounded_rows(table)]
    caption = [f"- {escape_markdown(line)}" for line in table.caption]
    return "\n".join([*pipe_table(header, body, _ALIGNMENT), "", *caption, ""])


def to_latex(table: CreditTable) -> str:
    """Return a table, rounded, with its caption, as `latex_table` sets it; needs booktabs."""
    header = [escape_latex(column) for column in COLUMNS]
    body = [
        [escape_latex(name), *map(latex_number, numbers)] for name, *numbers in rounded_rows(table)
    ]
    return latex_table(escape_latex(" ".join(table.caption)), header, body, _ALIGNMENT)


def rounded_rows(table: CreditTable) -> list[list[str]]:
    """Return the cells of every row in the order of `COLUMNS`, rounded for people."""
    return [list(cells) for cells in zip(*rounded_columns(table).values(), strict=True)]


def rounded_columns(table: CreditTable) -> dict[str, list[str]]:
    """Return the cells by column, rounded for people.

    Each column keeps as many decimals as give its largest number 4 significant digits; credits
    and the ends of their intervals share one resolution, so that they can be compared.
    """
    cells = zip(*table.rows, strict=True) if table.rows else [()] * len(COLUMNS)
    values = dict(zip(COLUMNS, cells, strict=True))
    percents = [100 * share for share in values["share"]]
    credit_style = shared_format([*values["credit"], *values["ci_low"], *values["ci_high"]])
    error_style = shared_format([*values["std_error"], *values["noise_error"]])
    return {
        "contributor": [one_line(name) for name in values["contributor"]],
        "examples": _whole(values["examples"]),
        "credit": _rounded(values["credit"], credit_style),
        "std_error": _rounded(values["std_error"], error_style),
        "noise_error": _rounded(values["noise_error"], error_style),
        "ci_low": _rounded(values["ci_low"], credit_style),
        "ci_high": _rounded(values["ci_high"], credit_style),
        "share": _rounded(percents, shared_format(percents), suffix="%"),
        "rank": _whole(values["rank"]),
        "rank_low": _whole(values["rank_low"]),
        "rank_high": _whole(values["rank_high"]),
        "p_top": _rounded(values["p_top"], ".3f"),
    }


def one_line(text: str) -> str:
    """Return the text without line breaks, control characters and runs of spaces."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def escape_markdown(text: str) -> str:
    """Return the text with every character that Markdown would interpret escaped."""
    return one_line(text).translate(_MARKDOWN)


def escape_latex(text: str) -> str:
    """Return the text with every character that LaTeX would interpret escaped."""
    return one_line(text).translate(_LATEX)


def pipe_table(header: Sequence[str], body: Sequence[Sequence[str]], alignment: str) -> list[str]:
    """Return the lines of a Markdown table of escaped cells; `alignment` has l or r by column."""
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    rule = [
        "-" * width if side == "l" else "-" * (width - 1) + ":"
        for width, side in zip(widths, alignment, strict=True)
    ]
    return [_pipe_row(cells, widths, alignment) for cells in (header, rule, *body)]


def latex_table(
    caption: str, header: Sequence[str], body: Sequence[Sequence[str]], alignment: str
) -> str:
    """Return a `table` float of escaped cells; `alignment` has l or r by column.

    One of more rows than a page holds is a `longtable`, of the package of that name.
    """
    if len(body) > _ROWS_ON_A_PAGE:
        return _long_table(caption, header, body, alignment)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        _latex_row(header),
        r"\midrule",
        *map(_latex_row, body),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def _long_table(
    caption: str, header: Sequence[str], body: Sequence[Sequence[str]], alignment: str
) -> str:
    top = [r"\toprule", _latex_row(header), r"\midrule"]
    lines = [
        r"% \usepackage{booktabs,longtable}",
        r"\begingroup\small",
        rf"\begin{{longtable}}{{{alignment}}}",
        rf"\caption{{{caption}}} \\",
        *(*top, r"\endfirsthead"),
        *(*top, r"\endhead"),
        *(r"\bottomrule", r"\endfoot"),
        *map(_latex_row, body),
        r"\end{longtable}",
        r"\endgroup",
        "",
    ]
    return "\n".join(lines)


def latex_number(cell: str) -> str:
    """Return a rounded number as LaTeX sets it."""
    cell = cell.replace("%", r"\%")
    # A bare hyphen would be set as a hyphen, much shorter than a minus sign.
    return f"$-${cell[1:]}" if cell.startswith("-") and cell != UNKNOWN else cell


def rounded(value: float, style: str, suffix: str = "") -> str:
    """Return a number in a format, with what follows it; a dash for NaN."""
    return UNKNOWN if math.isnan(value) else f"{value:{style}}{suffix}"


def shared_format(values: Sequence[float]) -> str:
    """Return the format that gives the largest of the values 4 significant digits."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if largest == 0:
        return "z.0f"
    magnitude = math.floor(math.log10(largest))
    return f"z.{max(0, 3 - magnitude)}f" if -4 <= magnitude < 9 else "z.3e"


def _whole(values: Sequence[int | None]) -> list[str]:
    return [UNKNOWN if value is None else f"{value}" for value in values]


def _rounded(values: Sequence[float], style: str, suffix: str = "") -> list[str]:
    return [rounded(value, style, suffix) for value in values]


def _pipe_row(cells: Sequence[str], widths: Sequence[int], alignment: str) -> str:
    padded = [
        cell.ljust(width) if side == "l" else cell.rjust(width)
        for cell, width, side in zip(cells, widths, alignment, strict=True)
    ]
    return f"| {' | '.join(padded)} |"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
