"""docs/concepts/accounts.md says what the matrix says."""

from pathlib import Path

from gatewayz.accounts.roles import PERMISSIONS, ROLES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "concepts" / "accounts.md"


def test_the_table_of_roles_is_the_matrix() -> None:
    wanted = [f"| permission | {' | '.join(ROLES)} |", "| --- " * (len(ROLES) + 1) + "|"]
    for permission in PERMISSIONS:
        cells = ("●" if permission in ROLES[role] else "" for role in ROLES)
        wanted.append(f"| `{permission}` | {' | '.join(cells)} |")
    shown = PAGE.read_text().split("<!-- roles -->\n")[1].split("\n<!-- /roles -->")[0]
    assert shown.splitlines() == wanted
