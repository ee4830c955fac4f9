"""Translate all text files of a folder at once, with asyncio: notes.txt becomes notes.fr.txt beside it.

python examples/translate_folder.py docs fr
"""

import asyncio
import sys
from pathlib import Path

from tq import AsyncClient, TqError


async def translate(tq: AsyncClient, path: Path, language: str) -> bool:
    """Translate one file, or say why not: what goes wrong with it does not keep the others."""
    result = path.with_suffix(f".{language}{path.suffix}")
    try:
        result.write_text(await tq.translate(path.read_text(encoding="utf-8"), to=language), encoding="utf-8")
    except (TqError, OSError, UnicodeDecodeError) as error:
        print(f"{path.name}: {error}", file=sys.stderr)
        return False
    print(result.name)
    return True


async def main(folder: str, language: str) -> int:
    """Translate all of them, but nothing that is a translation already."""
    paths = [path for path in sorted(Path(folder).glob("*.txt")) if len(path.suffixes) == 1]
    async with AsyncClient() as tq:
        done = await asyncio.gather(*(translate(tq, path, language) for path in paths))
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
