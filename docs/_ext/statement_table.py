"""A directive that writes the table of the 71 statements from the table that the library reads."""

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from ecgtwin.conditions import STATEMENTS
from ecgtwin.metrics import RULES
from ecgtwin.statements import statement

HEAD = ("Code", "Name", "Class", "Kind", "Rule", "Also read as", "SNOMED CT")


class StatementTable(SphinxDirective):
    """``{statement-table}``: code, name, class, kinds, some synonyms, SNOMED CT numbers."""

    def run(self):
        rows = []
        for code in STATEMENTS:
            one = statement(code)
            rows.append(
                (
                    nodes.literal(text=code),
                    one.name,
                    one.superclass or "",
                    ", ".join(one.kinds),
                    "yes" if code in RULES else "",
                    ", ".join(one.synonyms[:3]),
                    ", ".join(one.snomed),
                )
            )
        group = nodes.tgroup("", cols=len(HEAD))
        group.extend(nodes.colspec(colwidth=1) for _ in HEAD)
        group += nodes.thead("", _row(HEAD))
        group += nodes.tbody("", *(_row(row) for row in rows))
        return [nodes.table("", group, classes=["statements"])]


def _row(cells):
    row = nodes.row()
    for cell in cells:
        inner = nodes.Text(cell) if isinstance(cell, str) else cell
        row += nodes.entry("", nodes.paragraph("", "", inner))
    return row


def setup(app):
    app.add_directive("statement-table", StatementTable)
    return {"parallel_read_safe": True}
