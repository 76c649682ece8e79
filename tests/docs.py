"""Every link from one of our pages to another leads somewhere."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def main():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")]
    broken = []
    for page in pages:
        for target in LINK.findall(page.read_text()):
            file = target.split("#")[0]
            if file and "://" not in file and not file.startswith("mailto:") and not (page.parent / file).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    if broken:
        sys.exit("links that lead nowhere:\n  " + "\n  ".join(broken))
    print(f"{len(pages)} pages, no broken link")


if __name__ == "__main__":
    main()
