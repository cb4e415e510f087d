"""How stages run: workers, heartbeats, supervision. It knows messages and processes, not documents."""
