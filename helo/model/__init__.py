"""The HeLo network: layers, entropic optimal transport and losses."""
