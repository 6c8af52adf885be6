"""The search spaces that come with HeLo Search, as YAML."""
