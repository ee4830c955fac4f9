"""Translate all text files of a folder at once, with asyncio: notes.txt becomes notes.fr.txt beside it.

python examples/translate_folder.py docs fr
"""

import asyncio
import sys
from pathlib import Path

from tq import AsyncClient
from tq.errors import TqError


async def translate(tq: AsyncClient, path: Path, language: str) -> None:
    """Translate one file; what goes wrong with it does not keep the others."""
    result = path.with_suffix(f".{language}{path.suffix}")
    try:
        result.write_text(await tq.translate(path.read_text(encoding="utf-8"), to=language), encoding="utf-8")
    except TqError as error:
        print(f"{path.name}: {error.what}", file=sys.stderr)
    else:
        print(result.name)


async def main(folder: str, language: str) -> None:
    """Translate all of them, but nothing that is a translation already."""
    paths = [path for path in sorted(Path(folder).glob("*.txt")) if len(path.suffixes) == 1]
    async with AsyncClient() as tq:
        await asyncio.gather(*(translate(tq, path, language) for path in paths))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
