"""PostgreSQL, the only truth: jobs, chunks, messages, the change feed. One class per concern, SQL in ``sql/``.

Lock order, everywhere: job -> messages -> chunks. Statements that take a message before its job never wait
(``SKIP LOCKED``). Each method is one transaction unless its docstring says otherwise.
"""
