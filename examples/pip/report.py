"""Prints a table of the files below a directory, with their sizes."""

import pathlib

import click
from rich.console import Console
from rich.table import Table


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=pathlib.Path))
@click.option("--limit", default=5, show_default=True, help="How many files, the largest first.")
def report(directory: pathlib.Path, limit: int) -> None:
    """Print the largest files below DIRECTORY."""
    files = sorted(
        ((p.stat().st_size, str(p.relative_to(directory))) for p in directory.rglob("*") if p.is_file() and not p.is_symlink()),
        key=lambda f: (-f[0], f[1]),
    )
    table = Table(title=f"{len(files)} files")
    table.add_column("file")
    table.add_column("bytes", justify="right")
    for size, name in files[:limit]:
        table.add_row(name, str(size))
    Console(width=80).print(table)


if __name__ == "__main__":
    report()
