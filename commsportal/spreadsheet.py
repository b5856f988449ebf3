"""Text that a spreadsheet shows and never runs."""

# A spreadsheet takes a cell that begins with one of these for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def inert(text: str) -> str:
    """A cell of a CSV file with this text in it. Spaces do not disarm a formula: some programs strip them."""
    text = text.replace("\0", "")
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA) else text


def plain(cell: str) -> str:
    """What `armed` or a spreadsheet was given: without the apostrophe that keeps a formula from running."""
    return cell[1:] if cell.startswith("'") and cell[1:].lstrip(" ").startswith((*FORMULA, "'")) else cell


def armed(text: str) -> str:
    """As `inert`, but so that `plain` gives back exactly `text` (without NUL characters)."""
    text = text.replace("\0", "")
    return f"'{text}" if plain(text) != text else inert(text)
