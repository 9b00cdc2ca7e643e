"""The source of a release: what is committed, with links that hold outside of the repository."""

from __future__ import annotations

import re
import subprocess
import tarfile
from pathlib import Path

__all__ = ["absolute_links", "export", "with_urls"]

# [text](target), where the target is neither a URL nor a place in the same page
LINK = re.compile(r"(\]\()(?!\w+:|#)([^)\s]+)(\))")
IMAGE = re.compile(r"(!\[[^\]]*\]\()(?!\w+:|#)([^)\s]+)(\))")
HTML = re.compile(r'(\bsrc(?:set)?=")(?!\w+:)([^"]+)(")')


def absolute_links(text: str, repository: str, revision: str) -> str:
    """Relative links of a page at the repository's root as links into the repository."""
    text = HTML.sub(rf"\g<1>{repository}/raw/{revision}/\g<2>\g<3>", text)
    text = IMAGE.sub(rf"\g<1>{repository}/raw/{revision}/\g<2>\g<3>", text)
    return LINK.sub(rf"\g<1>{repository}/blob/{revision}/\g<2>\g<3>", text)


def with_urls(pyproject: str, repository: str) -> str:
    """Adds the repository's addresses to ``[project.urls]``."""
    head = "[project.urls]\n"
    if pyproject.count(head) != 1:
        raise SystemExit("pyproject.toml: one section [project.urls] expected")
    urls = {
        "Repository": repository,
        "Issues": f"{repository}/issues",
        "Changelog": f"{repository}/blob/main/CHANGELOG.md",
    }
    lines = "".join(f'{name} = "{url}"\n' for name, url in urls.items())
    return pyproject.replace(head, head + lines)


def export(root: Path, target: Path, repository: str | None, version: str) -> None:
    """Writes the committed files to ``target``, README and pyproject.toml with addresses.

    Args:
        root: The repository.
        target: A new folder.
        repository: Its public address, or None: links then stay relative.
        version: Of the release; its tag is ``v`` and the version.
    """
    archive = target.with_suffix(".tar")
    subprocess.run(["git", "archive", "--output", archive, "HEAD"], cwd=root, check=True)
    with tarfile.open(archive) as tar:
        tar.extractall(target, filter="data")
    archive.unlink()
    if repository is None:
        return
    readme, pyproject = target / "README.md", target / "pyproject.toml"
    links = absolute_links(readme.read_text(encoding="utf-8"), repository, f"v{version}")
    readme.write_text(links, encoding="utf-8")
    urls = with_urls(pyproject.read_text(encoding="utf-8"), repository)
    pyproject.write_text(urls, encoding="utf-8")
