"""Limits a parser keeps by itself; time and memory are kept by the sandbox around it."""

from __future__ import annotations

#: Entries of a ZIP container (Office, OpenDocument, EPUB).
MAX_ENTRIES = 20_000
#: Bytes read out of one container, all entries together.
MAX_EXPANDED_BYTES = 1 << 30
#: Uncompressed to compressed bytes of one entry. Real sheets reach 60; bombs are at deflate's limit of 1,032.
MAX_RATIO = 300
#: Entries below this size, in bytes, may have any ratio.
RATIO_FREE_BYTES = 16 << 20
#: Members of an archive that are looked at.
MAX_MEMBERS = 20_000
#: Pages of a part of a long document that another process may read meanwhile.
PART_PAGES = 32
#: Bytes of one piece of an attachment on its way.
PIECE_BYTES = 256 << 10
#: Nesting of elements, tables or messages followed; deeper ones are flattened or left out.
MAX_DEPTH = 100
#: Bytes of one message of a mailbox.
MAX_MESSAGE_BYTES = 64 << 20
#: Bytes read out of one OLE container (doc, xls, ppt, msg), all streams together.
MAX_OLE_BYTES = 512 << 20
#: Entries of an OLE container.
MAX_OLE_ENTRIES = 20_000
#: Bytes of the objects of an iWork document (Pages, Numbers, Keynote), unpacked, all together.
MAX_IWORK_BYTES = 256 << 20
#: Pixels of a picture; more are refused before they are decoded.
MAX_PIXELS = 80_000_000
#: Longest side of what text is recognised on, pixels; larger pictures and pages are scaled down to it.
MAX_RENDERED_SIDE = 2_000
#: Seconds of CPU that recognising the text of one page may take; then what is left of the page is left out.
RECOGNITION_SECONDS = 30
#: Characters of an HTML page in which its article is searched for; larger ones are read whole.
MAX_ARTICLE_CHARS = 1_000_000
#: Seconds of CPU that finding the article may take; then the page is read whole.
ARTICLE_SECONDS = 5
