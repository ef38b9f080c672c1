"""What the console is compared with: a bare Textual app, three DataTables of ten rows."""

from __future__ import annotations

from textual.app import App, ComposeResult
from textual.widgets import DataTable


class Bare(App[None]):
    def compose(self) -> ComposeResult:
        for _ in range(3):
            yield DataTable()

    def on_mount(self) -> None:
        for table in self.query(DataTable):
            table.add_columns("id", "state", "command")
            for number in range(10):
                table.add_row(f"job-{number}", "pending", f"backup --day {number}")


if __name__ == "__main__":
    Bare().run()
