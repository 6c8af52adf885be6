"""A run: its directory, its ledger of finished cells, the tables and the selection made from them."""
