"""Datasets: what they are, where they lie, and how to make one (``python -m helo.data``)."""

from helo.data.dataset import Dataset
from helo.data.directory import read_dataset, write_dataset
from helo.data.schema import Modality, Schema
from helo.data.simulated import simulate

__all__ = ["Dataset", "Modality", "Schema", "read_dataset", "simulate", "write_dataset"]
