"""Planning: which cell runs next. Pure logic, without Ray, torch or files."""
