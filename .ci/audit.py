"""Asks OSV whether what is installed here has known vulnerabilities, by way of pip-audit. `make audit` runs it.

Exit status 1 when there are some, even if the service fails at the next package. Where it is not to be had, a line
says that this was skipped, and why; the exit status is 0 then.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from packaging.version import Version
from pip_audit._dependency_source import PipSource, RequirementSource
from pip_audit._service import OsvService, ResolvedDependency, ServiceError

#: Vulnerabilities that do not count: id -> why it does not concern tq.
IGNORED: dict[str, str] = {}
#: They come with Python's venv, and are neither tq's nor its choice.
NOT_OURS = frozenset({"pip", "setuptools"})
#: A service that knows nothing of this one does not know what it is asked for: a mirror, or a captive portal.
KNOWN = ResolvedDependency("jinja2", Version("2.4.1"))
#: Seconds for one answer.
TIMEOUT = 10


def main() -> int:
    """Ask about every package, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--url", default=OsvService.DEFAULT_OSV_URL, help="another service that speaks OSV's language")
    parser.add_argument("-r", "--requirements", type=Path, help="pinned requirements, instead of what is installed")
    options = parser.parse_args()
    packages = [each for each in collect(options.requirements) if each.name not in NOT_OURS and not each.is_skipped()]
    service = OsvService(cache_dir=Path(sys.prefix) / ".audit-cache", timeout=TIMEOUT, osv_url=options.url)
    answers, failure = ask(service.query, packages)
    found = [(each, one) for each, known in answers for one in known if not one.has_any_id(set(IGNORED))]
    for package, one in found:
        fixed = ", ".join(map(str, one.fix_versions)) or "no version yet"
        print(f"audit: {package.name} {package.version}: {one.id}, fixed in {fixed}: {one.description[:100]}")
    if failure:
        done = f" after {len(answers)} of {len(packages)} packages" if answers else ""
        print(f"audit: skipped{done}, because {urlsplit(options.url).hostname} {failure}")
    elif not found:
        print(f"audit: no known vulnerability (packages: {len(packages)})")
    return 1 if found else 0


def collect(requirements: Path | None) -> list[Any]:
    """The packages, each with name and version."""
    if requirements is None:
        return list(PipSource(skip_editable=True).collect())
    return list(RequirementSource([requirements], no_deps=True, disable_pip=True).collect())


def ask(query: Callable[[Any], Any], packages: list[Any]) -> tuple[list[Any], str]:
    """What is known of each package, as far as the service answers; and how it failed, or ""."""
    failures: list[str] = []

    def about(package: Any) -> Any:
        try:
            return None if failures else query(package)
        except (ServiceError, OSError, ValueError, TypeError, LookupError) as error:
            failures.append(f"gives no usable answer ({type(error.__cause__ or error).__name__})")
            return None

    known = about(KNOWN)
    if known and not known[1]:
        failures.append(f"knows no vulnerability of {KNOWN.name} {KNOWN.version}, which has some")
    with ThreadPoolExecutor(8) as pool:
        answers = [answer for answer in pool.map(about, packages) if answer]
    return answers, failures[0] if failures else ""


if __name__ == "__main__":
    sys.exit(main())
