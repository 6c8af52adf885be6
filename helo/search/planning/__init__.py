"""Planning: choose the cells of a search and their order. Pure logic, without Ray, torch or files."""
