"""The repository stays small: a folder of figures, a file, and what a first clone brings."""

import subprocess
from collections import Counter
from pathlib import Path

from conftest import REPOSITORY

MOST_OF_A_FOLDER = 1_000_000
MOST_OF_A_FILE = 3_000_000
MOST_OF_A_CLONE = 12_000_000
MOST_OF_THE_MAIN_STUDY = 12_000_000
MAIN = Path("studies", "main")


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout


def kept() -> dict[Path, int]:
    """File that git keeps → its bytes in the working tree."""
    paths = [Path(name) for name in git("ls-files", "-z").split("\0") if name]
    return {path: (REPOSITORY / path).stat().st_size for path in paths if (REPOSITORY / path).is_file()}


def test_a_folder_of_figures_stays_below_a_megabyte():
    sizes = Counter()
    for path, size in kept().items():
        if path.parts[0] == "figures":
            sizes[path.parts[1]] += size
    assert {folder: size for folder, size in sizes.items() if size >= MOST_OF_A_FOLDER} == {}


def test_no_file_is_large_and_none_holds_what_a_run_makes_again():
    files = kept()
    assert {path: size for path, size in files.items() if size >= MOST_OF_A_FILE} == {}
    assert [path for path in files if path.name in ("numbers.json", "report.html", "calibration.json")] == []


def test_a_first_clone_is_small(tmp_path: Path):
    """Beside the main study's tables, which have a limit of their own; a clone has them twice, as git packs them."""
    clone = tmp_path / "clone"
    git("clone", "--quiet", "--depth", "1", f"file://{REPOSITORY}", str(clone))
    main = bytes_below(clone / MAIN)
    assert main < MOST_OF_THE_MAIN_STUDY
    assert bytes_below(clone) - 2 * main < MOST_OF_A_CLONE


def bytes_below(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
