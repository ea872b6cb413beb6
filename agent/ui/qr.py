"""QR codes as rows of 0 and 1, so that every renderer can draw them and none needs a library (ISO/IEC 18004, by segno).

The view says what a code holds; whoever hands a screen to a renderer calls `drawn`.
"""

from functools import lru_cache

from msgspec.structs import replace

from agent.ui.model import PageModel, Qr, ScreenModel

QUIET = 4  # modules of white around it, ISO/IEC 18004 §9.1
DATA_MAX = 500  # characters: beyond it a phone at arm's length does not read the modules of a small display


@lru_cache(maxsize=16)
def rows(data: str) -> tuple[str, ...]:
    """The code with its white border; at error correction M or better. No rows where there is nothing, or too much."""
    import segno  # 2 MB: only where there is a code

    if not 0 < len(data) <= DATA_MAX:
        return ()
    code = segno.make_qr(data, error="m", boost_error=True)
    return tuple("".join("1" if module else "0" for module in row) for row in code.matrix_iter(border=QUIET))


def drawn(screen: ScreenModel) -> ScreenModel:
    """The same screen with the modules of its QR codes."""
    page = screen.content
    if page is None or not any(isinstance(block, Qr) and not block.rows for block in page.blocks):
        return screen
    blocks = tuple(replace(block, rows=rows(block.data)) if isinstance(block, Qr) else block for block in page.blocks)
    content: PageModel = replace(page, blocks=blocks)
    return replace(screen, content=content)
